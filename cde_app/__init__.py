"""Conditional density estimation with latent-variable deep Gaussian processes."""

__version__ = "0.1.0"
