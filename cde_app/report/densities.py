"""Pictures of densities: along one input, row by row, and jointly for two targets.

Letters: N rows, P targets, G grid points. All values are in the user's units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cde_app.arrays import Array, IndexArray
from cde_app.predictive.forecast import Forecast
from cde_app.report.canvas import BLUE, STYLE, VERMILLION, new_figure, short_label, thin, tint, with_unit

MAX_DOTS = 3000
FEW_INTERVALS = 4
MAX_JOINT_ROWS = 6
MOST_RIDGES = 12
HPD_LEVELS = (0.9, 0.5)
BRIGHT_RED = "#FF5533"  # stands out from every colour of viridis


def spread_rows(values: ArrayLike, count: int) -> IndexArray:
    """Choose rows that span the range of `values` [N] evenly in rank, from low to high: at most `count` indices."""
    order = np.argsort(np.asarray(values, dtype=np.float64), kind="stable")
    ranks = np.floor((np.arange(min(count, len(order))) + 0.5) / max(min(count, len(order)), 1) * len(order))
    chosen: IndexArray = order[ranks.astype(np.intp)]
    return chosen


@matplotlib.rc_context(STYLE)
def plot_density_heatmap(
    forecast: Forecast,
    input_grid: ArrayLike,
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    input_name: str,
    target_name: str,
    target_unit: str = "",
    target: int = 0,
    note: str = "",
) -> Figure:
    """Draw p(y | x) along one input as colour, with its 5, 50 and 95% quantiles and the data.

    Args:
        forecast: forecasts at the G grid points.
        input_grid: [G], increasing [units of the input].
        inputs: [N], the input of the data; empty if there is no data to show.
        targets: [N], the observations of target `target`.
        input_name: label of the x axis.
        target_name: label of the y axis.
        target_unit: shown in brackets, if any.
        target: which of the forecast's targets.
        note: added to the subtitle, for example the values at which the other inputs are fixed.
    """
    input_grid, inputs, targets = (np.asarray(a, dtype=np.float64).ravel() for a in (input_grid, inputs, targets))
    least, low, median, high, most = forecast.quantile([0.005, 0.05, 0.5, 0.95, 0.995])[:, :, target]
    y_grid = _padded_grid(np.concatenate([targets, np.quantile(least, [0.05]), np.quantile(most, [0.95])]), 400)
    density = np.exp(forecast.marginal(target).log_prob_at(y_grid)).T
    hint = "Nine of ten dots should lie between the dashed lines." if inputs.size else ""
    subtitle = " ".join(part for part in ("Brighter: likelier.", hint, note) if part)
    figure, axes = new_figure(f"How {target_name} is distributed along {input_name}", subtitle, size=(8.2, 5.4))
    ax = axes[0, 0]
    ax.grid(visible=False)
    # The brightest colour is the peak of a typical column; otherwise a single spike would leave the rest dark.
    norm = PowerNorm(0.5, vmin=0, vmax=float(np.quantile(density.max(axis=0), 0.95)) or 1.0)
    image = ax.pcolormesh(input_grid, y_grid, density, norm=norm, cmap="viridis", shading="gouraud", rasterized=True)
    if inputs.size:
        shown = thin(len(inputs), MAX_DOTS)
        alpha = float(np.clip(12 / math.sqrt(len(shown)), 0.25, 0.9))
        ax.scatter(inputs[shown], targets[shown], s=9, c="white", alpha=alpha, lw=0.3, edgecolors="black", label="data")
    ax.plot(input_grid, median, color=BRIGHT_RED, lw=1.8, label="median")
    ax.plot(input_grid, low, color=BRIGHT_RED, lw=1.2, ls="--", label="5% and 95% quantile")
    ax.plot(input_grid, high, color=BRIGHT_RED, lw=1.2, ls="--")
    ax.set(xlim=(input_grid[0], input_grid[-1]), ylim=(y_grid[0], y_grid[-1]))
    ax.set(xlabel=input_name, ylabel=with_unit(target_name, target_unit))
    figure.colorbar(
        image, ax=ax, extend="max", pad=0.01, label=with_unit("density", f"1/{target_unit}" if target_unit else "")
    )
    legend = figure.legend(loc="outside lower left", ncols=3)
    if inputs.size and legend.legend_handles[0] is not None:
        legend.legend_handles[0].set(facecolor="lightgrey", alpha=1.0)  # white dots would be invisible on the page
    return figure


def plot_forecast(forecast: Forecast, target_name: str, targets: Array | None, labels: Sequence[str]) -> Figure:
    """Draw the ridges of a forecast of one target, for at most `MOST_RIDGES` of its rows, spread over their means.

    Args:
        forecast: N rows of one target, N >= 1.
        target_name: label of the x axis.
        targets: [N], observations, or None.
        labels: [N], names of the rows.
    """
    chosen = spread_rows(forecast.mean()[:, 0], MOST_RIDGES)
    observed = None if targets is None else targets[chosen]
    return plot_ridges(forecast[chosen], observed, labels=[labels[row] for row in chosen], target_name=target_name)


@matplotlib.rc_context(STYLE)
def plot_ridges(
    forecast: Forecast,
    targets: ArrayLike | None,
    *,
    labels: Sequence[str],
    target_name: str,
    target_unit: str = "",
    target: int = 0,
) -> Figure:
    """Draw the densities of a few rows one above the other, with the observations.

    Args:
        forecast: forecasts of N rows, about a dozen.
        targets: [N], observations of target `target`, or None.
        labels: [N], names of the rows.
        target_name: label of the x axis.
        target_unit: shown in brackets, if any.
        target: which of the forecast's targets.
    """
    observed = None if targets is None else np.asarray(targets, dtype=np.float64).ravel()
    edges = axis_ends(*forecast.quantile([0.005, 0.995])[:, :, target])
    grid = _padded_grid(np.concatenate([edges, [] if observed is None else observed]), 600)
    density = np.exp(forecast.marginal(target).log_prob_at(grid))
    num_rows = forecast.num_rows
    subtitle = "Each density is drawn to its own height."
    if observed is not None:
        subtitle = f"The tick is what happened: expect it under the hill, rarely in a tail. {subtitle}"
    title = f"The forecast of {target_name} for {num_rows} rows"
    figure, axes = new_figure(title, subtitle, size=(7.5, 1.6 + 0.42 * num_rows))
    ax = axes[0, 0]
    for row in range(num_rows):
        base = num_rows - 1 - row
        curve = base + 1.25 * density[row] / max(float(density[row].max()), 1e-300)
        ax.fill_between(grid, base, curve, color=tint(BLUE, 0.45), lw=0, zorder=2 * row + 2, clip_on=False)
        ax.plot(grid, curve, color=BLUE, lw=1.2, zorder=2 * row + 3, clip_on=False)
        if observed is not None:
            ax.plot(
                [observed[row]] * 2, [base, base + 0.55], color=VERMILLION, lw=2.4, zorder=99, solid_capstyle="butt"
            )
    ax.set_yticks(np.arange(num_rows)[::-1], [short_label(label, 24) for label in labels])
    ax.set(xlim=(grid[0], grid[-1]), ylim=(-0.05, num_rows + 0.3), xlabel=with_unit(target_name, target_unit))
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return figure


@matplotlib.rc_context(STYLE)
def plot_joint_rows(
    forecast: Forecast,
    targets: ArrayLike | None,
    *,
    labels: Sequence[str],
    target_names: Sequence[str],
    target_units: Sequence[str] | None = None,
) -> Figure:
    """Draw the joint density of two targets for a few rows: highest-density regions of 50 and 90%, and observations.

    Args:
        forecast: forecasts of N rows; the first six are drawn.
        targets: [N, P], observations, or None.
        labels: [N], names of the rows.
        target_names: [P].
        target_units: [P], or None.

    Source: Hyndman (1996), "Computing and graphing highest density regions", The American Statistician 50.
    """
    num_panels = min(forecast.num_rows, MAX_JOINT_ROWS)
    pair, joint = forecast.closest_pair, forecast[:num_panels].pair()
    observed = None if targets is None else np.asarray(targets, dtype=np.float64)[:num_panels, list(pair)]
    units = [""] * forecast.num_targets if target_units is None else target_units
    names = [with_unit(target_names[p], units[p]) for p in pair]
    columns = min(num_panels, 3)
    figure, axes = new_figure(
        f"How {target_names[pair[0]]} and {target_names[pair[1]]} vary together",
        "Dark: the smallest region with 50% probability; light: 90%."
        + ("" if observed is None else " Cross: what happened."),
        rows=-(-num_panels // columns),
        columns=columns,
        size=(max(2.9 * columns + 0.4, 6.6), 2.7 * -(-num_panels // columns) + 0.9),
        share="all",
    )
    edges = joint.quantile([0.005, 0.995])
    for row in range(num_panels):
        ax = axes.flat[row]
        sides = [_padded_grid(edges[:, row, p], 120) for p in range(2)]
        density = _joint_density(joint[row : row + 1], *sides)
        thresholds = hpd_thresholds(density, HPD_LEVELS)
        colours = [tint(BLUE, 0.3), tint(BLUE, 0.8)]
        ax.contourf(*sides, density, levels=[*thresholds, np.inf], colors=colours, antialiased=True)
        ax.contour(*sides, density, levels=thresholds, colors=[BLUE], linewidths=0.9)
        if observed is not None:
            ax.plot(*observed[row], "x", color="white", ms=9, mew=4)
            ax.plot(*observed[row], "x", color=VERMILLION, ms=8, mew=2.2)
        ax.set_title(short_label(labels[row], 30), loc="left", fontsize=9.5)
    for p, bounds in enumerate(("set_xlim", "set_ylim")):
        values: list[ArrayLike] = [axis_ends(*edges[:, :, p]), [] if observed is None else observed[:, p]]
        getattr(axes.flat[0], bounds)(*_padded_grid(np.concatenate(values), 2))
    for ax in axes.flat[num_panels:]:
        ax.set_visible(False)
    figure.supxlabel(names[0], fontsize=10)
    figure.supylabel(names[1], fontsize=10)
    return figure


def axis_ends(lower: Array, upper: Array) -> Array:
    """Return the ends of an axis for several intervals; if there are at least four, outlying ones may be cut off.

    The axis extends beyond the middle half of the intervals by the length of that half.
    """
    if len(lower) < FEW_INTERVALS:
        return np.array([lower.min(), upper.max()])
    low, high = np.quantile(lower, 0.25, method="higher"), np.quantile(upper, 0.75, method="lower")
    length = high - low
    return np.array([max(lower.min(), low - length), min(upper.max(), high + length)])


def hpd_thresholds(density: Array, levels: Sequence[float]) -> list[float]:
    """Return for each level the density above which that share of the mass lies, on an even grid."""
    ordered = np.sort(density, axis=None)[::-1]
    mass = np.cumsum(ordered) / np.sum(ordered)
    return [float(ordered[min(int(np.searchsorted(mass, level)), ordered.size - 1)]) for level in levels]


def _padded_grid(values: ArrayLike, size: int) -> Array:
    """Return an even grid over the range of the values, with a margin of 4% on each side."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = float(finite.min()), float(finite.max())
    margin = 0.04 * (high - low) or 0.5 * abs(low) or 0.5
    return np.linspace(low - margin, high + margin, size)


def _joint_density(row: Forecast, x_grid: Array, y_grid: Array) -> Array:
    """Compute one row's density on a grid, [len(y_grid), len(x_grid)]."""
    points = np.stack(np.meshgrid(x_grid, y_grid), axis=-1)
    return np.exp(row.log_prob_at(points.reshape(-1, 2))[0]).reshape(points.shape[:2])
