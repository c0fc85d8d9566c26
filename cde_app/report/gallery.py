"""Which pictures a run or a table of predictions gets, by the shape of its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cde_app.predictive.forecast import Forecast
from cde_app.report.canvas import figure_bytes
from cde_app.report.densities import plot_density_heatmap, plot_joint_rows, plot_ridges, spread_rows
from cde_app.report.diagnostics import plot_coverage, plot_history, plot_latent, plot_pit

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Pictures = dict[str, bytes]
RIDGE_ROWS, JOINT_ROWS, GRID_SIZE = 12, 6, 300


@dataclass(frozen=True)
class InputAxis:
    """The one numeric input of a model, when it has no other: the axis of the heat map."""

    name: str
    centre: float
    scale: float


@dataclass(frozen=True)
class Scene:
    """Rows to be pictured, and how to forecast them."""

    predict: Callable[[Array], Forecast]
    X: Array
    """[N, D], standardised."""
    targets: Array | None
    """[N, P], user's units."""
    row_numbers: NDArray[np.int64]
    """[N], counted from 1."""
    target_names: Sequence[str]
    units: Sequence[str]
    axis: InputAxis | None
    cloud: tuple[Array, Array] | None = None
    """Inputs [n] and targets [n, P] that the heat map shows as dots; None: the rows themselves."""


def density_pictures(scene: Scene, image_format: Literal["png", "svg"]) -> Pictures:
    """Return the heat map (one numeric input), the ridges of each target, and the joint density (several targets)."""
    figures: dict[str, Figure] = {}
    several, means = len(scene.target_names) > 1, scene.predict(scene.X).mean()
    if scene.axis is not None:
        inputs, observed = _cloud(scene, scene.axis)
        grid = np.linspace(inputs.min(), inputs.max(), GRID_SIZE)
        along = scene.predict((grid - scene.axis.centre)[:, None] / scene.axis.scale)
    for p, (name, unit) in enumerate(zip(scene.target_names, scene.units, strict=True)):
        suffix = f"_{name}" if several else ""
        labels: dict[str, Any] = {"target_name": name, "target_unit": unit, "target": p}
        if scene.axis is not None:
            dots = (inputs[: len(observed)], observed[:, p])
            figures[f"heatmap{suffix}"] = plot_density_heatmap(along, grid, *dots, input_name=scene.axis.name, **labels)
        chosen = spread_rows(means[:, p], RIDGE_ROWS)
        figures[f"ridges{suffix}"] = plot_ridges(
            scene.predict(scene.X[chosen]),
            None if scene.targets is None else scene.targets[chosen, p],
            labels=_row_labels(scene, chosen),
            **labels,
        )
    if several:
        chosen = spread_rows(means[:, 0], JOINT_ROWS)
        figures["joint"] = plot_joint_rows(
            scene.predict(scene.X[chosen]),
            None if scene.targets is None else scene.targets[chosen],
            labels=_row_labels(scene, chosen),
            target_names=scene.target_names,
            target_units=scene.units,
        )
    return {name: figure_bytes(figure, image_format) for name, figure in figures.items()}


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
        prior_band: [2, Dw], the edges of the prior's central 68 %.
        input_name: label of the axis.
        owner: the target whose latent variables they are; empty if they belong to all.
        image_format: png or svg.
    """
    pictures = {}
    of_owner, suffix = (f" of {owner}", f"_{owner}") if owner else ("", "")
    for j in range(mean.shape[1]):
        number = f" {j + 1}" if mean.shape[1] > 1 else ""
        figure = plot_latent(
            inputs,
            mean[:, j],
            sd[:, j],
            prior_band[:, j],
            input_name=input_name,
            latent_name=f"latent variable w{number}{of_owner}",
        )
        pictures[f"latent{number.replace(' ', '_')}{suffix}"] = figure_bytes(figure, image_format)
    return pictures


def training_pictures(history: Sequence[Mapping[str, Any]], image_format: Literal["png", "svg"]) -> Pictures:
    """Return the training history."""
    return {"history": figure_bytes(plot_history(history), image_format)}


def calibration_pictures(pit: Array, target_names: Sequence[str], image_format: Literal["png", "svg"]) -> Pictures:
    """Return the PIT histogram and the coverage curve; pit [N, P]."""
    figures = {
        "pit": plot_pit(pit, target_names=target_names),
        "coverage": plot_coverage(pit, target_names=target_names),
    }
    return {name: figure_bytes(figure, image_format) for name, figure in figures.items()}


def _cloud(scene: Scene, axis: InputAxis) -> tuple[Array, Array]:
    """Return the inputs that span the heat map and the targets, possibly none, that go with the first of them."""
    if scene.cloud is not None:
        return scene.cloud
    inputs = axis.centre + axis.scale * scene.X[:, 0]
    return inputs, np.empty((0, len(scene.units))) if scene.targets is None else scene.targets


def _row_labels(scene: Scene, chosen: NDArray[np.intp]) -> list[str]:
    if scene.axis is None:
        return [f"row {number}" for number in scene.row_numbers[chosen]]
    values = scene.axis.centre + scene.axis.scale * scene.X[chosen, 0]
    return [f"{scene.axis.name} {value:.4g}" for value in values]
