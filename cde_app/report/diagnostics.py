"""Pictures that show whether to trust the model: training, calibration, the latent variable.

Letters: N rows, P targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cde_app.arrays import Array
from cde_app.evaluation.events import reliability
from cde_app.evaluation.verdict import coverage_curve, ecdf_difference, ks_critical_value, ks_distance, pit_histogram
from cde_app.report.canvas import BLUE, GREY, INK, STYLE, VERMILLION, new_figure, short_label, thin, tint

LOCAL_KL = "_local_kl"
"""Ending of the history's key for the KL of the latent variable; it begins with the name of the layer."""
MAX_PANELS = 6
MAX_ERROR_BARS = 800


@matplotlib.rc_context(STYLE)
def plot_history(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the training bound and, if available, the local KL and the validation score against the step.

    Args:
        history: entries with `training`, `step`, `bound`, `<name>_local_kl` and `validation_score` (None if it was not
            computed); the first of several trainings is drawn.
    """
    num_trainings = 1 + max((entry["training"] for entry in history), default=0)
    lead = "Training" if num_trainings == 1 else f"The first of {num_trainings} trainings"
    history = [entry for entry in history if entry["training"] == 0]
    steps, bounds = _series(history, "bound")
    scored, scores = _series(history, "validation_score")
    best = int(np.argmax(scores)) if scores.size else -1
    title = (
        f"{lead} kept the state of step {scored[best]:,.0f}"
        if scores.size
        else f"{lead}: the bound over {np.max(steps, initial=0):,.0f} steps"
    )
    kl_name = next((name for entry in history[:1] for name in entry if name.endswith(LOCAL_KL)), None)
    subtitle = "The curves should flatten out; a validation score that falls means overfitting."
    if not scores.size:
        subtitle = "The curve should flatten out. There were no validation rows, so the last state was kept."
    rows = 1 + (kl_name is not None) + (scores.size > 0)
    figure, axes = new_figure(title, subtitle, rows=rows, size=(7.5, (3.8, 5.2, 6.6)[rows - 1]))
    top = axes[0, 0]
    smooth = _running_median(bounds)
    top.plot(
        steps, bounds, color=BLUE, alpha=0.35 if smooth is not None else 1.0, lw=1.0 if smooth is not None else 1.8
    )
    if smooth is not None:
        top.plot(steps, smooth, color=BLUE, lw=1.8)
    top.set_ylabel("training bound")
    _ignore_first_plunge(top, bounds)
    if kl_name is not None:
        axes[1, 0].plot(*_series(history, kl_name), color=INK, lw=1.8)
        axes[1, 0].set_ylabel(f"{kl_name}\n[nats per row]")
    if scores.size:
        bottom = axes[-1, 0]
        bottom.plot(scored, scores, color=VERMILLION, lw=1.8, marker="o", ms=3)
        bottom.plot(scored[best], scores[best], "o", ms=9, mfc="none", mec=INK, mew=1.5)
        side = -1 if scored[best] > 0.6 * np.max(steps, initial=1) else 1
        bottom.annotate(
            f"best: {scores[best]:.4g} at step {scored[best]:,.0f}".replace("-", "\N{MINUS SIGN}"),
            (scored[best], scores[best]),
            xytext=(side * 12, -16),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            va="top",
        )
        bottom.set_ylabel("validation log density\n[nats per row]")
        _ignore_first_plunge(bottom, scores)
        for ax in axes[:, 0]:
            ax.axvline(scored[best], color=GREY, lw=1, ls=":")
            ax.set_xlim(0, max(float(np.max(steps, initial=0)), float(np.max(scored))) * 1.02)
    axes[-1, 0].set_xlabel("step")
    return figure


@matplotlib.rc_context(STYLE)
def plot_latent(
    inputs: ArrayLike,
    w_mean: ArrayLike,
    w_sd: ArrayLike,
    prior_band: ArrayLike,
    *,
    input_name: str,
    latent_name: str = "latent variable w",
) -> Figure:
    """Draw the posterior of each row's latent variable against one input.

    Args:
        inputs: [N], the input of the data.
        w_mean: [N], means of p(w | x, y).
        w_sd: [N], standard deviations of p(w | x, y).
        prior_band: [2], edges of the prior's central 68 %, which is shaded.
        input_name: label of the x axis.
        latent_name: label of the y axis.
    """
    inputs, w_mean, w_sd = (np.asarray(a, dtype=np.float64).ravel() for a in (inputs, w_mean, w_sd))
    shown = thin(len(inputs), MAX_ERROR_BARS)
    figure, axes = new_figure(
        "What the latent variable stands for",
        "Each dot is a row's p(w | x, y), its bar one sd. Groups or bands are hidden causes; bars as long as the\n"
        "shaded prior mean that w is not used there.",
        size=(7.5, 4.6),
    )
    ax = axes[0, 0]
    low, high = np.asarray(prior_band, dtype=np.float64)
    ax.axhspan(low, high, color=GREY, alpha=0.22, lw=0, label="prior: central 68%")
    ax.errorbar(
        inputs[shown],
        w_mean[shown],
        w_sd[shown],
        fmt="o",
        ms=3.2,
        color=BLUE,
        ecolor=tint(BLUE, 0.35),
        elinewidth=1.0,
        label="posterior: mean ± one sd",
    )
    ax.set(xlabel=input_name, ylabel=latent_name)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def plot_pit(pit: ArrayLike, *, target_names: Sequence[str]) -> Figure:
    """Draw the histogram of the PIT values of each target with the 95% band of a calibrated forecast.

    Args:
        pit: [N, P].
        target_names: [P]; the first six are drawn.
    """
    pit = np.asarray(pit, dtype=np.float64)
    figure, axes = _calibration_panels(
        "Do the densities mean what they say?",
        "Level bars, all but one in twenty inside the band: yes.\nU-shape: too narrow. Hump: too wide. Slope: shifted.",
        pit.shape[1],
        height=3.0,
        single_width=6.8,
    )
    for p, ax in _named_panels(axes, target_names):
        histogram = pit_histogram(pit[:, p])
        inside = (histogram.counts >= histogram.lower) & (histogram.counts <= histogram.upper)
        ax.axhspan(histogram.lower[0], histogram.upper[0], color=GREY, alpha=0.28, lw=0, label="95% of calibrated bars")
        ax.bar(
            histogram.edges[:-1],
            histogram.counts,
            width=np.diff(histogram.edges),
            align="edge",
            edgecolor="white",
            color=np.where(inside, BLUE, VERMILLION).tolist(),
            lw=0.8,
            alpha=0.85,
        )
        ax.axhline(histogram.expected, color=INK, lw=1, ls="--", label="expected")
        limit = ks_critical_value(len(pit))
        distance = ks_distance(pit[:, p])
        for edge in (histogram.lower[0], histogram.upper[0]):
            ax.axhline(edge, color=INK, lw=0.7, alpha=0.45)
        words = f"PIT value F(y | x)\nKS distance {distance:.3f}, by chance up to {limit:.3f}"
        ax.set(xlim=(0, 1), xlabel=words, ylabel="rows")
        ax.grid(visible=False, axis="x")
    _legend_once(figure, axes)
    return figure


@matplotlib.rc_context(STYLE)
def plot_ecdf(values: ArrayLike, *, names: Sequence[str]) -> Figure:
    """Draw how far the PIT values' distribution is from uniform, with the simultaneous 95% band.

    Args:
        values: [N, P], PIT values of each target, or density ranks.
        names: [P]; the first six are drawn.
    """
    values = np.asarray(values, dtype=np.float64)
    figure, axes = _calibration_panels(
        "Where are the stated probabilities off?",
        "A curve inside the band everywhere: nowhere, or by no more than chance (95% of calibrated curves).\n"
        "Above 0: this happens more often than stated, at or below that probability. Below 0: less often.",
        values.shape[1],
        height=3.0,
        single_width=7.6,
    )
    for p, ax in _named_panels(axes, names):
        curve = ecdf_difference(values[:, p])
        x = np.concatenate([[0.0], curve.points, [1.0]])
        lower, upper, difference = (np.pad(100 * part, 1) for part in (curve.lower, curve.upper, curve.difference))
        ax.fill_between(x, lower, upper, color=GREY, alpha=0.28, lw=0, label="95% of calibrated curves lie inside")
        ax.axhline(0.0, color=INK, lw=1, ls="--", label="perfect")
        ax.plot(x, difference, color=BLUE, lw=1.8, label="observed less stated")
        outside = np.where((difference < lower) | (difference > upper), difference, np.nan)
        if np.isfinite(outside).any():
            ax.plot(x, outside, "o", color=VERMILLION, ms=4, label="outside")
        ax.set(xlim=(0, 1), xlabel="stated probability u", ylabel="rows up to u, less u\n[percentage points]")
    handles = {name: handle for ax in axes.flat for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def plot_coverage(pit: ArrayLike, *, target_names: Sequence[str]) -> Figure:
    """Draw the actual against the nominal coverage of central intervals, with its 95% band.

    Args:
        pit: [N, P].
        target_names: [P]; the first six are drawn.
    """
    pit = np.asarray(pit, dtype=np.float64)
    figure, axes = _calibration_panels(
        "Do the intervals hold what they promise?",
        "On the diagonal: yes. Below it: intervals too narrow. Above it: too wide.",
        pit.shape[1],
        height=3.6,
        single_width=5.6,
    )
    for p, ax in _named_panels(axes, target_names):
        curve = coverage_curve(pit[:, p])
        nominal = 100 * curve.nominal
        ax.fill_between(
            nominal,
            100 * curve.lower,
            100 * curve.upper,
            color=GREY,
            alpha=0.28,
            lw=0,
            label="95% of calibrated curves",
        )
        ax.plot([0, 100], [0, 100], color=INK, lw=1, ls="--", label="perfect")
        ax.plot(nominal, 100 * curve.actual, color=BLUE, lw=2.2, label="this model")
        ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="interval promises [%]", ylabel="rows inside [%]")
        ax.set_aspect("equal")
    _legend_once(figure, axes)
    return figure


@matplotlib.rc_context(STYLE)
def plot_reliability(probability: ArrayLike, happened: ArrayLike, *, name: str) -> Figure:
    """Draw how often an event happened against its stated probability, with 95% bands, and where the probabilities lie.

    Args:
        probability: [N].
        happened: [N], 0 or 1.
        name: of the event.
    """
    probability, happened = (np.asarray(a, dtype=np.float64) for a in (probability, happened))
    curve = reliability(probability, happened)
    figure, axes = new_figure(
        f"Does {short_label(name, 40)} happen as often as stated?",
        "On the diagonal: yes. A point outside its bar: no, but for one in twenty by chance.",
        size=(6.2, 6.2),
    )
    ax = axes[0, 0]
    ax.plot([0, 100], [0, 100], color=INK, lw=1, ls="--", label="perfect")
    ax.vlines(
        100 * curve.stated, 100 * curve.lower, 100 * curve.upper, color=GREY, alpha=0.45, lw=7, label="95% by chance"
    )
    inside = (curve.observed >= curve.lower) & (curve.observed <= curve.upper)
    ax.plot(100 * curve.stated, 100 * curve.observed, color=BLUE, lw=1.2, alpha=0.6)
    for chosen, colour, label in ((inside, BLUE, "this model"), (~inside, VERMILLION, "outside")):
        if chosen.any():
            ax.plot(100 * curve.stated[chosen], 100 * curve.observed[chosen], "o", color=colour, ms=7, label=label)
    counts, edges = np.histogram(probability, bins=20, range=(0.0, 1.0))
    ax.bar(
        100 * edges[:-1],
        18 * counts / max(counts.max(), 1),
        width=5,
        align="edge",
        color=tint(BLUE, 0.3),
        edgecolor="white",
        lw=0.6,
        zorder=0,
        label="stated how often",
    )
    ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="stated probability [%]", ylabel="rows in which it happened [%]")
    ax.set_aspect("equal")
    figure.legend(loc="outside lower left", ncols=3)
    return figure


def _calibration_panels(
    title: str, subtitle: str, num_targets: int, *, height: float, single_width: float
) -> tuple[Figure, Any]:
    """Make one panel per target, at most six."""
    panels = min(num_targets, MAX_PANELS)
    columns = 2 if panels == 4 else min(panels, 3)
    rows = -(-panels // columns)
    width = single_width if columns == 1 else 3.7 * columns
    return new_figure(title, subtitle, rows=rows, columns=columns, size=(width, height * rows + 1.3))


def _named_panels(axes: Any, target_names: Sequence[str]) -> list[tuple[int, Axes]]:
    """Pair panels with targets, add titles if there are several, and hide unused panels."""
    panels = list(enumerate(axes.flat))[: len(target_names)]
    for p, ax in panels:
        if len(target_names) > 1:
            ax.set_title(short_label(target_names[p], 24), loc="left", fontsize=10, fontweight="bold")
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    return panels


def _legend_once(figure: Figure, axes: Any) -> None:
    """Put the first panel's legend below the figure."""
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=3)


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[Array, Array]:
    """Return the steps and values of one key, without entries that are not finite numbers."""
    pairs = [(entry["step"], entry[key]) for entry in history if entry.get(key) is not None]
    pairs = [pair for pair in pairs if math.isfinite(pair[1])]
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _running_median(values: Array) -> Array | None:
    """Smooth a long noisy series; return None if it is short."""
    if values.size < 60:
        return None
    half = values.size // 40
    padded = np.pad(values, half, mode="edge")
    smooth: Array = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return smooth


def _ignore_first_plunge(ax: Axes, values: Array) -> None:
    """Limit the y axis so that a few bad early values do not flatten the rest."""
    if values.size < 10:
        return
    low, high = float(np.quantile(values, 0.05)), float(np.max(values))
    if float(np.min(values)) < low - 2 * (high - low):
        ax.set_ylim(low - 0.15 * (high - low), high + 0.1 * (high - low))
