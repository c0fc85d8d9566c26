"""What has changed is found and named, and what has not is left in peace."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from cde_app.evaluation.drift import LEVEL_DRAWS, InputSample, Reference, input_drift, levels_of, outcome_drift, sizes
from cde_app.evaluation.drift_words import drift_sentences
from cde_app.predictive.mixture import Mixture
from cde_app.targets.identity import Identity

LEVEL = 0.02
TRAINING_ROWS = 600
LABELS = ("east", "north", "south", "west")


def draw_inputs(random: np.random.Generator, num_rows: int) -> np.ndarray:
    """Draw wind, region (a label), hour (a cycle of 24), and pressure, which depends on the wind and has gaps."""
    wind = random.gamma(4, 10, num_rows)
    region = random.choice(4, num_rows, p=[0.4, 0.3, 0.2, 0.1]).astype(float)
    hour = random.uniform(0, 24, num_rows)
    pressure = 1000 - 0.5 * wind + 5 * random.normal(size=num_rows)
    pressure[random.random(num_rows) < 0.05] = np.nan
    return np.stack([wind, region, hour, pressure], axis=1)


def features(rows: np.ndarray) -> np.ndarray:
    wind, region, hour, pressure = rows.T
    turn = 2 * np.pi * hour / 24
    known = np.where(np.isnan(pressure), 980, pressure)
    one_hot = [(region == code).astype(float) for code in range(5)]
    return np.stack([wind, *one_hot, np.sin(turn), np.cos(turn), known, np.isnan(pressure)], axis=1)


def night(
    random: np.random.Generator,
    *,
    inputs: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
    outcomes: Callable[[np.ndarray], np.ndarray] = lambda z: z,
    num_rows: int = 200,
    level: float = LEVEL,
) -> dict[str, Any]:
    """Return what is found in new rows that are changed; outcomes are standard normal under their forecasts."""
    old, new = draw_inputs(random, TRAINING_ROWS), inputs(draw_inputs(random, num_rows))
    kinds = {"wind": "numeric", "region": "categorical", "hour": "cyclic", "pressure": "numeric"}
    known = int(max(3, np.nanmax(new[:, 1])))
    samples = [
        InputSample(
            name,
            kind,  # type: ignore[arg-type]
            old[:, k],
            new[:, k],
            float(np.nanmin(old[:, k])),
            float(np.nanmax(old[:, k])),
            TRAINING_ROWS,
            period=24.0,
            labels=(*LABELS, "abroad")[: known + 1],
            num_known=4,
        )
        for k, (name, kind) in enumerate(kinds.items())
    ]
    found = input_drift(samples, features(old), features(new), level=level / 2, random=random)

    def levels(z: np.ndarray) -> np.ndarray:
        return np.stack([ndtr(z), np.round(LEVEL_DRAWS * np.abs(2 * ndtr(z) - 1)) / LEVEL_DRAWS], axis=1)

    held_out, z = random.normal(size=200), outcomes(random.normal(size=num_rows))
    reference = Reference(old, levels(held_out), -0.5 * held_out**2)
    seed = int(random.integers(2**31))
    happened = outcome_drift(reference, levels(z), -0.5 * z**2, ["gust"], level=level / 2, seed=seed)
    for game in (happened["targets"]["gust"], happened["density"]):
        position = game.pop("position")
        game |= {"row": None if position is None else position + 1, "when": None}
    counts = {"num_rows": num_rows, "num_reference_rows": len(old), "left_out": 0}
    result = {**counts, "drift": sizes(found, happened), **found, "outcomes": happened}
    return result | {"sentences": drift_sentences(result)}


def test_a_clean_night_is_silent() -> None:
    found = night(np.random.default_rng(0))
    assert found["drift"] == {"inputs": 0.0, "outcomes": 0.0}
    inputs, outcomes = found["sentences"]
    assert inputs.startswith("The inputs have not changed: in 4 columns of 200 rows, nothing differs from the training")
    assert outcomes == "The outcomes follow the forecasts: nothing in 200 outcomes speaks against them."


def changed(column: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change of one column."""

    def apply(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        rows[:, column] = change(rows[:, column])
        return rows

    return apply


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (changed(0, lambda wind: wind + 20), "'wind' has moved up: its median is"),
        (
            changed(0, lambda wind: np.where(wind > 50, 500, wind)),
            "% of the rows have a 'wind' above the largest value",
        ),
        (changed(1, lambda region: np.where(region == 0, 3, region)), "'region' has other shares: 'east' 0 % ("),
        (changed(1, lambda region: np.where(region > 2, 4, region)), "labels that no training row has: 'abroad'"),
        (changed(2, lambda hour: hour / 2), "'hour' is spread differently over its cycle"),
        (changed(3, lambda p: np.where(np.arange(len(p)) % 4 == 0, np.nan, p)), "'pressure' is empty in"),
        (changed(3, lambda p: 980 + 2 * (p - 980)), "'pressure' is spread more widely: its middle half is"),
        (changed(3, lambda p: p[::-1]), "No column by itself has changed, but their combinations have"),
    ],
)
def test_a_change_of_the_inputs_is_named_and_the_outcomes_are_not_blamed(
    inputs: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    found = night(np.random.default_rng(1), inputs=inputs)
    assert found["drift"]["inputs"] > 0.05
    assert found["drift"]["outcomes"] == 0.0
    assert sentence in " ".join(found["sentences"])
    assert found["sentences"][-1] == "So far the model holds for the changed inputs."


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        (lambda z: z + 0.8, "'gust' is higher than forecast"),
        (lambda z: z - 0.8, "'gust' is lower than forecast"),
        (lambda z: 2 * z, "the densities are too narrow"),
        (lambda z: z / 3, "the densities are too wide"),
    ],
)
def test_a_change_of_the_outcomes_is_named_and_the_inputs_are_not_blamed(
    outcomes: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    found = night(np.random.default_rng(2), outcomes=outcomes)
    assert found["drift"]["outcomes"] > 0.1
    assert found["drift"]["inputs"] == 0.0
    assert sentence in " ".join(found["sentences"])
    assert found["sentences"][-1].startswith("What the inputs say about the targets has changed.")


def test_the_row_at_which_it_was_clear_is_after_the_change() -> None:
    def later(z: np.ndarray) -> np.ndarray:
        return z + np.where(np.arange(len(z)) >= 150, 1.2, 0)

    row = night(np.random.default_rng(3), outcomes=later, num_rows=300)["outcomes"]["targets"]["gust"]["row"]
    assert 150 < row < 250


def test_a_model_that_was_never_calibrated_is_not_accused_of_a_change() -> None:
    random = np.random.default_rng(4)
    levels = random.beta(4, 2, size=(700, 2))
    reference = Reference(np.empty((0, 0)), levels[:300], np.zeros(300))
    found = outcome_drift(reference, levels[300:], np.zeros(400), ["y"], level=0.05, seed=0)
    assert not found["targets"]["y"]["changed"]
    uniform = Reference(np.empty((0, 0)), random.random((300, 2)), np.zeros(300))
    found = outcome_drift(uniform, levels[300:], np.zeros(400), ["y"], level=0.05, seed=0)
    assert found["targets"]["y"]["changed"], "the control"


def test_dates_are_counted_and_not_tested() -> None:
    old, new = np.arange(100.0), np.arange(100.0, 150)
    sample = InputSample("day", "datetime", old, new, 0.0, 99.0, 100)
    found = input_drift([sample], np.empty((100, 0)), np.empty((50, 0)), level=0.05, random=np.random.default_rng(0))
    assert found["columns"]["day"]["outside"]["share"] == 1.0
    assert sizes(found, None) == {"inputs": 0.0, "outcomes": None}


def test_levels_of_outcomes_are_their_places_in_the_densities() -> None:
    """Of a normal density the second level is P(|Z| < |z|), known to 4 standard errors of the draws."""
    z = np.array([-1.5, 0.0, 0.7])
    one = np.ones((3, 1, 1))
    mixture = Mixture(np.ones(1), 0 * one, one, (Identity(0.0, 1.0),))
    levels = levels_of(mixture, z[:, None], seed=1)
    assert levels[:, 0] == pytest.approx(ndtr(z))
    assert levels[:, 1] == pytest.approx(np.abs(2 * ndtr(z) - 1), abs=4 * math.sqrt(0.25 / LEVEL_DRAWS))


@pytest.mark.slow
def test_clean_nights_are_accused_at_the_rate_that_is_stated_and_changed_ones_are_not_missed() -> None:
    random, nights, level = np.random.default_rng(5), 200, 0.1
    accused = [any(night(random, level=level)["drift"].values()) for _ in range(nights)]
    assert np.mean(accused) <= level + 4 * math.sqrt(level * (1 - level) / nights)
    moved = [night(random, inputs=changed(0, lambda wind: wind + 10)) for _ in range(20)]
    assert np.mean([found["drift"]["inputs"] > 0 for found in moved]) >= 0.9
    assert np.mean([found["drift"]["outcomes"] > 0 for found in moved]) <= 0.1
    lifted = [night(random, outcomes=lambda z: z + 0.8) for _ in range(20)]
    assert np.mean([found["drift"]["outcomes"] > 0 for found in lifted]) >= 0.9
    assert np.mean([found["drift"]["inputs"] > 0 for found in lifted]) <= 0.1
