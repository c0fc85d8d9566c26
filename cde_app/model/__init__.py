"""The latent-variable deep GP: the layers, their assembly, and the objectives that train them."""
