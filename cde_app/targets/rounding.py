"""Targets that are rounded so coarsely that a density would pile up on their values, and the noise that prevents it.

Rounding to a step adds an error that is uniform over the step, with variance step^2 / 12. A model with less noise than
that learns the grid: narrow components on the values, and log densities that grow without bound while the forecasts do
not improve. The noise therefore has at least that variance, in the model's own units.
NumPy only: training imports this module without pandas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.targets import TargetTransform

REPEATED_SHARE = 0.5
"""If a smaller share of the rows has the value of another row, steps between the values may be chance."""
ODD_SHARE = 0.05
"""The largest share of rows, those with the rarest values, that may be off the grid."""
MATERIAL_STEP = 0.1
"""Steps below this share of the target's standard deviation are finer than any density that a model can learn."""
SLOPE_LEVEL = 0.25
"""If a transform is not affine, the step varies from row to row; this quantile over the rows is used."""
SAME_VALUE = 1e-9
"""Values closer than this share of their range and of their size, or than a few last digits, differ only by rounding
errors."""
EDGE_SHARE = 0.05
"""The lowest or highest value piles up if it has at least this share of the rows, and twice that of the next value."""


@dataclass(frozen=True)
class RoundedTarget:
    """A target whose rounding is material."""

    column: str
    step: float
    """[units of the target]."""
    num_distinct: int
    variance: float
    """step^2 / 12 in the transformed, standardised units; by the delta method if the transform is not affine."""

    def warning(self) -> str:
        """Say what was found and what it implies."""
        return (
            f"target {self.column!r} is taken as rounded to steps of {self.step:g} ({self.num_distinct} distinct "
            "values); its noise has at least the variance of that rounding, so that no density piles up on the values. "
            "Judge by CRPS, not by log density; set the target's rounding to another step, or to 0 for none."
        )


def edge_warnings(column: str, values: Array) -> list[str]:
    """Warn if many of a target's values, [N], equal the lowest or highest one, which no density can represent."""
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
    """Return how a target is rounded, None if it is not, or if the rounding does not matter.

    With `auto`, two conditions must hold: there is a `rounding_step`, and it is at least a tenth of the standard
    deviation on the model's scale. Grades, ratings and small counts qualify; weights to 0.1 kg over tens of kg, counts
    in the hundreds and numbers with four digits do not, because a density is smooth over so many values.

    Args:
        column: the target's name.
        values: [N], the training rows [units of the target].
        transform: the target's transform.
        rounding: the setting; a number is used as it is.
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

    It is the smallest distance between two values, after the rarest ones, with together at most 5 % of the rows, are
    removed: a typing error between two grades does not hide that they are grades. If fewer than half of the rows have
    the value of another row, there is no step.
    """
    levels, counts = _levels(values)
    if counts[counts > 1].sum() < REPEATED_SHARE * len(values):
        return None
    rows_of_rarest = np.cumsum(np.bincount(counts, weights=counts))  # rows whose value occurs at most that often
    fewest = np.searchsorted(rows_of_rarest, ODD_SHARE * len(values), side="right")
    gaps = np.diff(levels[counts >= fewest])
    return float(gaps.min()) if gaps.size else None


def _levels(values: Array) -> tuple[Array, IndexArray]:
    """Return the distinct values and their counts; values that differ only by rounding errors count as one."""
    distinct, counts = np.unique(values, return_counts=True)
    sizes = np.abs(distinct)
    larger = np.maximum(sizes, np.abs(np.roll(distinct, 1)))
    # Relative to the values too: one extreme value must not make levels of all the others.
    nearest = np.minimum(SAME_VALUE * np.ptp(distinct), SAME_VALUE * larger)
    nearest = np.maximum(nearest, 4 * np.spacing(np.maximum(larger, np.median(sizes))))
    starts = np.flatnonzero(np.diff(distinct, prepend=-np.inf) > nearest)
    return distinct[starts], np.add.reduceat(counts, starts)
