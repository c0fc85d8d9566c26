"""The columns of tables of forecasts: one row per forecast, or several in long form.

A long table is a pair: the index of the forecast of each of its M rows, [M], and its columns, each [M].

Letters: N forecasts, P targets, S draws, G points of a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import numpy as np

from cde_app.arrays import AnyArray, Array, IndexArray
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture

Columns = dict[str, AnyArray]
LongTable = tuple[IndexArray, Columns]


def summary_columns(forecast: Forecast, quantiles: Sequence[float], intervals: Sequence[float] = ()) -> Columns:
    """Return `<target>_mean`, `_sd`, quantiles such as `_q05`, and ends of intervals, `_low90` and `_high90`, each [N].

    If some targets are given, `effective_components` follows.

    The names are unique for any targets: the part after the last underscore differs between the columns of one target,
    and the part before it between targets.
    """
    mean, sd, levels = forecast.mean(), forecast.sd(), forecast.quantile(quantiles)
    ends = [forecast.interval(mass) for mass in intervals]
    columns: Columns = {}
    for p, name in enumerate(forecast.target_names):
        columns |= {f"{name}_mean": mean[:, p], f"{name}_sd": sd[:, p]}
        columns |= {f"{name}_q{percentage(level)}": levels[i, :, p] for i, level in enumerate(quantiles)}
        for mass, (low, high) in zip(intervals, ends, strict=True):
            columns |= {f"{name}_low{percentage(mass)}": low[:, p], f"{name}_high{percentage(mass)}": high[:, p]}
    if isinstance(forecast, Mixture) and forecast.weights.ndim == 2:
        columns["effective_components"] = forecast.effective_components
    return columns


def sample_columns(forecast: Forecast, draws: Array) -> LongTable:
    """Return draws [S, N, P] in long form: draw (counted from 1), targets.

    A target named `row` or `draw` gets an underscore at its end, or two if another target already has that name.
    """
    num_samples, num_rows, _ = draws.shape
    columns: Columns = {"draw": np.tile(np.arange(1, num_samples + 1), num_rows)}
    taken = {"row", "draw", *forecast.target_names}
    for p, name in enumerate(forecast.target_names):
        unique = free_name(name, taken) if name in ("row", "draw") else name
        columns[unique] = draws[:, :, p].T.ravel()
    return np.repeat(np.arange(num_rows), num_samples), columns


def density_columns(forecast: Forecast, points: Mapping[str, Array]) -> LongTable:
    """Return target, value, density [per unit of the target] and cdf at the same points of every forecast.

    Args:
        forecast: N forecasts.
        points: [G] of each target, in its units.
    """
    tables = []
    for name in forecast.target_names:
        mixture, y = forecast.marginal(name), np.asarray(points[name], float)
        z = np.broadcast_to(mixture.transforms[0].forward(y), (len(forecast), len(y)))
        log_density, cdf = mixture.log_prob_along(z), mixture.cdf_along(z)
        columns = {"target": np.full(z.size, name), "value": np.tile(y, len(forecast))}
        columns |= {"density": np.exp(log_density).ravel(), "cdf": cdf.ravel()}
        tables.append((np.repeat(np.arange(len(forecast)), len(y)), columns))
    return stacked(tables)


def region_columns(forecast: Forecast, masses: Sequence[float]) -> LongTable:
    """Return target, mass, and low, high and probability of each interval of the highest-density regions."""
    tables = []
    for name in forecast.target_names:
        mixture = forecast.marginal(name)
        for mass in masses:
            rows, ends = long_form(mixture.hdi(mass), 2)
            probability = mixture[rows].mass_between(*ends.T)
            columns = {"target": np.full(len(rows), name), "mass": np.full(len(rows), mass)}
            columns |= {"low": ends[:, 0], "high": ends[:, 1], "probability": probability}
            tables.append((rows, columns))
    return stacked(tables)


def mode_columns(forecast: Forecast) -> LongTable:
    """Return target, and value and probability of each mode."""
    tables = []
    for name in forecast.target_names:
        rows, modes = long_form(forecast.modes(target=name), 2)
        columns = {"target": np.full(len(rows), name), "value": modes[:, 0], "probability": modes[:, 1]}
        tables.append((rows, columns))
    return stacked(tables)


def long_form(pieces: Sequence[Array], width: int) -> tuple[IndexArray, Array]:
    """Put the pieces of each forecast, [K, width], one below the other; also return the index of their forecast."""
    rows = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    return rows, np.concatenate([np.empty((0, width)), *pieces])


def stacked(tables: Sequence[LongTable]) -> LongTable:
    """Put long tables of the same columns below each other, ordered by the forecast."""
    rows = np.concatenate([rows for rows, _ in tables])
    order = np.argsort(rows, kind="stable")
    columns = {name: np.concatenate([own[name] for _, own in tables])[order] for name in tables[0][1]}
    return rows[order], columns


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name with as many underscores at its end as make it differ from those that are taken."""
    others = set(taken)
    while name in others:
        name += "_"
    return name


def percentage(share: float) -> str:
    """Return `05` for 0.05, `50` for 0.5, `97.5` for 0.975: the full percentage, which is unique for each share."""
    percent = f"{100 * Decimal(repr(float(share))):f}".rstrip("0").rstrip(".")
    return percent.zfill(2) if "." not in percent else percent
