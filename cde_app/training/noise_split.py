"""The warm start's noise, divided between the latent variables and the likelihood.

With r the standardised residual, r = A w + e, A the leading principal directions of its correlation scaled so that w
explains `latent_share` of them.

Letters: N rows, Dw latent variables, P targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array

NOISE_SHARE_FLOOR = 0.05


@dataclass(frozen=True)
class LinearFactor:
    """r = A w + e, e ~ N(0, diag(noise)), w ~ N(0, I): factor analysis of the standardised residual."""

    loadings: Array
    """A, [P, Dw]."""
    noise: Array
    """[P]."""

    def posterior(self) -> tuple[Array, Array]:
        """Return B [P, Dw] and s [Dw] of q(w | r) = N(r B, diag(s^2)), the mean exact, the variances its diagonal."""
        scaled = self.loadings / self.noise[:, None]
        covariance = np.linalg.inv(np.eye(self.loadings.shape[1]) + self.loadings.T @ scaled)
        return scaled @ covariance, np.sqrt(np.diag(covariance))

    def within(self, projector: Array) -> LinearFactor:
        """Return the factor with what the projector [P, P] takes from its loadings left to the noise."""
        loadings = projector @ self.loadings
        return LinearFactor(loadings, self.noise + ((self.loadings - loadings) ** 2).sum(1))


def split_noise(
    residual: Array, *, latent_dim: int, latent_share: float, noise_share: Array | float = NOISE_SHARE_FLOOR
) -> LinearFactor:
    """Hand `latent_share` of the residual's leading principal directions to the latent variables.

    Args:
        residual: [N, P], standard deviation about one per target.
        latent_dim: Dw.
        latent_share: share of those directions' variance that w explains, in (0, 1).
        noise_share: [P], smallest share of each target's variance that w leaves unexplained, in (0, 1).
    """
    num_targets = residual.shape[1]
    correlation = residual.T @ residual / len(residual)
    scale = np.sqrt(np.diag(correlation))
    correlation = correlation / scale[:, None] / scale
    values, vectors = np.linalg.eigh(correlation)
    loadings = np.zeros((num_targets, latent_dim))
    leading = min(latent_dim, num_targets)
    order = np.argsort(values)[::-1][:leading]
    signs = np.sign(vectors[np.abs(vectors[:, order]).argmax(0), order])
    loadings[:, :leading] = vectors[:, order] * signs * np.sqrt(latent_share * values[order])
    explained = (loadings**2).sum(1)
    loadings *= np.sqrt(np.minimum(1.0, (1 - noise_share) / np.maximum(explained, 1e-12)))[:, None]
    return LinearFactor(loadings, 1.0 - (loadings**2).sum(1))
