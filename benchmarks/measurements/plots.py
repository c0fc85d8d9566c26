"""Draw the curves: a picture per figure, a panel per size."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cde_app.report.canvas import BLUE, GREY, new_figure, save_figure

TITLES = {
    "step_time": "Time of a training step",
    "training_time": "Time of a whole training",
    "prediction_time": "Time of a prediction",
}
PANEL = (3.4, 3.1)
"""Width and height of a panel [inches]."""


def draw(lines: list[dict[str, Any]], folder: Path) -> None:
    """Write <figure>.png for every figure that has curves; both axes logarithmic, but for a size that can be zero."""
    figures: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["kind"] == "curve":
            figures[line["figure"]].append(line)
    for name, curves in figures.items():
        columns = min(2, len(curves))
        rows = -(-len(curves) // columns)
        width, height = max(6.0, PANEL[0] * columns), PANEL[1] * rows + 0.7
        subtitle = "One size changes at a time; dashed: the fitted power of the size."
        figure, axes = new_figure(TITLES[name], subtitle, size=(width, height), rows=rows, columns=columns)
        for place, axis in enumerate(axes.flat):
            if place < len(curves):
                draw_curve(axis, curves[place])
            else:
                axis.set_visible(False)
        save_figure(figure, folder / f"{name}.png")


def draw_curve(axis: Any, curve: dict[str, Any]) -> None:
    """Draw one curve, and the slope over the upper half of its sizes."""
    sizes, values = np.array(curve["sizes"], float), np.array(curve["values"])
    axis.plot(sizes, values, "o-", color=BLUE, markersize=4)
    axis.set(xlabel=curve["size"], ylabel=curve["measured"])
    axis.set_yscale("log")
    axis.set_ylim(values.min() / 1.6, values.max() * 1.6)
    if curve["slope"] is not None:
        axis.set_xscale("log")
        upper = sizes[-(len(sizes) // 2 + 1) :]
        logs = np.log(values[-len(upper) :])
        fitted = np.exp(logs.mean() + curve["slope"] * (np.log(upper) - np.log(upper).mean()))
        axis.plot(upper, fitted, "--", color=GREY, linewidth=1)
        axis.annotate(f"slope {curve['slope']:.2f}", (0.04, 0.92), xycoords="axes fraction", color=GREY)
    axis.xaxis.set_major_locator(FixedLocator(sizes))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda size, _: short(size)))
    axis.yaxis.set_major_locator(FixedLocator(ticks(values)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def ticks(values: np.ndarray) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from just below the values to just above."""
    low, high = values.min() / 1.6, values.max() * 1.6
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 10) if high / low > 100 else (1, 2, 5)
    return sorted({digit * 10.0**power for power in powers for digit in steps if low <= digit * 10.0**power <= high})


def short(size: float) -> str:
    """Write a size, round thousands with k."""
    return f"{size / 1000:g}k" if size >= 1000 and size % 500 == 0 else f"{size:g}"
