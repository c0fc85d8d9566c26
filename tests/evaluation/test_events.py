"""Stated probabilities against what happened."""

from __future__ import annotations

import numpy as np
import pytest

from cde_app.evaluation.events import MOST_BINS, Event, event_rows, reliability, summarise_event
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity


@pytest.mark.parametrize(("num_rows", "num_bins"), [(1, 1), (19, 1), (20, 2), (95, 9), (4000, MOST_BINS)])
def test_the_bins_have_equally_many_rows_and_the_right_means(num_rows: int, num_bins: int) -> None:
    random = np.random.default_rng(0)
    probability = random.uniform(size=num_rows)
    happened = (random.uniform(size=num_rows) < probability).astype(float)
    curve = reliability(probability, happened)
    assert len(curve.counts) == num_bins
    assert curve.counts.sum() == num_rows
    assert curve.counts.max() - curve.counts.min() <= 1
    assert np.sum(curve.stated * curve.counts) == pytest.approx(probability.sum())
    assert np.sum(curve.observed * curve.counts) == pytest.approx(happened.sum())


def test_right_probabilities_stay_inside_the_band_and_wrong_ones_do_not() -> None:
    random = np.random.default_rng(1)
    inside, outside = [], []
    for _ in range(100):
        probability = random.uniform(size=400)
        for exponent, found in ((1.0, inside), (2.0, outside)):
            curve = reliability(probability, (random.uniform(size=400) < probability**exponent).astype(float))
            found.append((curve.observed >= curve.lower) & (curve.observed <= curve.upper))
    # The band holds at least 95 % of each bin's binomial; of 1000 bins, a share of .95 has a standard error of .007.
    assert np.mean(inside) > 0.95 - 4 * 0.007
    assert np.mean(outside) < 0.8


def test_certain_events_have_bands() -> None:
    curve = reliability(np.repeat([0.0, 1.0], 40), np.repeat([0.0, 1.0], 40))
    assert np.all(np.isfinite(curve.lower) & np.isfinite(curve.upper))
    assert np.all((curve.observed >= curve.lower) & (curve.observed <= curve.upper))


def test_what_never_happened_has_no_skill() -> None:
    mixture = Mixture(np.ones(1), np.zeros((2, 1, 1)), np.ones((2, 1, 1)), (Identity(0.0, 1.0),))
    for limit, has_skill in ((9.0, False), (0.0, True)):
        event = Event("e", 0, np.full(2, limit), np.full(2, np.inf))
        rows = event_rows(event, mixture, np.array([[-1.0], [1.0]]))
        skill = summarise_event("e", {"model": rows, "climatology": rows})["skill"]["climatology"]["brier"]["value"]
        assert (skill is not None) == has_skill


def test_an_event_is_scored_by_its_exact_probability() -> None:
    mixture = Mixture(np.ones(1), np.zeros((3, 1, 1)), np.ones((3, 1, 1)), (Identity(0.0, 1.0),))
    event = Event("y>0", 0, np.array([0.0, 0.0, 1.0]), np.full(3, np.inf))
    rows = event_rows(event, mixture, np.array([[1.0], [-1.0], [2.0]]))
    np.testing.assert_allclose(rows["event y>0: probability"], [0.5, 0.5, 0.158655254], rtol=1e-8)
    np.testing.assert_array_equal(rows["event y>0: happened"], [1.0, 0.0, 1.0])
    np.testing.assert_allclose(rows["event y>0: brier"], [0.25, 0.25, (1 - 0.158655254) ** 2], rtol=1e-8)
    assert event_rows(event[1:2], mixture[1:2], np.array([[-1.0]]))["event y>0: brier"] == pytest.approx(0.25)
