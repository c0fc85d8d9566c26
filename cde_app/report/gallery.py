"""Which pictures a run or a table of predictions gets, depending on its numbers of inputs and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cde_app.arrays import Array, IndexArray, IntArray
from cde_app.predictive.forecast import Forecast
from cde_app.report.canvas import figure_bytes
from cde_app.report.densities import MOST_RIDGES, plot_density_heatmap, plot_joint_rows, plot_ridges, spread_rows
from cde_app.report.diagnostics import plot_coverage, plot_ecdf, plot_history, plot_latent, plot_pit, plot_reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Pictures = dict[str, Callable[[], bytes]]
"""Function that draws each picture, by name; a failure of one does not affect the others."""
JOINT_ROWS, GRID_SIZE = 6, 300


@dataclass(frozen=True)
class InputAxis:
    """The numeric input of a model that has no other input: the axis of the heat map."""

    name: str
    centre: float
    scale: float


@dataclass(frozen=True)
class Scene:
    """Rows to draw, and how to forecast them."""

    predict: Callable[[Array], Forecast]
    X: Array
    """[N, D], standardised."""
    targets: Array | None
    """[N, P], user's units."""
    row_numbers: IntArray
    """[N], counted from 1."""
    target_names: Sequence[str]
    units: Sequence[str]
    axis: InputAxis | None
    cloud: tuple[Array, Array] | None = None
    """Inputs [n] and targets [n, P] that the heat map shows as dots; None for the rows themselves."""


def density_pictures(scene: Scene, image_format: Literal["png", "svg"]) -> Pictures:
    """Return the heat map (one numeric input), the ridges of each target, and the joint density (several targets)."""
    figures: dict[str, Callable[[], Figure]] = {}
    several = len(scene.target_names) > 1
    means = cache(lambda: scene.predict(scene.X).mean())
    along = cache(lambda axis: _along(scene, axis))

    def heatmap(axis: InputAxis, p: int, labels: dict[str, Any]) -> Figure:
        (inputs, observed), (grid, forecast) = _cloud(scene, axis), along(axis)
        dots = (inputs[: len(observed)], observed[:, p])
        return plot_density_heatmap(forecast, grid, *dots, input_name=axis.name, **labels)

    def ridges(p: int, labels: dict[str, Any]) -> Figure:
        chosen = spread_rows(means()[:, p], MOST_RIDGES)
        observed = None if scene.targets is None else scene.targets[chosen, p]
        return plot_ridges(scene.predict(scene.X[chosen]), observed, labels=_row_labels(scene, chosen), **labels)

    def joint() -> Figure:
        chosen = spread_rows(means()[:, 0], JOINT_ROWS)
        return plot_joint_rows(
            scene.predict(scene.X[chosen]),
            None if scene.targets is None else scene.targets[chosen],
            labels=_row_labels(scene, chosen),
            target_names=scene.target_names,
            target_units=scene.units,
        )

    for p, (name, unit) in enumerate(zip(scene.target_names, scene.units, strict=True)):
        suffix = f"_{name}" if several else ""
        labels: dict[str, Any] = {"target_name": name, "target_unit": unit, "target": p}
        if scene.axis is not None:
            figures[f"heatmap{suffix}"] = partial(heatmap, scene.axis, p, labels)
        figures[f"ridges{suffix}"] = partial(ridges, p, labels)
    if several:
        figures["joint"] = joint
    return _drawn(figures, image_format)


def latent_pictures(
    inputs: Array,
    mean: Array,
    sd: Array,
    prior_band: Array,
    *,
    input_name: str,
    owner: str,
    image_format: Literal["png", "svg"],
) -> Pictures:
    """Return a picture of each latent variable against an input.

    Args:
        inputs: [R].
        mean: [R, Dw], mean of p(w | x, y).
        sd: [R, Dw], its standard deviation.
        prior_band: [2, Dw], edges of the prior's central 68 %.
        input_name: label of the axis.
        owner: the target to which the latent variables belong; empty if they belong to all.
        image_format: png or svg.
    """
    figures = {}
    of_owner, suffix = (f" of {owner}", f"_{owner}") if owner else ("", "")
    for j in range(mean.shape[1]):
        number = f" {j + 1}" if mean.shape[1] > 1 else ""
        figures[f"latent{number.replace(' ', '_')}{suffix}"] = partial(
            plot_latent,
            inputs,
            mean[:, j],
            sd[:, j],
            prior_band[:, j],
            input_name=input_name,
            latent_name=f"latent variable w{number}{of_owner}",
        )
    return _drawn(figures, image_format)


def training_pictures(history: Sequence[Mapping[str, Any]], image_format: Literal["png", "svg"]) -> Pictures:
    """Return the picture of the training history."""
    return _drawn({"history": partial(plot_history, history)}, image_format)


def calibration_pictures(
    pit: Array,
    target_names: Sequence[str],
    image_format: Literal["png", "svg"],
    density_rank: Array | None = None,
) -> Pictures:
    """Return the PIT histogram, its distribution function less the diagonal, and the coverage curve.

    Args:
        pit: [N, P].
        target_names: [P].
        image_format: png or svg.
        density_rank: [N], drawn beside the PIT values if there are several targets, whose dependence it judges too.
    """
    values, names = pit, list(target_names)
    if density_rank is not None and len(names) > 1:
        # In front, because only the first six are drawn.
        values, names = np.column_stack([density_rank, pit]), ["all targets jointly", *names]
    figures = {
        "pit": partial(plot_pit, values, target_names=names),
        "ecdf": partial(plot_ecdf, values, names=names),
        "coverage": partial(plot_coverage, pit, target_names=target_names),
    }
    return _drawn(figures, image_format)


def reliability_pictures(events: Mapping[str, tuple[Array, Array]], image_format: Literal["png", "svg"]) -> Pictures:
    """Return the reliability of each event's probabilities; name -> probability and happened, [N] each."""
    figures = {f"reliability_{name}": partial(plot_reliability, *rows, name=name) for name, rows in events.items()}
    return _drawn(figures, image_format)


def study_pictures(figures: Mapping[str, Callable[[], Figure]], image_format: Literal["png", "svg"]) -> Pictures:
    """Return pictures of several trainings side by side, given the functions that make their figures."""
    return _drawn(figures, image_format)


def _drawn(figures: Mapping[str, Callable[[], Figure]], image_format: Literal["png", "svg"]) -> Pictures:
    """Turn functions that make figures into functions that render them."""

    def render(make: Callable[[], Figure]) -> bytes:
        return figure_bytes(make(), image_format)

    return {name: partial(render, make) for name, make in figures.items()}


def _along(scene: Scene, axis: InputAxis) -> tuple[Array, Forecast]:
    """Return a grid over the axis, in the user's units, and the forecasts along it."""
    inputs, _ = _cloud(scene, axis)
    low, high = inputs.min(), inputs.max()
    if low == high:
        low, high = low - axis.scale, high + axis.scale
    grid = np.linspace(low, high, GRID_SIZE)
    return grid, scene.predict((grid - axis.centre)[:, None] / axis.scale)


def _cloud(scene: Scene, axis: InputAxis) -> tuple[Array, Array]:
    """Return the inputs that span the heat map, and the targets of the first of them (possibly none)."""
    if scene.cloud is not None:
        return scene.cloud
    inputs = axis.centre + axis.scale * scene.X[:, 0]
    return inputs, np.empty((0, len(scene.units))) if scene.targets is None else scene.targets


def _row_labels(scene: Scene, chosen: IndexArray) -> list[str]:
    if scene.axis is None:
        return [f"row {number}" for number in scene.row_numbers[chosen]]
    values = scene.axis.centre + scene.axis.scale * scene.X[chosen, 0]
    return [f"{scene.axis.name} {value:.4g}" for value in values]
