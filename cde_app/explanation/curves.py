"""How the forecasts move along one input, with the other inputs of the rows as they are.

Letters: N rows, D features, P targets, G points, L levels, I single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cde_app.arrays import AnyArray, Array
from cde_app.explanation.inputs import Axis, Input
from cde_app.predictive.forecast import Forecast

LEVELS = (0.05, 0.5, 0.95)
MOST_POINTS, MOST_LABELS = 13, 10
OUTERMOST = 0.01
"""Share of the rows beyond each end of a curve."""
LARGEST_GAP = 0.2
"""A line is interrupted where no row has a value in a longer stretch [of the length of the axis]."""


@dataclass(frozen=True)
class Curve:
    """The forecasts of one target along one input."""

    target: str
    axis: Axis
    mean: Array
    """[G], mean over the rows."""
    quantiles: Array
    """[L, G], means over the rows of the quantiles at `LEVELS`."""
    errors: Array
    """[L, G], their standard errors over the rows."""
    rows: Array
    """[L, I, G], the quantiles of single rows."""


def axis_of(
    one: Input, cells: Array, labels: Sequence[str], encode: Callable[[Array], Array], *, is_date: bool
) -> Axis:
    """Return the points of an input where there is data.

    Of numbers, these are evenly spaced quantiles, so that half of the points are in the middle half of the rows; of
    labels, the most frequent ones.

    Args:
        one: the input.
        cells: [N], its values: numbers, days, or indices into the labels; gaps are left out.
        labels: of a categorical column; else empty.
        encode: values [G] to features [G, F].
        is_date: whether the values are days since 1970.
    """
    cells = cells[~np.isnan(cells)]
    if labels:
        codes = cells[cells >= 0].astype(int)
        counts = np.bincount(codes, minlength=len(labels))
        chosen = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_LABELS, int((counts > 0).sum()))])
        names: AnyArray = np.array([labels[code] for code in chosen], dtype=object)
        return Axis(one, names, encode(chosen.astype(float)))
    levels = np.linspace(OUTERMOST, 1 - OUTERMOST, MOST_POINTS)
    points = np.unique(np.quantile(cells, levels, method="nearest")) if cells.size else cells
    breaks = []
    if len(points) > 1:
        ordered = np.unique(cells[(cells >= points[0]) & (cells <= points[-1])])
        far = np.flatnonzero(np.diff(ordered) > LARGEST_GAP * (points[-1] - points[0]))
        # Points are values of rows. The rows at both sides of a gap become points, so that no line leads into it.
        points = np.unique(np.concatenate([points, ordered[far], ordered[far + 1]]))
        breaks = [int(np.searchsorted(points, ordered[index])) for index in far]
    return Axis(one, points, encode(points), is_date, tuple(breaks))


def curves(
    predict: Callable[[Array], Forecast],
    X: Array,
    axes: Sequence[Axis],
    *,
    num_single: int,
) -> Iterator[Curve]:
    """Yield the curves of all targets along each axis.

    Args:
        predict: rows of X to forecasts with the names of their targets.
        X: [N, D], N >= 1; the average is over these rows.
        axes: the points.
        num_single: I, the first rows of X.

    Source: Friedman (2001), "Greedy function approximation: a gradient boosting machine", for the average; Goldstein et
    al. (2015), "Peeking inside the black box", for single rows.
    """
    for axis in axes:
        quantiles, means = [], []
        for point in axis.encoded:
            changed = np.array(X)
            changed[:, axis.input.features] = point
            forecast = predict(changed)
            quantiles.append(forecast.quantile(LEVELS))
            means.append(forecast.mean().mean(0))
        stacked = np.stack(quantiles, axis=2)  # [L, N, G, P]
        spread = stacked.std(1, ddof=1) / np.sqrt(len(X)) if len(X) > 1 else np.full_like(stacked[:, 0], np.nan)
        for p, target in enumerate(forecast.target_names):
            yield Curve(
                target,
                axis,
                np.stack(means)[:, p],
                stacked[..., p].mean(1),
                spread[..., p],
                stacked[:, :num_single, :, p],
            )
