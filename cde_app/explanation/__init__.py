"""What moves a forecast: which inputs its mean, its spread, its probabilities and its scores depend on."""
