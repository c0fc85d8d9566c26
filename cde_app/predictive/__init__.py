"""From a stored posterior to densities, samples and quantiles, with NumPy and SciPy only."""
