"""Pictures of an explanation: what each input costs and moves, curves along the inputs, and Shapley shares of rows.

Letters: P targets, d inputs, M rows with shares, Q quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import matplotlib
import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from cde_app.arrays import Array
from cde_app.explanation.curves import Curve
from cde_app.explanation.explain import Explanation
from cde_app.explanation.importance import Importance
from cde_app.report.canvas import BLUE, GREY, INK, STYLE, VERMILLION, new_figure, short_label, tint, with_unit

MOST_INPUTS, MOST_CURVES = 24, 12
"""The largest numbers of inputs in a picture; those that move most come first."""
WORDS = {
    "nlpd": "cost in NLPD\n[nats per row]",
    "crps": "cost in CRPS",
    "mean": "mean",
    "width": "width of the\n90 % interval",
    "entropy": "entropy",
    "log_sd": "log sd",
}


def explanation_figures(explanation: Explanation, units: Mapping[str, str]) -> dict[str, Callable[[], Figure]]:
    """Return the functions that make the figures of an explanation, by name.

    Args:
        explanation: of a model.
        units: target -> its unit, empty if unknown.
    """
    figures: dict[str, Callable[[], Figure]] = {}
    for target, unit in units.items():
        own = [one for one in explanation.importance if one.target == target]
        order = _by_effect(own, [one.name for one in explanation.inputs])
        figures[f"importance_{target}"] = partial(plot_importance, own, order, target=target, unit=unit)
        curves = [curve for curve in explanation.curves if curve.target == target]
        if curves:
            curves.sort(key=lambda curve: order.index(curve.axis.input.name))
            figures[f"curves_{target}"] = partial(plot_curves, curves, target=target, unit=unit)
        if explanation.shares is not None:
            figures[f"shares_{target}"] = partial(plot_shares, explanation, target=target, unit=unit)
    return figures


def _by_effect(importance: Sequence[Importance], names: Sequence[str]) -> list[str]:
    """Return the inputs, those first that move anything most."""
    effect = dict.fromkeys(names, 0.0)
    for one in importance:
        if one.measure == "share" and one.donors == "any" and one.value is not None:
            effect[one.input] = max(effect[one.input], one.value)
    return sorted(names, key=lambda name: -effect[name])


@matplotlib.rc_context(STYLE)
def plot_importance(importance: Sequence[Importance], order: Sequence[str], *, target: str, unit: str) -> Figure:
    """Draw costs and shares of each input, with two standard errors, for donors of both kinds.

    Args:
        importance: of one target.
        order: the inputs from top to bottom; the first `MOST_INPUTS` are drawn.
        target: its name.
        unit: of the target.
    """
    shown = order[:MOST_INPUTS]
    panels = list(dict.fromkeys((one.quantity, one.measure) for one in importance if one.measure != "change"))
    panels.sort(key=lambda panel: panel[1] == "cost")
    figure, axes = new_figure(
        f"What moves the forecast of {target}",
        "How far the forecasts move if an input is taken from another row [share of their variance],\n"
        "and what that costs. Bars: two standard errors.",
        columns=len(panels),
        size=(max(7.4, 1.9 * len(panels) + 1.6), 1.75 + 0.36 * len(shown)),
    )
    places = np.arange(len(shown))[::-1]
    styles = {
        "any": ("o", BLUE, BLUE, 0.13, "from any other row"),
        "alike": ("D", VERMILLION, "white", -0.13, "from a row whose other inputs are alike"),
    }
    for ax, (quantity, measure) in zip(axes.flat, panels, strict=True):
        ax.axvline(0.0, color=GREY, lw=1)
        for donors, (marker, colour, face, shift, label) in styles.items():
            found = {
                one.input: one
                for one in importance
                if (one.quantity, one.measure, one.donors) == (quantity, measure, donors) and one.value is not None
            }
            rows = [(y, found[name]) for y, name in zip(places, shown, strict=True) if name in found]
            if rows:
                ax.errorbar(
                    [one.value for _, one in rows],
                    [y + shift for y, _ in rows],
                    xerr=[2 * (one.se or 0.0) for _, one in rows],
                    fmt=marker,
                    color=colour,
                    mfc=face,
                    ms=5,
                    lw=1.3,
                    label=label,
                )
        words = WORDS.get(quantity, quantity)
        ax.set_title(f"{words} [{unit}]" if quantity == "crps" and unit else words, loc="left", fontsize=9.5)
        ax.set_yticks(places, [short_label(name, 22) for name in shown] if ax is axes.flat[0] else [""] * len(shown))
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=4)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def plot_curves(curves: Sequence[Curve], *, target: str, unit: str) -> Figure:
    """Draw the quantiles of one target along each input: the mean over the rows, and the medians of single rows.

    Args:
        curves: of one target; the first `MOST_CURVES` are drawn.
        target: its name.
        unit: of the target.
    """
    shown = curves[:MOST_CURVES]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = new_figure(
        f"How the forecast of {target} moves along each input",
        "The other inputs are those of some rows: line and band are means of medians and of 90 % intervals.\n"
        "Grey: medians of single rows. Curves cover the middle 98 % of the data, ticks are its quantiles.",
        rows=rows,
        columns=columns,
        size=(max(8.4, 2.7 * columns + 0.4), 2.35 * rows + 1.0),
    )
    ends = np.concatenate([np.concatenate([curve.quantiles.ravel(), curve.rows[1].ravel()]) for curve in shown])
    margin = 0.04 * float(np.ptp(ends)) or 1.0
    for ax, curve in zip(axes.flat, shown, strict=False):
        low, median, high = curve.quantiles
        if curve.axis.is_numeric:
            for part in _parts(curve):
                x = curve.axis.values[part].astype(float)
                ax.fill_between(x, low[part], high[part], color=tint(BLUE, 0.25), lw=0)
                ax.plot(x, curve.rows[1][:, part].T, color=GREY, lw=0.7, alpha=0.7)
                ax.plot(x, median[part], color=BLUE, lw=2, marker="o" if len(x) == 1 else None)
            ax.plot(
                curve.axis.values, np.full(len(median), 0.02), "|", color=INK, ms=6, transform=ax.get_xaxis_transform()
            )
            if curve.axis.is_date:
                locator = AutoDateLocator(minticks=2, maxticks=7)  # type: ignore[no-untyped-call]
                ax.xaxis.set_major_locator(locator)
                ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
            else:
                ax.locator_params(axis="x", nbins=5)
        else:
            places = np.arange(len(median))
            for line in curve.rows[1]:
                ax.plot(places, line, "o", color=GREY, ms=3, alpha=0.6)
            ax.vlines(places, low, high, color=BLUE, lw=2)
            ax.plot(places, median, "o", color=BLUE, ms=6)
            ax.set_xticks(places, [short_label(str(label), 12) for label in curve.axis.values])
            ax.tick_params(axis="x", rotation=30 if len(places) > 3 else 0)
            ax.set_xlim(-0.5, len(places) - 0.5)
        ax.set_ylim(ends.min() - margin, ends.max() + margin)
        ax.set_xlabel(short_label(curve.axis.input.name, 26))
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    figure.supylabel(with_unit(target, unit), fontsize=10)
    return figure


def _parts(curve: Curve) -> list[slice]:
    """Return the stretches of a curve between gaps of the data."""
    starts = [0, *(index + 1 for index in curve.axis.breaks)]
    return [slice(*ends) for ends in zip(starts, [*starts[1:], len(curve.axis.values)], strict=True)]


@matplotlib.rc_context(STYLE)
def plot_shares(explanation: Explanation, *, target: str, unit: str) -> Figure:
    """Draw the Shapley shares of some rows as a table of colours, one panel per quantity.

    Args:
        explanation: with shares.
        target: which target.
        unit: of the target.
    """
    shares = explanation.shares
    if shares is None:
        raise ValueError("expected an explanation with shares")
    chosen = [q for q, (owner, _) in enumerate(explanation.quantities) if owner == target]
    players = np.argsort(-_relative_size(shares.shares, chosen), kind="stable")[:MOST_INPUTS]
    names = [short_label(explanation.players[i].name, 18) for i in players]
    rows = np.argsort(shares.values[:, chosen[0]], kind="stable")
    labels = [f"row {explanation.shared_rows[m] + 1}" for m in rows]
    figure, axes = new_figure(
        f"What each input adds to the forecast of {target} in some rows",
        "Shapley shares: base value and the shares of a row add up to its value. Orange lowers it, violet raises it.",
        columns=len(chosen),
        size=(max(7.6, (0.62 * len(players) + 1.5) * len(chosen) + 1.2), 2.5 + 0.3 * len(rows)),
    )
    for ax, q in zip(axes.flat, chosen, strict=True):
        table = shares.shares[rows][:, players, q]
        largest = float(np.abs(table).max()) or 1.0
        ax.imshow(table, cmap="PuOr", norm=TwoSlopeNorm(0.0, -largest, largest), aspect="auto")
        for (m, i), value in np.ndenumerate(table):
            dark = abs(value) > 0.6 * largest
            ax.text(
                i, m, _written(float(value), 2), ha="center", va="center", fontsize=7, color="white" if dark else INK
            )
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        values = [_written(value, 3) for value in shares.values[rows, q].tolist()]
        if ax is axes.flat[0]:
            values = [f"{label}: {value}" for label, value in zip(labels, values, strict=True)]
        ax.set_yticks(range(len(rows)), values)
        quantity = explanation.quantities[q][1]
        words = WORDS.get(quantity, quantity).replace("\n", " ")
        shown = f"{words} [{unit}]" if quantity == "mean" and unit else words
        ax.set_title(f"{shown}, base {_written(float(shares.base[q]), 3)}", loc="left", fontsize=9.5)
        ax.grid(visible=False)
        ax.tick_params(length=0)
    return figure


def _written(value: float, digits: int) -> str:
    """Write a number with a few digits, a large one without exponent."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def _relative_size(shares: Array, chosen: Sequence[int]) -> Array:
    """Return how large the shares of each player are, [d], relative to the largest of each quantity."""
    sizes = np.abs(shares[:, :, list(chosen)]).mean(axis=0)
    largest = sizes.max(axis=0)
    relative: Array = (sizes / np.where(largest > 0, largest, 1.0)).max(axis=1)
    return relative
