"""Scores, calibration and baselines: how well forecast densities can be trusted. NumPy and SciPy only."""
