"""Spread and defensive weight against densities of which they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cde_app.predictive.ensemble import Ensemble
from cde_app.training.calibration import Unseen, calibrate, recalibrated, widened
from tests.small_models import perturb, small_model

NUM_ROWS = 2000


@pytest.mark.parametrize("settings", [{}, {"output": {"mixing": {"num_latent_gps": 1}}}, {"defensive_weight": 0.0}])
def test_a_recalibrated_mixture_is_that_of_the_widened_posterior(settings: dict[str, Any]) -> None:
    posterior = perturb(small_model(2, **settings)).posterior()
    weight = 0.07 if posterior.defence else None
    X, y = np.random.default_rng(0).standard_normal((2, 9, 3))
    ours = recalibrated(posterior.predict(X), 1.3, weight).log_density(y[:, :2])
    np.testing.assert_allclose(ours, widened(posterior, 1.3, weight).predict(X).log_density(y[:, :2]), rtol=1e-12)
    assert not np.allclose(ours, posterior.predict(X).log_density(y[:, :2]))


@pytest.mark.parametrize("spread", [1.2, 1.6])
def test_the_spread_and_the_weight_that_drew_the_targets_are_found(spread: float) -> None:
    posterior = small_model().posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    truth = widened(posterior, spread, 0.1)
    targets = truth.predict(X).sample(1, seed=2)[0]
    halves = [Unseen(X[half], targets[half]) for half in (slice(0, 900), slice(900, NUM_ROWS))]
    ensemble, found = calibrate(Ensemble((posterior, posterior)), halves)
    assert found.num_rows == NUM_ROWS
    for member in ensemble.members:
        assert (member.spread, member.defence.weight) == (found.spread, found.defensive_weight)
    # Twice the rows times the divergence from the truth is a chi-squared of two degrees, below 18.4 in 9999 of 10000.
    fresh = np.random.default_rng(3).standard_normal((20_000, 3))
    drawn = truth.predict(fresh).sample(1, seed=4)[0]
    log_truth = truth.predict(fresh).log_density(drawn)
    gaps = [log_truth - model.predict(fresh).log_density(drawn) for model in (ensemble, posterior)]
    errors = [gap.std() / np.sqrt(len(gap)) for gap in gaps]
    assert gaps[0].mean() < 18.4 / (2 * NUM_ROWS) + 4 * errors[0]
    assert gaps[1].mean() > 18.4 / (2 * NUM_ROWS) + 4 * errors[1], "without calibration it is far off"


def test_densities_are_not_narrowed_and_stay_without_rows() -> None:
    posterior = small_model().posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    targets = widened(posterior, 0.7, 0.01).predict(X).sample(1, seed=2)[0]
    assert calibrate(Ensemble((posterior,)), [Unseen(X, targets)])[1].spread == 1.0
    for none in ([Unseen(X[:0], targets[:0])], []):
        unchanged, found = calibrate(Ensemble((posterior,)), none)
        assert unchanged.members == (posterior,)
        assert (found.spread, found.num_rows) == (1.0, 0)


def test_a_large_configured_weight_of_the_defensive_components_is_kept_where_it_is_true() -> None:
    posterior = widened(small_model().posterior(), 1.0, 0.5)
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    targets = posterior.predict(X).sample(1, seed=2)[0]
    found = calibrate(Ensemble((posterior,)), [Unseen(X, targets)])[1]
    # Both were the start and the truth. The errors of a standard deviation and of a share of a half from 2000 rows are
    # 1 / sqrt(4000) and 1 / sqrt(2000), 2 percent each; four of them, and some for the two being told apart.
    np.testing.assert_allclose((found.spread, found.defensive_weight), (1.0, 0.5), rtol=0.1)


def test_a_handful_of_rows_moves_the_spread_less_than_many() -> None:
    posterior = small_model().posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    targets = widened(posterior, 1.5, 0.02).predict(X).sample(1, seed=2)[0]

    def spread(num_rows: int) -> float:
        rows = [Unseen(X[:num_rows], targets[:num_rows])]
        return calibrate(Ensemble((posterior,)), rows)[1].spread

    assert spread(3) < 1.25 < spread(NUM_ROWS)
