"""Scores, calibration and baselines: how far a forecast density can be trusted. NumPy and SciPy only."""
