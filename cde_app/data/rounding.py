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
from numpy.typing import NDArray

from cde_app.data.transform import TargetTransform

FloatArray = NDArray[np.float64]

STEPS = tuple(digit * 10.0**power for power in range(6, -7, -1) for digit in (5, 2.5, 2, 1))
REPEATED_SHARE = 0.5
"""Below this share of rows with another row's value, steps between the values may be chance."""
MATERIAL_STEP = 0.1
"""Steps below this share of the target's standard deviation are finer than any density that a model learns."""
SLOPE_LEVEL = 0.25
"""Where a transform bends, the step is measured where it is among the narrowest: this quantile over the rows."""
SAME_VALUE = 1e-9


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


def find_rounding(
    column: str, values: FloatArray, transform: TargetTransform, rounding: float | Literal["auto"]
) -> RoundedTarget | None:
    """Return how a target is rounded, None if it is not or not so that it matters.

    `auto` asks for two things: at least half of the rows repeat another row's value, and the smallest distance between
    two values is at least a tenth of the standard deviation on the model's scale. Grades, ratings
    and small counts qualify; weights to 0.1 kg over tens of kg, counts in the hundreds and numbers printed with four
    digits do not, because a density passes over so many values smoothly.

    Args:
        column: the target's name.
        values: [N], the training rows [units of the target].
        transform: the target's.
        rounding: the configuration's; a number is taken as it is.
    """
    distinct, counts = np.unique(values, return_counts=True)
    step = _smallest_gap(distinct) if rounding == "auto" else rounding
    slopes = np.exp(transform.log_jacobian(values))
    standardised_step = step * float(np.quantile(slopes, SLOPE_LEVEL))
    if rounding == "auto":
        repeated_share = 1.0 - np.count_nonzero(counts == 1) / len(values)
        if repeated_share < REPEATED_SHARE or standardised_step < MATERIAL_STEP:
            return None
    return RoundedTarget(column, step, len(distinct), standardised_step**2 / 12) if step else None


def rounding_step(distinct: FloatArray) -> float | None:
    """Find the largest of 5, 2.5, 2, 1 times a power of ten that divides every value; None if there is none."""
    nonzero = distinct[distinct != 0]
    for step in STEPS:
        ratios = np.abs(nonzero / step)
        if np.all((ratios > 0.5) & (ratios < 1e9) & (np.abs(ratios - np.round(ratios)) < 1e-6)):
            return step
    return None


def _smallest_gap(distinct: FloatArray) -> float:
    """Return the smallest distance between two values, those that differ by rounding errors alone left out."""
    gaps = np.diff(distinct)
    gaps = gaps[gaps > SAME_VALUE * np.max(np.abs(distinct))]
    return float(gaps.min()) if gaps.size else 0.0
