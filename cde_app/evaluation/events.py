"""Events, such as `y > 100`: how good are their stated probabilities?

Letters: N rows, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cde_app.arrays import Array, IntArray
from cde_app.evaluation.scores import Rows, mean_with_error, skill_with_error
from cde_app.evaluation.verdict import binomial_band
from cde_app.predictive.forecast import Forecast

EVENT_SCORES = ("probability", "happened", "brier")
ROWS_PER_BIN, MOST_BINS = 10, 10


@dataclass(frozen=True)
class Event:
    """That a target lies between two limits, in N rows."""

    name: str
    target: int
    """Index of the target."""
    above: Array
    """[N]."""
    below: Array
    """[N]."""
    includes: tuple[bool, bool] = (False, False)
    """Whether the limits themselves are inside."""

    def __getitem__(self, rows: slice) -> Event:
        """Return the event in some rows, a slice of them."""
        return replace(self, above=self.above[rows], below=self.below[rows])

    def happened(self, targets: Array) -> Array:
        """Return 1 where it has happened, else 0; [N, P] to [N]."""
        y = targets[:, self.target]
        is_above = y >= self.above if self.includes[0] else y > self.above
        is_below = y <= self.below if self.includes[1] else y < self.below
        return (is_above & is_below).astype(float)

    def probability(self, forecast: Forecast) -> Array:
        """Return its probability in every row, [N]."""
        return forecast.probability(above=self.above, below=self.below, target=self.target)


@dataclass(frozen=True)
class Reliability:
    """How often an event happened where its probability was about p."""

    stated: Array
    """[B], mean probability in the bin."""
    observed: Array
    """[B], share of the bin's rows in which the event happened."""
    counts: IntArray
    """[B], rows in the bin."""
    lower: Array
    """[B], lower end of the pointwise 95 % band of the share, if the probabilities are right."""
    upper: Array
    """[B], upper end."""


def reliability(probability: Array, happened: Array) -> Reliability:
    """Compare stated probabilities with frequencies, in bins of equally many rows, ordered by probability.

    The band is that of a binomial with the bin's mean probability, a little wider than that of rows whose
    probabilities differ.

    Args:
        probability: [N], N >= 1.
        happened: [N], 0 or 1.

    Source: Broecker and Smith (2007), "Increasing the reliability of reliability diagrams", for the bands.
    """
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, int(np.clip(len(order) // ROWS_PER_BIN, 1, MOST_BINS)))
    stated = np.array([probability[rows].mean() for rows in bins])
    counts = np.array([len(rows) for rows in bins])
    bands = [binomial_band(count, np.array([p])) for count, p in zip(counts, stated, strict=True)]
    lower, upper = (np.array([band[end][0] for band in bands]) / counts for end in (0, 1))
    return Reliability(stated, np.array([happened[rows].mean() for rows in bins]), counts, lower, upper)


def event_rows(event: Event, forecast: Forecast, targets: Array) -> Rows:
    """Return the probability of an event, whether it happened, and the Brier score (p - happened)^2, [N] each.

    Source: Brier (1950), "Verification of forecasts expressed in terms of probability".
    """
    probability, happened = event.probability(forecast), event.happened(targets)
    values = (probability, happened, (probability - happened) ** 2)
    return {event_key(event.name, what): own for what, own in zip(EVENT_SCORES, values, strict=True)}


def event_key(name: str, what: str) -> str:
    """Return the name of an event's scores among those of the rows."""
    return f"event {name}: {what}"


def summarise_event(name: str, scored: Mapping[str, Rows], groups: IntArray | None = None) -> dict[str, Any]:
    """Return frequency, mean probability and Brier score of an event, and the skill against each baseline.

    If the event always or never happened, the skill is None.

    Args:
        name: of the event.
        scored: the rows of `model` and of each baseline.
        groups: [N], the group of each row, from 0, if rows of a group count as one.
    """

    def rows(of: str, what: str) -> Array:
        return scored[of][event_key(name, what)]

    baselines, happened = [of for of in scored if of != "model"], rows("model", "happened")
    no_skill = {"value": None, "se": None}  # what always or never happened cannot tell forecasts apart
    varies = bool(happened.min() < happened.max())
    return {
        "frequency": mean_with_error(rows("model", "happened"), groups),
        "mean_probability": mean_with_error(rows("model", "probability"), groups),
        "brier": mean_with_error(rows("model", "brier"), groups),
        "baselines": {of: {"brier": mean_with_error(rows(of, "brier"), groups)} for of in baselines},
        "skill": {
            of: {"brier": skill_with_error(rows("model", "brier"), rows(of, "brier"), groups) if varies else no_skill}
            for of in baselines
        },
    }
