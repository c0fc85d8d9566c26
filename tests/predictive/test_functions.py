"""Draws with the function shared by all rows: against the full covariance of q(f), and against draws made naively."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cde_app.gp.mean_function import LinearMeanFunction
from cde_app.gp.sparse_gp import SparseGP
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.functions import Functions
from cde_app.predictive.posterior import InnerLayer, Posterior
from cde_app.predictive.predictor import Predictor
from cde_app.targets import Identity
from tests.conftest import needs_tensorflow
from tests.predictive.test_chain import make_chain
from tests.predictive.test_posterior import make_posterior

NUM_DRAWS = 2000
IDENTITIES = (Identity(5.0, 3.0), Identity(-1.0, 0.5))


def joint(posterior: Posterior) -> Predictor:
    """A predictor of one posterior with all targets."""
    return Predictor(None, (Ensemble((posterior,)),), tuple(range(len(posterior.transforms))), np.empty((0, 0)))


def chained(num_rows: int) -> tuple[Predictor, np.ndarray]:
    """A chain of two targets, in the order 1, 0, each an ensemble of two; and its X."""
    chain = make_chain(num_rows)
    return Predictor(None, chain.factors, chain.order, chain.nodes), chain.X


def rows_of(num_rows: int, *, seed: int = 3) -> np.ndarray:
    """Rows near each other, so that they share most of the function's error."""
    return 0.5 * np.random.default_rng(seed).normal(size=(num_rows, 3))


def unsure(posterior: Posterior) -> Posterior:
    """The posterior with six times the q_sqrt of its output terms, so that the shared error matters."""
    terms = tuple(replace(gp, q_projection=6 * gp.q_projection) for gp in posterior.output_terms)
    return replace(posterior, output_terms=terms)


def parts_of(gp: SparseGP, X: np.ndarray, q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean A q_mu [n], the covariance A S A' [n, n] and the rest of the variance [n], from the formulas."""
    cross, L = gp.kernel.covariance(X, gp.inducing_inputs), np.linalg.inv(gp.whitening)
    A = np.linalg.solve(L, cross.T).T  # k(X, Z) L^-T
    q_sqrt = (gp.q_projection[q] @ L).T
    return A @ gp.q_mu[:, q], A @ q_sqrt @ q_sqrt.T @ A.T, gp.kernel.diagonal(X) - np.sum(A**2, axis=1)


def all_deviations(posterior: Posterior, moments: Callable[[tuple[np.ndarray, ...]], np.ndarray]) -> np.ndarray:
    """How far each single normal number behind a function moves the means, which are linear in them; [.., means]."""
    gps = (*(layer.gp for layer in posterior.inner_layers), *posterior.output_terms)
    scales = [1.0] * len(posterior.inner_layers) + [posterior.spread] * len(posterior.output_terms)
    centre = [gp.draw(np.zeros((1, *gp.q_mu.shape)), scale=1.0)[0] for gp in gps]
    moved = []
    for i, (gp, scale) in enumerate(zip(gps, scales, strict=True)):
        units = np.eye(gp.q_mu.size).reshape(-1, *gp.q_mu.shape)
        moved += [moments((*centre[:i], one, *centre[i + 1 :])) for one in gp.draw(units, scale=scale)]
    return np.stack(moved) - moments(tuple(centre))


@pytest.mark.parametrize("latent_dim", [0, 1])
def test_the_variance_given_a_function_and_that_of_the_functions_add_up_to_the_predicted_one(latent_dim: int) -> None:
    posterior = unsure(replace(make_posterior(latent_dim=latent_dim, num_inner=0, defence=False), spread=1.3))
    X, node = rows_of(6), np.array([0, 3, 3, 7, 1, 2])

    def means(function: tuple[np.ndarray, ...]) -> np.ndarray:
        return posterior.moments_at(X, node, function)[0]

    deviations = all_deviations(posterior, means)
    centre = tuple(gp.draw(np.zeros((1, *gp.q_mu.shape)), scale=1.0)[0] for gp in posterior.output_terms)
    mean, variance = posterior.moments_at(X, node, centre)
    expected_mean, expected_variance = posterior.moments_at(X, node)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-9)
    np.testing.assert_allclose(variance + (deviations**2).sum(0), expected_variance, rtol=1e-9)
    assert ((deviations**2).sum(0) > 0.05 * expected_variance).all()


@needs_tensorflow
def test_the_functions_have_the_full_covariance_of_gpflows_svgp() -> None:
    import gpflow

    posterior = make_posterior(latent_dim=0, num_inner=0, defence=False)
    gp, X = posterior.output_terms[0], rows_of(7)
    q_sqrt = np.stack([(projection @ np.linalg.inv(gp.whitening)).T for projection in gp.q_projection])
    kernel = gpflow.kernels.Matern52(gp.kernel.variance, gp.kernel.lengthscales)
    model = gpflow.models.SVGP(
        kernel,
        gpflow.likelihoods.Gaussian(),
        gp.inducing_inputs,
        num_latent_gps=2,
        q_mu=gp.q_mu,
        q_sqrt=q_sqrt,
        whiten=True,
    )
    mean, covariance = (moment.numpy() for moment in model.predict_f(X, full_cov=True))
    K, A = kernel(X).numpy(), kernel(X, gp.inducing_inputs).numpy() @ gp.whitening.T
    for q in range(2):
        ours_mean, ours, rest = parts_of(gp, X, q)
        np.testing.assert_allclose(ours_mean, mean[:, q], atol=1e-7)
        np.testing.assert_allclose(ours, covariance[q] - (K - A @ A.T), atol=1e-7)
        np.testing.assert_allclose(rest + np.diag(ours), np.diag(covariance[q]), atol=1e-7)

    def means(function: tuple[np.ndarray, ...]) -> np.ndarray:
        return gp.moments(X, function[0])[0]

    deviations = all_deviations(posterior, means)[..., 0]
    np.testing.assert_allclose(deviations.T @ deviations, parts_of(gp, X, 0)[1], atol=1e-9)


def test_the_variance_of_a_sum_is_that_of_the_closed_form() -> None:
    # One layer and no w: sum y = 1'(m + spread A q_sqrt eps) + independent rest, so
    # Var = scale^2 spread^2 (1' A S A' 1 + sum of the rests + N noise).
    posterior = replace(make_posterior(latent_dim=0, num_inner=0, defence=False), transforms=IDENTITIES, spread=1.4)
    predictor, X = joint(posterior), rows_of(40)
    draws = Functions(predictor, NUM_DRAWS, 0).sample(X, np.arange(40)).sum(axis=1)
    tolerance = 4 * np.sqrt(2 / (NUM_DRAWS - 1))  # four standard errors of the variance of normal draws
    for p, transform in enumerate(IDENTITIES):
        _, shared, rest = parts_of(posterior.output_terms[0], X, p)
        noise = posterior.noise.at(X)[0, p]
        variance = (1.4 * transform.scale) ** 2 * (shared.sum() + rest.sum() + 40 * noise)
        assert draws[:, p].var(ddof=1) == pytest.approx(variance, rel=tolerance)
        mean = predictor.predict(X).mean()[:, p].sum()
        assert draws[:, p].mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / NUM_DRAWS))
        independent = (predictor.predict(X).sd()[:, p] ** 2).sum()
        assert abs(independent / variance - 1) > 2 * tolerance  # the negative control


def naive_draw(posterior: Posterior, X: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One joint draw of all rows, standardised, [N, P]: every GP from the full covariance of its shared part."""

    def draw(gp: SparseGP, points: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        parts = [parts_of(gp, points, q) for q in range(gp.num_gps)]
        values = [
            random.multivariate_normal(mean, scale**2 * shared + 1e-12 * np.eye(len(X)), method="cholesky")
            for mean, shared, _ in parts
        ]
        return np.stack(values, axis=1), np.stack([np.maximum(rest, 0.0) for _, _, rest in parts], axis=1)

    component = random.choice(len(posterior.weights), size=len(X), p=posterior.weights)
    is_node = component < len(posterior.latent_nodes)
    node = np.where(is_node, component, 0)
    W, features, start = posterior.latent_nodes[node], X, 0
    for layer in posterior.inner_layers:
        points = np.column_stack([features, W]) if layer.gp.sees_latent else features
        values, rest = draw(layer.gp, points, 1.0)
        noise = posterior.inner_noise[node, start : start + layer.gp.num_gps]
        features = layer.mean(features) + (values + np.sqrt(rest) * noise) @ layer.projection
        start += layer.gp.num_gps
    mean = posterior.output_mean(features)
    variance = posterior.noise.at(X)
    for term in posterior.output_terms:
        points = np.column_stack([features, W]) if term.sees_latent else features
        values, rest = draw(term, points, posterior.spread)
        mean, variance = mean + values, variance + rest
    variance = posterior.spread**2 * variance
    if posterior.defence is not None:
        wide_mean, wide = posterior.defence.components(X)
        chosen = np.arange(len(X)), np.maximum(component - len(posterior.latent_nodes), 0)
        mean, variance = (np.where(is_node[:, None], a, b[chosen]) for a, b in ((mean, wide_mean), (variance, wide)))
    return mean + np.sqrt(variance) * random.standard_normal(mean.shape)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference between the distribution functions of two samples."""
    points = np.concatenate([one, other])
    return float(np.max(np.abs([np.mean(one <= t) - np.mean(other <= t) for t in points])))


@pytest.mark.parametrize("num_inner", [0, 1])
def test_sums_are_distributed_as_those_of_naive_joint_draws(num_inner: int) -> None:
    posterior = make_posterior(latent_dim=1, num_inner=num_inner, defence=True)
    posterior = unsure(replace(posterior, transforms=IDENTITIES, spread=1.2))
    X, random = rows_of(40), np.random.default_rng(8)
    naive = np.stack([naive_draw(posterior, X, random) for _ in range(NUM_DRAWS)])
    naive = np.stack([t.inverse(naive[:, :, p]) for p, t in enumerate(IDENTITIES)], axis=-1).sum(axis=1)
    predictor = joint(posterior)
    shared = Functions(predictor, NUM_DRAWS, 0).sample(X, np.arange(40)).sum(axis=1)
    independent = predictor.predict(X).sample(NUM_DRAWS, seed=0).sum(axis=1)
    limit = 2.3 * np.sqrt(2 / NUM_DRAWS)  # the law of Kolmogorov and Smirnov exceeds it once in 20,000 times
    for p in range(2):
        assert distance(naive[:, p], shared[:, p]) < limit
        assert distance(naive[:, p], independent[:, p]) > limit  # the negative control


def uniformity(probabilities: np.ndarray) -> float:
    """The largest difference between the distribution function of some numbers and that of uniform ones."""
    values = np.sort(probabilities)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max(np.max(steps[1:] - values), np.max(values - steps[:-1])))


@pytest.mark.parametrize("kind", ["joint, log, defence", "inner layer", "chain of ensembles"])
def test_every_row_by_itself_has_its_own_forecast(kind: str) -> None:
    if kind == "chain of ensembles":
        predictor, X = chained(5)
    elif kind == "inner layer":  # the stored nodes, here many, replace the inner layer's uncertainty in a forecast
        predictor, X = joint(make_posterior(latent_dim=1, num_inner=1, defence=False, num_nodes=1024)), rows_of(5)
    else:
        posterior = replace(make_posterior(latent_dim=1, num_inner=0, defence=True), spread=1.5)
        predictor, X = joint(posterior), rows_of(5)
    draws = Functions(predictor, NUM_DRAWS, 4).sample(X, np.arange(5))
    forecast = predictor.predict(X)
    probabilities = np.stack([forecast.cdf(draw) for draw in draws])
    limit = 2.3 / np.sqrt(NUM_DRAWS) + 0.01  # sampling, and the nodes of the chain and of the inner layer
    for row in range(5):
        for p in range(2):
            assert uniformity(probabilities[:, row, p]) < limit
    assert uniformity(probabilities[:, 0, 0] ** 1.3) > limit  # the negative control


def test_the_targets_of_a_row_depend_on_each_other_as_in_the_chain() -> None:
    predictor, X = chained(4)
    slope = LinearMeanFunction(np.array([[0.0], [0.0], [1.5]]), np.zeros(1))  # of the earlier target, the last input
    later = Ensemble(tuple(replace(member, output_mean=slope) for member in predictor.factors[1].members))
    predictor = replace(predictor, factors=(predictor.factors[0], later))
    draws = Functions(predictor, NUM_DRAWS, 4).sample(X, np.arange(4))
    own = predictor.predict(X).sample(NUM_DRAWS, seed=1)
    found, expected = (
        np.array([np.corrcoef(d[:, n, 0], np.log(d[:, n, 1]))[0, 1] for n in range(4)]) for d in (draws, own)
    )
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(2 / NUM_DRAWS))
    assert np.abs(expected).max() > 4 * np.sqrt(2 / NUM_DRAWS)


def test_a_row_keeps_its_draws_when_others_are_left_out() -> None:
    predictor, X = chained(300)
    functions = Functions(predictor, 20, 4)
    every, rows = functions.sample(X, np.arange(300)), np.array([0, 7, 250, 256, 299])
    np.testing.assert_allclose(functions.sample(X[rows], rows), every[:, rows], rtol=1e-10)
    assert not np.allclose(Functions(predictor, 20, 5).sample(X[rows], rows), every[:, rows])


def test_each_draw_has_one_member_of_an_ensemble_for_all_rows_and_each_member_equally_many_draws() -> None:
    near = replace(make_posterior(latent_dim=0, num_inner=0, defence=False), transforms=IDENTITIES)
    far = replace(near, output_mean=LinearMeanFunction(np.zeros((3, 2)), np.full(2, 1000.0)))
    predictor = Predictor(None, (Ensemble((near, far)),), (0, 1), np.empty((0, 0)))
    draws = Functions(predictor, 100, 0).sample(rows_of(30), np.arange(30))[:, :, 0]
    is_far = draws > 1500.0
    assert set(is_far.sum(axis=1)) == {0, 30}
    assert is_far.all(axis=1).sum() == 50


def test_an_inner_layer_given_its_draw_has_only_the_rest_as_noise() -> None:
    posterior = make_posterior(latent_dim=0, num_inner=1, defence=False)
    layer: InnerLayer = posterior.inner_layers[0]
    X, noise = rows_of(4)[:, None, :], np.ones((1, 2))
    drawn = layer.gp.draw(np.zeros((1, 12, 2)), scale=1.0)[0]
    rest = np.stack([parts_of(layer.gp, X[:, 0], q)[2] for q in range(2)], axis=-1)
    plain = layer.propagate(X, np.zeros((1, 0)), np.zeros((1, 2)))
    moved = layer.propagate(X, np.zeros((1, 0)), noise, drawn)
    np.testing.assert_allclose(moved[:, 0] - plain[:, 0], np.sqrt(rest) @ layer.projection, atol=1e-7)
