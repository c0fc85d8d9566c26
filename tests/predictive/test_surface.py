"""The polynomials between the nodes of a row, against the exact moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cde_app.gp.likelihood import NormalNoise
from cde_app.predictive import surface as surfaces
from cde_app.predictive.nodes import gaussian_nodes
from cde_app.predictive.posterior import Posterior
from cde_app.predictive.surface import NUM_CHECKS, TOLERANCE, Surface, surface_through
from tests.predictive.test_posterior import make_posterior

X = np.random.default_rng(3).normal(size=(40, 3))


def inner_scaled(factor: float, *, latent_dim: int = 0, num_nodes: int = 128) -> Posterior:
    """One inner layer whose draws are `factor` times as wide, and the two targets of `make_posterior`."""
    posterior = make_posterior(latent_dim=latent_dim, num_inner=1, defence=False, num_nodes=num_nodes)
    layer = posterior.inner_layers[0]
    blind = make_posterior(latent_dim=0, num_inner=1, defence=False).inner_layers[0]
    blind = replace(blind, mean=layer.mean, projection=factor * layer.projection)
    return replace(posterior, inner_layers=(blind,), noise=NormalNoise(np.array([0.02, 0.02])))


def exact(posterior: Posterior) -> Posterior:
    """The same posterior without polynomials."""
    other = replace(posterior)
    other.__dict__["_surface"] = None  # the cached property
    return other


def surface_of(num_nodes: int, dim: int) -> tuple[Surface, np.ndarray]:
    noise = gaussian_nodes(num_nodes, dim, seed=4)
    surface = surface_through(noise)
    assert surface is not None
    return surface, noise


@pytest.mark.parametrize(("num_nodes", "dim"), [(76, 5), (140, 3), (268, 2), (64, 1), (120, 10)])
def test_the_weights_reproduce_polynomials_and_the_places_are_different_nodes(num_nodes: int, dim: int) -> None:
    surface, noise = surface_of(num_nodes, dim)
    assert len(set(surface.places)) == len(surface.places) == surface.weights[-1].shape[1] + NUM_CHECKS
    for weights in surface.weights:
        num_anchors = weights.shape[1]
        degree = next(d for d in range(1, 6) if surfaces.comb(dim + d, d) == num_anchors)
        values = (1.0 + noise.sum(1)) ** degree
        np.testing.assert_allclose(weights @ values[surface.places[:num_anchors]], values, rtol=1e-8, atol=1e-8)
        beyond = (1.0 + noise.sum(1)) ** (degree + 1)  # the negative control
        assert np.abs(weights @ beyond[surface.places[:num_anchors]] - beyond).max() > 0.1


@pytest.mark.parametrize(("num_nodes", "dim"), [(8, 2), (64, 0), (1000, 21)])
def test_there_are_no_polynomials_where_they_save_no_time(num_nodes: int, dim: int) -> None:
    assert surface_through(gaussian_nodes(num_nodes, dim, seed=4)) is None


@pytest.mark.parametrize("latent_dim", [0, 1])
@pytest.mark.parametrize("factor", [0.01, 0.1, 0.3])
def test_interpolated_components_are_within_the_tolerance_of_the_exact_ones(factor: float, latent_dim: int) -> None:
    posterior = inner_scaled(factor, latent_dim=latent_dim)
    found, truth = posterior.predict(X), exact(posterior).predict(X)
    sds = np.sqrt(truth.variances)
    # The checks are where the next degree is worst; degrees after that may add as much again.
    assert np.abs((found.means - truth.means) / sds).max() < 2 * TOLERANCE
    assert np.abs(found.variances / truth.variances - 1).max() < 2 * TOLERANCE
    Y = truth.sample(1, seed=0)[0]
    difference = found.log_prob(Y) - truth.log_prob(Y)
    assert np.sqrt(np.mean(difference**2)) < 1e-3
    assert np.abs(difference).max() < 1e-2


def test_without_checks_wide_inner_draws_would_be_far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior = inner_scaled(1.0)
    truth = exact(posterior).predict(X)
    np.testing.assert_allclose(posterior.predict(X).means, truth.means, atol=2 * TOLERANCE)
    monkeypatch.setattr(surfaces, "TOLERANCE", np.inf)
    found = posterior.predict(X)
    assert np.abs((found.means - truth.means) / np.sqrt(truth.variances)).max() > 30 * TOLERANCE


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    posterior = inner_scaled(0.3)
    whole = posterior.predict(X)
    for n in (0, 17, 39):
        alone = posterior.predict(X[n : n + 1])
        np.testing.assert_allclose(alone.means[0], whole.means[n], rtol=0, atol=1e-11)
        np.testing.assert_allclose(alone.variances[0], whole.variances[n], rtol=1e-11)


def test_few_nodes_are_evaluated_where_the_inner_draws_are_narrow_and_all_where_they_are_wide() -> None:
    surface, noise = surface_of(128, 2)
    counts = []

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts.append(points.shape[1])
        return np.sin(points), np.square(points)

    rest = np.full(1, 1e-4)
    for width, expected in ((1e-4, [7]), (0.1, [7, 18]), (10.0, [7, 18, 128])):
        counts.clear()
        points = np.broadcast_to(width * noise.sum(1)[None, :, None], (1, 128, 1))
        means, _ = surface.moments(evaluate, points, rest)
        assert [count for count in counts if count] == expected
        np.testing.assert_allclose(means, np.sin(points), atol=2 * TOLERANCE * np.sqrt(1e-4 + np.square(points).max()))
