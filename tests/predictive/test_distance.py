"""The distance of a row from the training rows, against closed forms and the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cde_app.gp.kernels import Kernel, Linear, Matern32, SquaredExponential, Sum
from cde_app.gp.likelihood import NormalNoise
from cde_app.gp.mean_function import ZeroMeanFunction
from cde_app.gp.sparse_gp import JITTER, SparseGP, cholesky
from cde_app.predictive.defence import Defence
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.kernel_density import KernelDensity
from cde_app.predictive.posterior import Posterior
from cde_app.targets import Identity
from tests.predictive.test_posterior import CONCATENATE

SMOOTH = SquaredExponential(2.0, np.array([0.7, 1.5]))
ROUGH = Matern32(0.5, np.array([0.4, 0.4]))
PLANES = Linear(np.array([0.8, 0.3]))


def ensemble_of(kernel: Kernel, X: np.ndarray, Z: np.ndarray, *noises: float) -> Ensemble:
    """An ensemble whose members' warm starts are fitted to X, with inducing inputs Z and a noise variance each."""
    return Ensemble(tuple(member_of(kernel, X, Z, noise) for noise in noises))


def member_of(kernel: Kernel, X: np.ndarray, Z: np.ndarray, noise: float) -> Posterior:
    whitening = np.linalg.inv(cholesky(kernel.covariance(Z, Z)))
    A = whitening @ kernel.covariance(Z, X)
    q_sqrt = np.linalg.cholesky(np.linalg.inv(np.eye(len(Z)) + A @ A.T / noise))
    gp = SparseGP(kernel, Z, whitening, np.zeros((len(Z), 1)), (q_sqrt.T @ whitening)[None], False)
    mean, one = ZeroMeanFunction(np.zeros((X.shape[1], 1))), np.ones(1)
    defence = Defence(
        gp=gp,
        mean=mean,
        noise=np.array([noise]),
        log_scale=np.zeros((len(Z), 1)),
        log_scale_range=np.zeros((2, 1)),
        inflation=one,
        widest=one,
        tail_weights=0.1 * one,
        narrowest=np.zeros(1),
        climatology=KernelDensity(one, np.zeros((1, 1)), np.ones((1, 1))),
        climatology_share=0.1,
    )
    return Posterior(
        inner_layers=(),
        output_terms=(gp,),
        compositor=CONCATENATE,
        noise=NormalNoise(np.array([noise])),
        latent_nodes=np.empty((1, 0)),
        node_weights=one,
        inner_noise=np.empty((1, 0)),
        defence=defence,
        transforms=(Identity(0.0, 1.0),),
        output_mean=mean,
    )


def distance(ensemble: Ensemble, X: np.ndarray) -> np.ndarray:
    found = ensemble.distance(X)
    assert found is not None
    return found


def test_the_distance_from_one_row_has_a_closed_form() -> None:
    z, noise = np.array([[0.3, -1.0]]), 0.05
    X = z + np.random.default_rng(0).normal(size=(50, 2))
    square = (((X - z) / SMOOTH.lengthscales) ** 2).sum(1)
    variance = SMOOTH.variance
    expected = variance * (1 - np.exp(-square) * variance / (variance + noise))
    found = distance(ensemble_of(SMOOTH, z, z, noise), X)
    np.testing.assert_allclose(found**2, expected, rtol=0, atol=2 * JITTER)


def test_a_row_that_is_known_exactly_has_distance_zero_and_one_far_from_all_that_of_the_prior() -> None:
    X = np.random.default_rng(1).normal(size=(20, 2))
    exact = ensemble_of(SMOOTH, X, X, 1e-9)
    assert (distance(exact, X) < 2e-3 * np.sqrt(SMOOTH.variance)).all(), "the jitter is all that is left"
    np.testing.assert_allclose(distance(exact, X + 100.0), np.sqrt(SMOOTH.variance), rtol=1e-12)
    between = distance(exact, np.random.default_rng(2).normal(size=(500, 2)) * 3)
    assert (between > 0).all()
    assert (between <= np.sqrt(SMOOTH.variance)).all()


@pytest.mark.parametrize("kernel", [SMOOTH, PLANES, Sum((SMOOTH, ROUGH)), Sum((PLANES, ROUGH))])
def test_the_distance_is_that_of_the_nearest_sum_of_training_rows(kernel: Kernel) -> None:
    random, noise = np.random.default_rng(3), 0.2
    X, x = random.normal(size=(12, 2)), random.normal(size=(7, 2)) * 2
    gram, cross = kernel.covariance(X, X), kernel.covariance(X, x)

    def square(weights: np.ndarray) -> np.ndarray:
        """|k(x, .) - sum_n a_n k(x_n, .)|^2 + noise |a|^2 of each x, [7]; weights [12, 7]."""
        inner = np.einsum("nx,nm,mx->x", weights, gram, weights) - 2 * np.einsum("nx,nx->x", weights, cross)
        return kernel.diagonal(x) + inner + noise * (weights**2).sum(0)

    best = np.linalg.solve(gram + noise * np.eye(12), cross)
    found = distance(ensemble_of(kernel, X, X, noise), x)
    np.testing.assert_allclose(found**2, square(best), rtol=0, atol=1e-4)
    for _ in range(20):
        assert (square(best + 0.05 * random.normal(size=best.shape)) > found**2).all()


def test_an_inducing_input_where_no_row_is_does_not_hide_a_hole() -> None:
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    Z = np.vstack([ring[::10], np.zeros((1, 2))])
    ensemble = ensemble_of(SquaredExponential(1.0, np.full(2, 0.3)), ring, Z, 0.1)
    assert distance(ensemble, np.zeros((1, 2)))[0] > 3 * distance(ensemble, ring).max()


def test_planes_are_uncertain_in_proportion_to_the_length_of_the_way() -> None:
    X = np.random.default_rng(5).normal(size=(40, 2))
    ensemble, x = ensemble_of(PLANES, X, X[:4], 0.1), np.array([[1.0, -2.0]])
    np.testing.assert_allclose(distance(ensemble, 1000 * x), 1000 * distance(ensemble, x), rtol=1e-6)
    assert distance(ensemble, np.zeros((1, 2)))[0] == 0.0


def test_the_squares_of_all_members_and_targets_are_averaged() -> None:
    X = np.random.default_rng(6).normal(size=(30, 2))
    two = ensemble_of(SMOOTH, X, X[:9], 0.01, 1.0)
    mean = np.mean([distance(Ensemble((member,)), X) ** 2 for member in two.members], axis=0)
    np.testing.assert_allclose(distance(two, X) ** 2, mean, rtol=1e-12)
    gps = [member.defence.gp for member in two.members if member.defence is not None]
    joint = replace(
        gps[0],
        q_mu=np.concatenate([gp.q_mu for gp in gps], axis=1),
        q_projection=np.concatenate([gp.q_projection for gp in gps]),
    )
    member = two.members[0]
    assert member.defence is not None
    both = replace(member, defence=replace(member.defence, gp=joint))
    np.testing.assert_allclose(distance(Ensemble((both,)), X) ** 2, mean, rtol=1e-12)


def test_there_is_none_without_a_defence() -> None:
    member = member_of(SMOOTH, np.zeros((1, 2)), np.zeros((1, 2)), 0.1)
    assert Ensemble((replace(member, defence=None),)).distance(np.zeros((3, 2))) is None
