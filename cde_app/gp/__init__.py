"""Sparse GPs in NumPy, and what they are made of: what the start, the model and the prediction have in common."""
