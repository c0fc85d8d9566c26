"""Spread and shares of the defence against densities of which they are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cde_app.predictive.defence import scale_mixture
from cde_app.predictive.ensemble import Ensemble
from cde_app.training.calibration import Parts, Shares, Unseen, calibrate, densities, likeliest_shares, recalibrated
from tests.small_models import perturb, small_model

NUM_ROWS = 2000
NOTHING = Shares(100, 0.0, 0.0)


@pytest.mark.parametrize("settings", [{}, {"output": {"mixing": {"num_latent_gps": 1}}}, {"defensive_weight": 0.0}])
def test_the_parts_add_up_to_the_recalibrated_density(settings: dict[str, Any]) -> None:
    posterior = perturb(small_model(2, **settings)).posterior()
    shares = Shares(2, 0.07, 0.2) if posterior.defence else None
    X, y = np.random.default_rng(0).standard_normal((2, 9, 3))
    parts = Parts(posterior, Unseen(X, y[:, :2]))
    shared, far = densities([parts], [parts.log_model(1.3)], 2)
    weights = np.array([1.0] if shares is None else [1.0 - shares.near - shares.climatology, *shares[1:]])
    changed = recalibrated(posterior, 1.3, shares).predict(X).log_prob(y[:, :2])
    # Components of less than a millionth are left out.
    added = np.log(np.exp(shared) @ weights + np.exp(far))
    np.testing.assert_allclose(added, changed, atol=1e-3 if settings == {} else 1e-2)
    assert np.all(np.abs(changed - posterior.predict(X).log_prob(y[:, :2])) > 1e-2)


@pytest.mark.parametrize("spread", [1.4, 1.8])
@pytest.mark.parametrize("shares", [Shares(3, 0.1, 0.05), Shares(3, 0.0, 0.4)])
def test_the_spread_and_the_shares_that_drew_the_targets_are_found(spread: float, shares: Shares) -> None:
    posterior = small_model().posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    truth = recalibrated(posterior, spread, shares)
    targets = truth.predict(X).sample(1, seed=2)[0]
    halves = [Unseen(X[half], targets[half]) for half in (slice(0, 900), slice(900, NUM_ROWS))]
    ensemble, found = calibrate(Ensemble((posterior, posterior)), halves)
    assert found.num_rows == NUM_ROWS
    for member in ensemble.members:
        assert member.spread == found.spread
        assert member.defence.tail_weights.sum() == found.tails
        assert member.defence.climatology_share == found.climatology
    # Twice the rows times the divergence from the truth is a chi-squared of three degrees, below 21.1 in 9999 of 10000.
    fresh = np.random.default_rng(3).standard_normal((20_000, 3))
    drawn = truth.predict(fresh).sample(1, seed=4)[0]
    log_truth = truth.predict(fresh).log_prob(drawn)
    gaps = [log_truth - model.predict(fresh).log_prob(drawn) for model in (ensemble, posterior)]
    errors = [gap.std() / np.sqrt(len(gap)) for gap in gaps]
    assert gaps[0].mean() < 21.1 / (2 * NUM_ROWS) + 4 * errors[0]
    assert gaps[1].mean() > 21.1 / (2 * NUM_ROWS) + 4 * errors[1], "without calibration it is far off"


def test_densities_are_not_narrowed_and_stay_without_rows() -> None:
    posterior = small_model().posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    targets = recalibrated(posterior, 0.7, NOTHING).predict(X).sample(1, seed=2)[0]
    assert calibrate(Ensemble((posterior,)), [Unseen(X, targets)])[1].spread == 1.0
    for none in ([Unseen(X[:0], targets[:0])], []):
        unchanged, found = calibrate(Ensemble((posterior,)), none)
        assert (found.spread, found.climatology, found.num_rows) == (1.0, 0.01, 0)
        assert unchanged.members == (posterior,)


def test_the_defence_vanishes_where_the_model_is_right_and_takes_over_where_it_is_useless() -> None:
    posterior = small_model().posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    right = recalibrated(posterior, 1.0, NOTHING).predict(X).sample(1, seed=2)[0]
    found = calibrate(Ensemble((posterior,)), [Unseen(X, right)])[1]
    # A share of nothing is known to 1 / sqrt(n) at best where the parts are alike, and here they nearly are.
    assert found.climatology < 4 / np.sqrt(NUM_ROWS)
    kernels = posterior.defence.climatology
    component = np.random.default_rng(4).choice(len(kernels.weights), NUM_ROWS, p=kernels.weights)
    noise = np.random.default_rng(5).standard_normal((NUM_ROWS, 1))
    z = kernels.means[component] + np.sqrt(kernels.variances[component]) * noise
    useless = calibrate(Ensemble((posterior,)), [Unseen(X, posterior.transforms[0].inverse(z))])[1]
    assert useless.climatology > 0.9


def test_a_handful_of_rows_moves_the_spread_less_than_many() -> None:
    posterior = small_model(defensive_weight=0.0).posterior()
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    targets = recalibrated(posterior, 1.5, None).predict(X).sample(1, seed=2)[0]

    def spread(rows: slice) -> float:
        return calibrate(Ensemble((posterior,)), [Unseen(X[rows], targets[rows])])[1].spread

    of_three = np.mean([spread(slice(first, first + 3)) for first in range(0, 60, 3)])
    assert of_three < 1.25 < spread(slice(NUM_ROWS))


def test_a_row_that_no_part_can_explain_says_nothing() -> None:
    random = np.random.default_rng(0)
    log_parts, log_fixed = random.standard_normal((50, 3)), random.standard_normal(50) - 3.0
    impossible = np.vstack([log_parts, np.full((1, 3), -np.inf)]), np.append(log_fixed, -np.inf)
    for width in (3, 1):
        alone, posterior = likeliest_shares(log_parts[:, :width], log_fixed)
        shares, same = likeliest_shares(impossible[0][:, :width], impossible[1])
        np.testing.assert_array_equal(shares, alone)
        assert same == posterior


def test_beyond_the_reach_of_the_model_student_s_t_has_its_own_weight() -> None:
    posterior = small_model().posterior()
    scales = 4.0 ** np.arange(20)
    weights = scale_mixture(20, 1.5, 1.0)[1]
    defence = replace(posterior.defence, inflation=scales, tail_weights=0.01 * weights, widest=np.array([np.inf]))
    posterior = replace(posterior, defence=defence)
    X = np.random.default_rng(1).standard_normal((NUM_ROWS, 3))
    # The truth is the model up to the fifth scale and Student's t from there on.
    truth = recalibrated(posterior, 1.0, Shares(5, 0.0, 0.0))
    assert 0.002 < truth.defence.tail_weights.sum() < 0.02
    targets = truth.predict(X).sample(1, seed=2)[0]
    own = weights[10:].sum()
    for rows in (slice(None), slice(0, 100)):
        found = calibrate(Ensemble((posterior,)), [Unseen(X[rows], targets[rows])])[0].members[0].defence
        widest = found.inflation >= scales[10] * (1 - 1e-9)
        assert found.tail_weights[widest].sum() == pytest.approx(own, rel=0.03), "no row may lie there"
