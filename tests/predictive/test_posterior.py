from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import cholesky
from scipy.stats import norm

from cde_app.gp.compositor import Concatenation
from cde_app.gp.kernels import Matern52
from cde_app.gp.likelihood import NormalNoise
from cde_app.gp.mean_function import LinearMeanFunction, PCAMeanFunction
from cde_app.gp.sparse_gp import SparseGP
from cde_app.machine import blocks
from cde_app.predictive.defence import Defence
from cde_app.predictive.kernel_density import KernelDensity
from cde_app.predictive.nodes import gaussian_nodes
from cde_app.predictive.posterior import InnerLayer, Posterior
from cde_app.targets import Identity
from cde_app.targets.log import Log
from tests.storing import stored_and_read

TRANSFORMS = (Identity(5.0, 3.0), Log(0.4, 0.8, shift=0.0))

CONCATENATE = Concatenation()


def make_gp(dim: int, num_gps: int, *, sees_latent: bool, seed: int) -> SparseGP:
    random = np.random.default_rng(seed)
    kernel = Matern52(0.9, np.full(dim, 1.3))
    Z = random.normal(size=(12, dim))
    whitening = np.linalg.inv(cholesky(kernel.covariance(Z, Z) + 1e-6 * np.eye(12), lower=True))
    q_sqrt = np.tril(0.2 * random.normal(size=(num_gps, 12, 12)))
    projection = np.swapaxes(q_sqrt, 1, 2) @ whitening
    return SparseGP(kernel, Z, whitening, random.normal(size=(12, num_gps)), projection, sees_latent)


def make_posterior(*, latent_dim: int, num_inner: int, defence: bool, num_nodes: int = 8) -> Posterior:
    """Three features; inner layers of two GPs, the first to four features; g(x) + h(x, w) of two targets."""
    random = np.random.default_rng(9)
    dims = [3, *[4] * num_inner]
    inner = tuple(
        InnerLayer(
            make_gp(dims[i] + (latent_dim if i == 0 else 0), 2, sees_latent=i == 0 and latent_dim > 0, seed=i),
            PCAMeanFunction(random.normal(size=(3, 4)) if i == 0 else None),
            random.normal(size=(2, 4)),
            CONCATENATE if i == 0 and latent_dim else None,
        )
        for i in range(num_inner)
    )
    terms = [make_gp(dims[-1], 2, sees_latent=False, seed=10)]
    if latent_dim:
        terms.append(make_gp(dims[-1] + latent_dim, 2, sees_latent=True, seed=11))
    wide = Defence(
        gp=make_gp(3, 2, sees_latent=False, seed=12),
        mean=LinearMeanFunction(random.normal(size=(3, 2)), np.array([0.1, -0.2])),
        noise=np.array([0.3, 0.4]),
        log_scale=0.5 * random.normal(size=(12, 2)),
        log_scale_range=np.array([[-1.0, -1.0], [1.0, 1.0]]),
        inflation=np.array([1.0, 9.0]),
        widest=np.array([np.inf, 6.0]),
        tail_weights=0.015 * np.array([0.6, 0.4]),
        climatology=KernelDensity(np.ones(1), np.array([[0.1, -0.3]]), np.array([[1.2, 0.9]])),
        narrowest=np.zeros(2),
        climatology_share=0.005,
    )
    return Posterior(
        inner_layers=inner,
        output_terms=tuple(terms),
        compositor=CONCATENATE,
        noise=NormalNoise(np.array([0.05, 0.1])),
        latent_nodes=gaussian_nodes(num_nodes, latent_dim, seed=1),
        node_weights=np.full(num_nodes, 1 / num_nodes),
        inner_noise=gaussian_nodes(num_nodes, 2 * num_inner, seed=2),
        defence=wide if defence else None,
        transforms=TRANSFORMS,
        output_mean=LinearMeanFunction(random.normal(size=(dims[-1], 2)), np.array([0.3, 0.0])),
    )


def one_component(posterior: Posterior, x: np.ndarray, node: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [P] of one row at one node, layer by layer."""
    w, start = posterior.latent_nodes[node], 0
    for layer in posterior.inner_layers:
        mean, variance = layer.gp.moments(np.concatenate([x, w] if layer.gp.sees_latent else [x])[None])
        draw = mean[0] + np.sqrt(variance[0]) * posterior.inner_noise[node, start : start + 2]
        x = layer.mean(x) + draw @ layer.projection
        start += 2
    moments = [gp.moments(np.concatenate([x, w] if gp.sees_latent else [x])[None]) for gp in posterior.output_terms]
    mean, variance = (sum(part[0] for part in parts) for parts in zip(*moments, strict=True))
    return mean + posterior.output_mean(x), variance + posterior.noise.variance


CONTRACT = pytest.mark.parametrize(
    ("latent_dim", "num_inner", "defence"), [(0, 0, False), (1, 0, True), (2, 1, True), (1, 2, False), (0, 2, True)]
)


@CONTRACT
def test_every_component_is_the_output_layer_at_its_node(latent_dim: int, num_inner: int, *, defence: bool) -> None:
    posterior = make_posterior(latent_dim=latent_dim, num_inner=num_inner, defence=defence)
    X = np.random.default_rng(3).normal(size=(5, 3))
    mixture = posterior.predict(X)
    for n in range(5):
        for node in range(8):
            mean, variance = one_component(posterior, X[n], node)
            np.testing.assert_allclose(mixture.means[n, node], mean, rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(mixture.variances[n, node], variance, rtol=1e-9, atol=1e-10)
    assert mixture.transforms == TRANSFORMS
    assert mixture.num_components == 8 + 3 * defence


@CONTRACT
def test_the_chunks_do_not_change_the_predictions(
    monkeypatch: pytest.MonkeyPatch, latent_dim: int, num_inner: int, *, defence: bool
) -> None:
    posterior = make_posterior(latent_dim=latent_dim, num_inner=num_inner, defence=defence)
    X = np.random.default_rng(3).normal(size=(11, 3))
    whole = posterior.predict(X)
    monkeypatch.setattr(blocks, "FLOATS_IN_CACHE", 3 * 12 * 8)
    chunked = posterior.predict(X)
    np.testing.assert_allclose(chunked.means, whole.means, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(chunked.variances, whole.variances, rtol=1e-11, atol=1e-12)
    monkeypatch.setattr(blocks, "FLOATS_IN_CACHE", 1)
    np.testing.assert_allclose(posterior.predict(X).means, whole.means, rtol=1e-11, atol=1e-12)


def test_without_latent_variables_and_inner_layers_all_nodes_are_alike() -> None:
    mixture = make_posterior(latent_dim=0, num_inner=0, defence=False).predict(np.zeros((2, 3)))
    np.testing.assert_array_equal(mixture.means, mixture.means[:, :1].repeat(8, axis=1))


def test_the_defensive_components_have_their_share_of_the_weight_and_none_is_wider_than_allowed() -> None:
    posterior = make_posterior(latent_dim=1, num_inner=0, defence=True)
    X = np.random.default_rng(3).normal(size=(4, 3))
    mixture, defence = posterior.predict(X), posterior.defence
    np.testing.assert_allclose(mixture.weights[8:], [0.009, 0.006, 0.005], rtol=1e-12)
    np.testing.assert_allclose(mixture.weights[:8], 0.98 / 8, rtol=1e-12)
    mean, variance = defence.gp.moments(X)
    trend = np.clip(defence.gp.kernel.covariance(X, defence.gp.inducing_inputs) @ defence.log_scale, -1.0, 1.0)
    assert np.ptp(trend, axis=0).min() > 0.01, "or the unit is the same everywhere"
    variance = variance + defence.noise * np.exp(trend)
    for place, factor in ((8, 1.0), (9, 9.0)):
        np.testing.assert_allclose(mixture.means[:, place], mean + defence.mean(X), rtol=1e-10, atol=1e-12)
        wide = np.minimum(factor * variance, [np.inf, 6.0])
        np.testing.assert_allclose(mixture.variances[:, place], wide, rtol=1e-10)
    assert np.any(9 * variance[:, 1] > 6.0), "or nothing is held back"
    np.testing.assert_array_equal(mixture.means[:, 10], np.tile([0.1, -0.3], (4, 1)))
    np.testing.assert_array_equal(mixture.variances[:, 10], np.tile([1.2, 0.9], (4, 1)))
    bare = replace(posterior, defence=None).predict(X)
    np.testing.assert_allclose(bare.weights, 1 / 8)
    far = np.full((4, 2), 200.0)
    assert np.all(mixture.log_prob(far) > bare.log_prob(far) + 10)


def test_no_rows_give_an_empty_mixture() -> None:
    mixture = make_posterior(latent_dim=1, num_inner=1, defence=True).predict(np.empty((0, 3)))
    assert mixture.means.shape == mixture.variances.shape == (0, 11, 2)


@CONTRACT
def test_a_posterior_survives_json_and_arrays(latent_dim: int, num_inner: int, *, defence: bool) -> None:
    posterior = make_posterior(latent_dim=latent_dim, num_inner=num_inner, defence=defence)
    twin = stored_and_read(posterior)
    X = np.random.default_rng(3).normal(size=(3, 3))
    before, after = posterior.predict(X), twin.predict(X)
    for name in ("weights", "means", "variances"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.transforms == before.transforms


@pytest.mark.parametrize("num_nodes", [1, 2, 100, 256])
def test_nodes_are_finite_and_a_function_of_the_seed(num_nodes: int) -> None:
    nodes = gaussian_nodes(num_nodes, 3, seed=5)
    assert nodes.shape == (num_nodes, 3)
    assert np.all(np.isfinite(nodes))
    np.testing.assert_array_equal(nodes, gaussian_nodes(num_nodes, 3, seed=5))
    assert not np.any(nodes == gaussian_nodes(num_nodes, 3, seed=6))
    assert gaussian_nodes(num_nodes, 0, seed=5).shape == (num_nodes, 0)


def test_nodes_have_the_moments_of_the_normal_more_closely_than_draws_do() -> None:
    num_nodes, num_seeds = 256, 20

    def errors(nodes: np.ndarray) -> np.ndarray:
        """Of E z_1, E z_1^2, E z_1 z_2 and E Phi(z_1 + z_2)."""
        a, b = nodes.T
        return np.array([a.mean(), (a**2).mean() - 1, (a * b).mean(), norm.cdf(a + b).mean() - 0.5])

    sobol = [errors(gaussian_nodes(num_nodes, 2, seed=s)) for s in range(num_seeds)]
    draws = [errors(np.random.default_rng(s).standard_normal((num_nodes, 2))) for s in range(num_seeds)]
    rms_sobol, rms_draws = (np.sqrt(np.mean(np.square(e), axis=0)) for e in (sobol, draws))
    assert np.all(rms_sobol < rms_draws / 3)  # as good as nine times as many draws
    standard_errors = np.array([1.0, np.sqrt(2.0), 1.0, 1 / 3]) / np.sqrt(num_nodes)
    assert np.all(np.abs(sobol) < 4 * standard_errors)
