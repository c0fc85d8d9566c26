"""What all pictures share: the style, the title block, and reproducible files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cde_app.arrays import IndexArray
from cde_app.machine.storage import write_atomically

# Okabe and Ito (2008), "Color universal design": colours that colour-blind readers can distinguish.
BLUE, VERMILLION = "#0072B2", "#D55E00"
INK, GREY = "#222222", "#8C8C8C"
DOTS_PER_INCH = 150
STYLE: Any = {
    "font.size": 10,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "text.parse_math": False,  # a column name may hold dollar signs
    "svg.hashsalt": "cde",
    "svg.fonttype": "path",
}


class Picture(Figure):
    """A figure that notebooks show; without pyplot's global state nothing else would tell them how."""

    def _repr_png_(self) -> bytes:
        return figure_bytes(self, "png")


def new_figure(
    title: str,
    subtitle: str,
    *,
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    share: Literal["none", "all"] = "none",
) -> tuple[Figure, Any]:
    """Make a figure with a title block at the top left and a grid of axes, without pyplot's global state.

    Args:
        title: what the picture shows, in a few words.
        subtitle: how to read the picture.
        size: width and height [inches].
        rows: panels from top to bottom.
        columns: panels from left to right.
        share: `all` gives the panels common axes.

    Returns:
        The figure and its axes [rows, columns].
    """
    width, height = size
    with matplotlib.rc_context(STYLE):
        figure = Picture(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
        title_height = 0.62 + 0.17 * subtitle.count("\n")
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.set(w_pad=0.1, h_pad=0.06, rect=(0, 0, 1, 1 - title_height / height))  # type: ignore[call-arg]
        figure.text(0.12 / width, 1 - 0.12 / height, title, va="top", fontsize=13, fontweight="bold")
        figure.text(0.12 / width, 1 - 0.38 / height, subtitle, va="top", fontsize=9.5, color="#555555", linespacing=1.3)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    return figure, axes


def figure_bytes(figure: Figure, image_format: Literal["png", "svg"]) -> bytes:
    """Render a figure; the same figure gives the same bytes (no dates, no random identifiers)."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if image_format == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a column name whose script the font lacks
        if figure.get_layout_engine() is not None:
            # Each layout depends on the previous one: compute it once, so that every rendering uses the same.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(buffer, format=image_format, dpi=DOTS_PER_INCH, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG, depending on the path's suffix; the file is complete or absent.

    Raises:
        ValueError: the suffix is neither .png nor .svg.
    """
    path = Path(path)
    image_format = path.suffix.lower().removeprefix(".")
    if image_format not in ("png", "svg"):
        raise ValueError(f"expected a path ending in .png or .svg; got {path.name!r}")
    write_atomically(path, figure_bytes(figure, "svg" if image_format == "svg" else "png"))


def thin(count: int, most: int) -> IndexArray:
    """Choose at most `most` of `count` indices, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp)) if count else np.empty(0, np.intp)


def tint(colour: str, strength: float) -> tuple[float, float, float]:
    """Mix a colour with white; strength 1 is the pure colour."""
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(colour))
    return red, green, blue


def with_unit(name: str, unit: str) -> str:
    """Write `name [unit]`."""
    return f"{short_label(name, 40)} [{unit}]" if unit else short_label(name, 40)


def short_label(text: str, length: int) -> str:
    """Truncate a long label."""
    return text if len(text) <= length else text[: length - 1] + "…"
