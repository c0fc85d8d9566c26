"""Targets that are rounded so coarsely that a density would pile up on their values, and the noise that prevents it.

A value rounded to a step carries an error that is uniform over the step, of variance step^2 / 12. A model whose noise
falls below it learns the grid: narrow components on the values, and log densities that grow without bound while the
forecasts get no better. The noise therefore keeps that variance, in the model's own units.
NumPy only: training reads this module without pandas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.data.transform import TargetTransform

REPEATED_SHARE = 0.5
"""Below this share of rows with another row's value, steps between the values may be chance."""
ODD_SHARE = 0.05
"""This share of the rows, those with the rarest values, may be off the grid."""
MATERIAL_STEP = 0.1
"""Steps below this share of the target's standard deviation are finer than any density that a model learns."""
SLOPE_LEVEL = 0.25
"""Where a transform bends, the step is measured where it is among the narrowest: this quantile over the rows."""
SAME_VALUE = 1e-9
"""Values nearer than this share of their range, or than a few last digits, differ by rounding errors alone."""
EDGE_SHARE = 0.05
"""From this share of the rows on, and twice the next value's, the lowest or the highest value is a heap of its own."""


@dataclass(frozen=True)
class RoundedTarget:
    """A target whose rounding is material."""

    column: str
    step: float
    """[units of the target]."""
    num_distinct: int
    variance: float
    """step^2 / 12 in the transformed, standardised units; by the delta method where the transform bends."""

    def warning(self) -> str:
        """Say what was found and what follows."""
        return (
            f"target {self.column!r} is taken as rounded to steps of {self.step:g} ({self.num_distinct} distinct "
            "values); its noise keeps the variance of that rounding, so that no density piles up on the values. Judge "
            "by CRPS, not by log density; the target's setting rounding names another step, or 0 for none."
        )


def edge_warnings(column: str, values: Array) -> list[str]:
    """Write that many of a target's values, [N], are the lowest or the highest one, a heap that no density heeds."""
    distinct, counts = np.unique(values + 0.0, return_counts=True)  # -0 is 0
    return [
        f"target {column!r} is exactly {distinct[edge]:g} in {100 * counts[edge] / len(values):.0f} % of the rows and "
        f"never {beyond}: forecasts will have mass {beyond} {distinct[edge]:g}; read it as mass at {distinct[edge]:g}."
        for edge, inner, beyond in ((0, 1, "below"), (-1, -2, "above"))
        if counts[edge] >= max(EDGE_SHARE * len(values), 2 * counts[inner])
    ]


def find_rounding(
    column: str, values: Array, transform: TargetTransform, rounding: float | Literal["auto"]
) -> RoundedTarget | None:
    """Return how a target is rounded, None if it is not or not so that it matters.

    `auto` asks for two things: there is a `rounding_step`, and it is at least a tenth of the standard deviation on the
    model's scale. Grades, ratings and small counts qualify; weights to 0.1 kg over tens of kg, counts in the hundreds
    and numbers printed with four digits do not, because a density passes over so many values smoothly.

    Args:
        column: the target's name.
        values: [N], the training rows [units of the target].
        transform: the target's.
        rounding: the configuration's; a number is taken as it is.
    """
    step = rounding_step(values) if rounding == "auto" else rounding
    if not step:
        return None
    slopes = np.exp(transform.log_jacobian(values))
    standardised_step = step * float(np.quantile(slopes, SLOPE_LEVEL))
    if rounding == "auto" and standardised_step < MATERIAL_STEP:
        return None
    return RoundedTarget(column, step, len(np.unique(values)), standardised_step**2 / 12)


def rounding_step(values: Array) -> float | None:
    """Return the step to which values [N] are rounded, None if they are not.

    It is the smallest distance between two of the usual values, those left when the rarest, of at most 5 % of the rows
    together, are set aside: a typing error between two grades does not hide that they are grades. Where fewer than half
    of the rows repeat another row's value, there is no step.
    """
    levels, counts = _levels(values)
    if counts[counts > 1].sum() < REPEATED_SHARE * len(values):
        return None
    rows_of_rarest = np.cumsum(np.bincount(counts, weights=counts))  # of values that occur at most so often
    fewest = np.searchsorted(rows_of_rarest, ODD_SHARE * len(values), side="right")
    gaps = np.diff(levels[counts >= fewest])
    return float(gaps.min()) if gaps.size else None


def _levels(values: Array) -> tuple[Array, IndexArray]:
    """Return the distinct values, those that differ by rounding errors alone taken together, and their counts."""
    distinct, counts = np.unique(values, return_counts=True)
    nearest = max(SAME_VALUE * np.ptp(distinct), 4 * np.spacing(np.max(np.abs(distinct))))
    starts = np.flatnonzero(np.diff(distinct, prepend=-np.inf) > nearest)
    return distinct[starts], np.add.reduceat(counts, starts)
