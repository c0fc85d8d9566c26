from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
from scipy.linalg import cholesky

from cde_app.gp.kernels import Kernel, Matern12, Matern32, Matern52, SquaredExponential, Sum
from cde_app.gp.sparse_gp import SparseGP
from cde_app.machine import blocks
from tests.storing import stored_and_read

LENGTHSCALES = np.array([0.7, 1.9])
SMOOTH = (SquaredExponential, Matern12, Matern32, Matern52)


def make_sum() -> Kernel:
    return Sum((SquaredExponential(0.8, LENGTHSCALES), Matern32(0.4, LENGTHSCALES / 2)))


def make_gp(kernel: Kernel, *, num_inducing: int = 30, num_gps: int = 3) -> tuple[SparseGP, np.ndarray, np.ndarray]:
    """A sparse GP, its k(Z, Z) + jitter and its q_sqrt [Q, M, M]; the last GP is wider than its prior."""
    random = np.random.default_rng(0)
    Z = random.uniform(-2, 2, size=(num_inducing, 2))
    covariance = kernel.covariance(Z, Z) + 1e-6 * np.eye(num_inducing)
    whitening = np.linalg.inv(cholesky(covariance, lower=True))
    q_sqrt = 0.1 * np.tril(random.normal(size=(num_gps, num_inducing, num_inducing)))
    q_sqrt[-1] += 2 * np.eye(num_inducing)
    q_mu = random.normal(size=(num_inducing, num_gps))
    gp = SparseGP(kernel, Z, whitening, q_mu, np.swapaxes(q_sqrt, 1, 2) @ whitening, sees_latent=False)
    return gp, covariance, q_sqrt


@pytest.mark.parametrize("kernel", [*(one(1.2, LENGTHSCALES) for one in SMOOTH), make_sum()], ids=lambda k: k.kind)
def test_the_moments_equal_the_textbooks(kernel: Kernel) -> None:
    gp, covariance, q_sqrt = make_gp(kernel)
    X = np.random.default_rng(2).uniform(-3, 3, size=(50, 2))
    cross = kernel.covariance(gp.inducing_inputs, X)
    factor = cholesky(covariance, lower=True)
    means, variances = gp.moments(X)
    for q in range(gp.num_gps):
        # q(u) = N(L q_mu, L q_sqrt q_sqrt' L'): Hensman et al. (2013), "Gaussian processes for big data", eq. 9.
        S = factor @ q_sqrt[q] @ q_sqrt[q].T @ factor.T
        solved = np.linalg.solve(covariance, cross)
        mean = solved.T @ factor @ gp.q_mu[:, q]
        variance = 1.2 - np.sum(cross * solved, axis=0) + np.sum(solved * (S @ solved), axis=0)
        # The textbook's solve loses 1e-16 times the condition number, up to 3e7.
        np.testing.assert_allclose(means[:, q], mean, atol=1e-8)
        np.testing.assert_allclose(variances[:, q], variance, atol=1e-8)


def test_the_moments_keep_nine_digits_of_the_prior_variance() -> None:
    gp, _, q_sqrt = make_gp(make_sum(), num_inducing=128)
    X = np.random.default_rng(2).uniform(-3, 3, size=(200, 2))
    covariance = gp.kernel.covariance(X, gp.inducing_inputs).astype(np.longdouble)
    whitened = covariance @ gp.whitening.T.astype(np.longdouble)
    means, variances = gp.moments(X)
    np.testing.assert_allclose(means, (whitened @ gp.q_mu).astype(float), atol=1e-9)
    for q in range(gp.num_gps):
        expected = 1.2 - (whitened**2).sum(1) + ((whitened @ q_sqrt[q]) ** 2).sum(1)
        np.testing.assert_allclose(variances[:, q], expected.astype(float), atol=1e-9 * 1.2, rtol=1e-9)


def test_the_moments_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    gp, _, _ = make_gp(make_sum())
    X = np.random.default_rng(2).normal(size=(41, 2))
    whole = gp.moments(X)
    monkeypatch.setattr(blocks, "FLOATS_IN_CACHE", 7 * 30)
    np.testing.assert_allclose(gp.moments(X), whole, rtol=1e-11, atol=1e-12)


def test_far_from_the_inducing_inputs_the_moments_are_the_priors() -> None:
    gp, _, _ = make_gp(make_sum())
    means, variances = gp.moments(np.full((1, 2), 1e3))
    np.testing.assert_array_equal(means, 0.0)
    np.testing.assert_allclose(variances, 1.2, rtol=1e-15)


def test_no_points_have_no_moments() -> None:
    gp, _, _ = make_gp(make_sum())
    assert [moment.shape for moment in gp.moments(np.empty((0, 2)))] == [(0, 3), (0, 3)]


def test_a_sparse_gp_survives_its_tree() -> None:
    gp, _, _ = make_gp(make_sum())
    gp.moments(np.zeros((1, 2)))  # what is computed once is not part of the tree
    twin = stored_and_read(gp)
    X = np.random.default_rng(2).normal(size=(9, 2))
    np.testing.assert_array_equal(twin.moments(X), gp.moments(X))
    assert twin.sees_latent == gp.sees_latent


def test_a_copy_of_a_gp_that_has_predicted_has_its_fields_alone_and_predicts_the_same_bits() -> None:
    gp, *_ = make_gp(make_sum())
    X = np.random.default_rng(3).normal(size=(5, gp.inducing_inputs.shape[1]))
    before, again = gp.moments(X), copy.copy(gp)
    assert vars(again).keys() == {field.name for field in fields(gp)} < vars(gp).keys()
    for one, other in zip(before, again.moments(X), strict=True):
        assert one.tobytes() == other.tobytes()
