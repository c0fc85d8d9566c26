"""Pictures of several trainings side by side: the folds of a cross-validation, the trials of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from cde_app.report.canvas import BLUE, GREY, INK, STYLE, VERMILLION, new_figure, short_label, tint

MOST_SETTINGS = 8
"""The largest number of settings that have a panel."""
BASELINE_MARKS = {"climatology": "v", "linear_gaussian": "s", "nearest_neighbours": "P", "sparse_gp": "D"}


@matplotlib.rc_context(STYLE)
def plot_fold_scores(
    scores: Mapping[str, Mapping[str, Sequence[float | None]]], *, nominal: Mapping[str, float]
) -> Figure:
    """Draw each score of every fold, with the mean over the folds and its standard error.

    Args:
        scores: for each score, by the name of its axis, the values of the folds, [K], of the `model` and of baselines;
            None where a score is not finite.
        nominal: the values that some of the scores should have.
    """
    figure, axes = new_figure(
        "The scores of the folds",
        "Each dot is a fold, the line their mean, the band its standard error over folds.",
        columns=len(scores),
        size=(3.4 * len(scores) + 0.6, 4.2),
    )
    for ax, (name, forecasts) in zip(axes.flat, scores.items(), strict=True):
        for forecast, given in forecasts.items():
            values = np.array([np.nan if value is None else value for value in given], dtype=float)
            numbers = np.arange(1, len(values) + 1)
            if forecast == "model":
                mean = float(values.mean())
                error = float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
                if np.isfinite(mean):
                    ax.axhspan(mean - error, mean + error, color=tint(BLUE, 0.25), lw=0)
                    ax.axhline(mean, color=BLUE, lw=1.2)
                ax.plot(numbers, values, "o", color=BLUE, ms=6, label="model")
            else:
                mark = BASELINE_MARKS.get(forecast, "x")
                ax.plot(numbers, values, mark, color=GREY, ms=5, mfc="none", label=forecast)
        if name in nominal:
            ax.axhline(nominal[name], color=INK, lw=1, ls="--")
        ax.set_xticks(numbers if len(numbers) <= 10 else numbers[:: -(-len(numbers) // 10)])
        ax.set(xlabel="fold", xlim=(0.4, len(numbers) + 0.6))
        ax.set_title(name, loc="left", fontsize=10, fontweight="bold", color=INK)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=3)
    return figure


@matplotlib.rc_context(STYLE)
def plot_trials(
    scores: Mapping[int, float], settings: Mapping[str, Mapping[int, object]], *, name: str, log: Mapping[str, bool]
) -> Figure:
    """Draw the score of each trial in the order of the trials, and against each setting.

    Args:
        scores: number of the trial -> score, of those that are complete; lower is better.
        settings: for each setting its value in each of these trials.
        name: of the score.
        log: for each setting whether its axis is logarithmic.
    """
    shown = dict(list(settings.items())[:MOST_SETTINGS])
    columns = min(3, 1 + len(shown))
    rows = -(-(1 + len(shown)) // columns)
    figure, axes = new_figure(
        "The trials of the sweep",
        "Scores of the validation rows: lower is better. The line is the best so far, the ring the best of all.",
        rows=rows,
        columns=columns,
        size=(3.6 * columns + 0.4, 2.9 * rows + 1.0),
    )
    numbers = np.array(sorted(scores))
    values = np.array([scores[number] for number in numbers])
    best = int(np.argmin(values))
    panels = list(axes.flat)
    panels[0].plot(numbers, values, "o", color=BLUE, ms=4)
    panels[0].step(numbers, np.minimum.accumulate(values), where="post", color=VERMILLION, lw=1.5)
    panels[0].set(xlabel="trial", ylabel=name)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    places = [numbers]
    for ax, (setting, tried) in zip(panels[1:], shown.items(), strict=False):
        own = [tried[number] for number in numbers]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in own):
            place = np.array(own, dtype=float)
            if log.get(setting):
                ax.set_xscale("log")
                ax.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
                ax.xaxis.set_major_formatter("{x:g}")
                ax.xaxis.set_minor_formatter(NullFormatter())
            elif all(isinstance(value, int) for value in own):
                ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            words = [", ".join(map(str, v.values())) if isinstance(v, Mapping) else str(v) for v in own]
            known = sorted(set(words))
            place = np.array([known.index(word) for word in words], dtype=float)
            ax.set_xticks(range(len(known)), [short_label(word, 16) for word in known])
            ax.set_xlim(-0.5, len(known) - 0.5)
        ax.plot(place, values, "o", color=BLUE, ms=4)
        ax.set(xlabel=short_label(setting, 34), ylabel=name)
        places.append(place)
    for ax, place in zip(panels, places, strict=False):
        ax.plot(place[best], values[best], "o", ms=10, mfc="none", mec=INK, mew=1.5)
    for ax in panels[len(places) :]:
        ax.set_visible(False)
    return figure
