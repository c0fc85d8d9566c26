"""Fit the model: the warm start, the loop, checkpoints, and the export of the posterior."""
