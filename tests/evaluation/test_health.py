from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import cholesky
from scipy.stats import norm

from cde_app.arrays import Array
from cde_app.evaluation.health import LARGEST_MISMATCH, advice_on, inducing_health, latent_health, training_health
from cde_app.gp.kernels import Matern52, SquaredExponential
from cde_app.gp.sparse_gp import SparseGP

NODES = norm.ppf((np.arange(1024) + 0.5) / 1024)[:, None]
WEIGHTS = np.full(1024, 1 / 1024)


def posterior_of(means: Array, sd: float) -> Array:
    """p(node | x, y) of rows with the posteriors N(means, sd^2)."""
    found = norm.pdf(NODES[:, 0], means[:, None], sd) / norm.pdf(NODES[:, 0])
    return found / found.sum(axis=1, keepdims=True)


def gp_at(Z: Array, *, q_sd: float = 0.1, kernel: Any = None) -> SparseGP:
    """A sparse GP on [0, 10] whose inducing variables all have the sd q_sd."""
    kernel = SquaredExponential(1.3, np.array([0.5])) if kernel is None else kernel
    whitening = np.linalg.inv(cholesky(kernel.covariance(Z, Z) + 1e-6 * np.eye(len(Z)), lower=True))
    return SparseGP(kernel, Z, whitening, np.zeros((len(Z), 1)), (q_sd * whitening)[None], sees_latent=False)


def entries(bounds: list[float | None], every: int = 25) -> list[dict[str, Any]]:
    return [{"step": every * (i + 1), "bound": bound} for i, bound in enumerate(bounds)]


def training(**changed: Any) -> dict[str, Any]:
    """A healthy training."""
    random = np.random.default_rng(0)
    healthy = {
        "name": "y",
        "training": training_health(entries([-3.0, -2.0, -1.5, -1.3, -1.25, -1.24, -1.23, -1.23]), 200),
        "latent": latent_health(posterior_of(0.9 * random.standard_normal(500), np.sqrt(1 - 0.9**2)), NODES, WEIGHTS),
        "inducing": [inducing_health(gp_at(np.linspace(0, 10, 20)[:, None]), np.linspace(0, 10, 100)[:, None])],
    }
    return healthy | changed


def advice(**changed: Any) -> list[str]:
    return advice_on({"trainings": [training(**changed)]})


def test_a_healthy_model_gets_no_advice():
    assert advice() == []
    assert advice(latent=[]) == []  # a model without latent variables


def test_the_kl_and_the_activity_of_a_normal_posterior_are_those_of_the_closed_form():
    """KL[N(m, s^2) || N(0, 1)] = (m^2 + s^2 - 1) / 2 - log s, averaged over m ~ N(0, 1 - s^2): -log s."""
    means = norm.ppf((np.arange(2000) + 0.5) / 2000) * np.sqrt(1 - 0.6**2)
    (found,) = latent_health(posterior_of(means, 0.6), NODES, WEIGHTS)
    # Sixteen intervals lose little of a posterior that is wider than they are.
    assert 0.9 * -np.log(0.6) < found["kl"] <= -np.log(0.6)
    assert found["activity"] == pytest.approx(1 - 0.6**2, rel=0.01)
    assert found["mismatch"] == pytest.approx(0, abs=1e-3)  # the aggregate posterior is the prior


def test_a_collapsed_latent_variable_is_named_and_what_can_be_done():
    collapsed = latent_health(np.tile(WEIGHTS, (500, 1)), NODES, WEIGHTS)
    assert collapsed == [
        {"kl": pytest.approx(0), "activity": pytest.approx(0), "active": False, "mismatch": pytest.approx(0)}
    ]
    (line,) = advice(latent=collapsed)
    assert line.startswith("The densities have one shape, a bell with wide tails: no latent variable is active.")
    assert line.endswith("(the only training)")
    (line,) = advice(latent=[*training()["latent"], *collapsed])
    assert "Lower model.latent.dim" in line


def test_latent_variables_that_are_not_where_the_prior_is_are_found():
    (shifted,) = latent_health(posterior_of(np.full(300, 1.0), 1.0), NODES, WEIGHTS)
    # KL[N(1, 1) || N(0, 1)] = 1 / 2.
    assert shifted["mismatch"] == pytest.approx(0.5, rel=0.1)
    assert shifted["mismatch"] > LARGEST_MISMATCH
    assert any("do not follow their prior" in line for line in advice(latent=[shifted | {"active": True}]))


def test_duplicate_and_far_inducing_inputs_are_counted():
    Z, rows = np.linspace(0, 10, 20)[:, None], np.linspace(0, 10, 200)[:, None]
    healthy = inducing_health(gp_at(Z), rows)
    assert (healthy["number"], healthy["duplicates"], healthy["far"]) == (20, 0, 0)
    twice = inducing_health(gp_at(np.concatenate([Z[:8], Z[:8], Z[:8] + 1e-5])), rows)
    assert twice["duplicates"] == 16
    assert any("duplicates" in line for line in advice(inducing=[twice]))
    away = inducing_health(gp_at(np.concatenate([Z[:8], Z + 20])), rows)
    assert away["far"] == 20
    assert any("far from all rows" in line for line in advice(inducing=[away]))


def test_the_condition_number_is_that_of_the_covariance_with_jitter():
    Z = np.linspace(0, 3, 12)[:, None]
    gp = gp_at(Z, kernel=Matern52(0.8, np.array([0.5])))
    covariance = gp.kernel.covariance(Z, Z) + 1e-6 * np.eye(12)
    assert inducing_health(gp, Z)["condition"] == pytest.approx(np.linalg.cond(covariance), rel=1e-6)
    assert any("nearly singular" in line for line in advice(inducing=[inducing_health(gp, Z) | {"condition": 1e13}]))


def test_the_informed_directions_are_those_whose_variance_the_data_have_reduced():
    Z = np.linspace(0, 10, 20)[:, None]
    assert inducing_health(gp_at(Z, q_sd=1.0), Z)["informed"] == pytest.approx(0, abs=1e-8)
    assert inducing_health(gp_at(Z, q_sd=0.1), Z)["informed"] == pytest.approx(20 * (1 - 0.01))


def test_a_training_that_was_cut_short_is_found_and_not_one_that_stopped_by_itself():
    rising = entries([-3.0, -2.5, -2.0, -1.5])
    found = training_health(rising, kept_step=100)
    assert found["gain"] == pytest.approx(0.5)
    assert any("still rising" in line for line in advice(training=found))
    assert not training_health(rising, kept_step=50)["too_short"]  # the validation rows chose an earlier step
    assert training_health(entries([-3.0, -2.6]), kept_step=50)["gain"] == pytest.approx(0.2)  # one late entry
    assert training_health(entries([-3.0]), kept_step=25)["gain"] == 0
    assert training_health([], kept_step=0)["gain"] == 0
    assert training_health(entries([-3.0] * 8), kept_step=200)["gain"] == pytest.approx(0.0, abs=1e-12)
    assert training_health(entries([-3.0, -2.0, *[None] * 10]), kept_step=25)["gain"] == 0, "no late entry is finite"


def test_spikes_and_infinite_bounds_are_found():
    spiky = training_health(entries([-3.0, -2.0, -1.5, -9.0, -1.5, -1.4, -1.35, -1.3]), 200)
    assert spiky["spikes"] == [100]
    assert any("Lower training.learning_rate." in line for line in advice(training=spiky))
    broken = training_health(entries([-3.0, None, -1.5, -1.4]), 100)
    assert broken["infinite"] == 1
    assert any("not finite" in line for line in advice(training=broken))
    assert training()["training"]["spikes"] == []
