"""The pictures of a run, of the table it is judged by, and of predictions. Matplotlib is imported when needed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.data.encoding import encode_inputs
from cde_app.data.prepared import PreparedTable, known_targets
from cde_app.errors import RunError
from cde_app.evaluation.scores import Rows
from cde_app.machine.storage import file_names, write_atomically
from cde_app.runs.folder import arriving
from cde_app.trained_model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd

    from cde_app.explanation.explain import Explanation
    from cde_app.report.gallery import Pictures, Scene

ImageFormat = Literal["png", "svg"]
PICTURED_ROWS, LATENT_ROWS, FEWEST_WITNESSES = 2000, 500, 100


def prediction_pictures(model: TrainedModel, frame: pd.DataFrame, *, source: str) -> Pictures:
    """Return the pictures of the densities of some rows: file name -> function that draws it."""
    from cde_app.report.gallery import density_pictures

    contract = model.contract
    X, targets = encode_inputs(contract, frame, source=source), known_targets(contract, frame, source)
    if targets is not None and np.isnan(targets).all():
        targets = None
    scene = _scene(model, X, targets, frame.index.to_numpy() + 1)
    return _picture_files(density_pictures(scene, "png"), "png")


def run_pictures(
    history: Sequence[dict[str, Any]],
    model: TrainedModel,
    table: PreparedTable,
    rows: Rows | None,
    image_format: ImageFormat,
) -> Pictures:
    """Return all pictures of a run and the table it is judged by: file name -> function that draws it."""
    from cde_app.report.gallery import calibration_pictures, density_pictures, latent_pictures, training_pictures

    shown = (table.split.test if len(table.split.test) else table.split.train)[:PICTURED_ROWS]
    scene = _scene(model, table.inputs[shown], table.targets[shown], table.rows[shown] + 1)
    feature = next(feature for column in model.contract.inputs for feature in column.features)

    def first_input(X: Array) -> Array:
        return np.asarray(feature.centre + feature.scale * X[:, 0])

    scene = replace(scene, cloud=(first_input(table.inputs[:PICTURED_ROWS]), table.targets[:PICTURED_ROWS]))
    pictures = density_pictures(scene, image_format)
    if rows is not None:
        pictures |= calibration_pictures(rows["pit"], model.contract.targets, image_format, rows["density_rank"])
    # A training row is its own nearest neighbour: held-out rows are more informative if there are enough.
    witnesses = table.split.test if len(table.split.test) >= FEWEST_WITNESSES else np.arange(len(table.inputs))
    some = witnesses[np.linspace(0, len(witnesses) - 1, min(LATENT_ROWS, len(witnesses))).astype(int)]
    X = table.inputs[some]
    latents = model.predictor.latents(X, table.targets[some])
    for latent in latents:
        pictures |= latent_pictures(
            first_input(X),
            latent.mean,
            latent.sd,
            latent.prior_band,
            input_name=feature.name,
            owner=model.contract.targets[latent.target_indices[0]] if len(latents) > 1 else "",
            image_format=image_format,
        )
    return _picture_files(pictures | training_pictures(history, image_format), image_format)


def event_pictures(names: Sequence[str], rows: Rows) -> Pictures:
    """Return a reliability picture of each event: file name -> function that draws it."""
    from cde_app.evaluation.events import event_key
    from cde_app.report.gallery import reliability_pictures

    stated = {name: (rows[event_key(name, "probability")], rows[event_key(name, "happened")]) for name in names}
    return _picture_files(reliability_pictures(stated, "png"), "png")


def rival_pictures(rows: Rows, target_names: Sequence[str]) -> Pictures:
    """Return the calibration pictures of another forecaster: file name -> function that draws it."""
    from cde_app.report.gallery import calibration_pictures

    return _picture_files(calibration_pictures(rows["pit"], target_names, "png", rows.get("density_rank")), "png")


def fold_pictures(result: Mapping[str, Any], pit: Array, target_names: Sequence[str]) -> Pictures:
    """Return the pictures of a cross-validation: file name -> function that draws it.

    Args:
        result: what `cv.json` has.
        pit: [N, P], PIT values of all rows, each by the model that has not seen it.
        target_names: [P].
    """
    from cde_app.report.gallery import calibration_pictures, study_pictures
    from cde_app.report.studies import plot_fold_scores

    score = "crps" if len(target_names) == 1 else "energy_score"
    shown = {
        name: {forecast: own[name]["folds"] for forecast, own in {"model": result, **result["baselines"]}.items()}
        for name in ("nlpd", score)
    }
    shown["coverage 0.9"] = {"model": result["coverage"]["0.9"]["folds"]}
    pictures = study_pictures({"scores": partial(plot_fold_scores, shown, nominal={"coverage 0.9": 0.9})}, "png")
    return _picture_files(pictures | calibration_pictures(pit, target_names, "png"), "png")


def sweep_pictures(result: Mapping[str, Any], log: Mapping[str, bool]) -> Pictures:
    """Return the picture of a sweep: file name -> function that draws it.

    Args:
        result: what `sweep.json` has.
        log: for each setting whether its range is logarithmic.
    """
    from cde_app.report.gallery import study_pictures
    from cde_app.report.studies import plot_trials

    complete = [trial for trial in result["trials"] if trial["state"] == "complete"]
    scores = {trial["trial"]: trial["score"]["value"] for trial in complete}
    settings = {name: {trial["trial"]: trial["settings"][name] for trial in complete} for name in log}
    draw = partial(plot_trials, scores, settings, name=result["metric"], log=log)
    return _picture_files(study_pictures({"trials": draw}, "png"), "png")


def explanation_pictures(explanation: Explanation, units: Mapping[str, str]) -> Pictures:
    """Return the pictures of an explanation: file name -> function that draws it.

    Args:
        explanation: of a model.
        units: target -> its unit, empty if unknown.
    """
    from cde_app.report.explanation import explanation_figures
    from cde_app.report.gallery import study_pictures

    return _picture_files(study_pictures(explanation_figures(explanation, units), "png"), "png")


def write_pictures(
    pictures: Callable[[], Pictures], write: Callable[[str, bytes], Path]
) -> tuple[list[Path], dict[str, Exception]]:
    """Draw and write the pictures of completed work; failures are returned, so that they cannot destroy that work.

    Args:
        pictures: returns the pictures.
        write: writes a file, given its name and content.

    Returns:
        The files; and the exceptions, by what is missing.
    """
    files, failures = list[Path](), dict[str, Exception]()
    try:
        found = pictures()
    except Exception as error:
        return files, {"the pictures": error}
    for name, draw in found.items():
        try:
            files.append(write(name, draw()))
        except Exception as error:
            failures[f"the picture {name}"] = error
    return files, failures


def draw_into(folder: Path, pictures: Callable[[], Pictures]) -> tuple[list[Path], list[str]]:
    """Draw pictures into a folder, where they appear together; return them, and a warning for each that is missing.

    Raises:
        RunError: the folder cannot be written, or another process is writing it.
    """
    with arriving(folder) as waiting:
        files, failures = write_pictures(pictures, lambda name, content: write_atomically(waiting / name, content))
        if unwritten := [error for error in failures.values() if isinstance(error, RunError)]:
            raise unwritten[0]
    return [folder / file.name for file in files], [missing_picture(*failure) for failure in failures.items()]


def missing_picture(what: str, error: Exception) -> str:
    """Write a warning about what is missing."""
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
    return f"{what} could not be drawn, everything else is complete; got {reason}"


def _picture_files(pictures: Pictures, image_format: ImageFormat) -> Pictures:
    """Turn the pictures' names, which contain names of targets, into file names."""
    names = file_names(pictures)
    return {f"{name}.{image_format}": draw for name, draw in zip(names, pictures.values(), strict=True)}


def _scene(model: TrainedModel, X: Array, targets: Array | None, row_numbers: IndexArray) -> Scene:
    """Collect what the density pictures need about some rows."""
    from cde_app.report.gallery import InputAxis, Scene

    contract, axis = model.contract, None
    features = [feature for column in contract.inputs for feature in column.features]
    if len(features) == 1 and contract.inputs[0].kind == "numeric":
        axis = InputAxis(contract.inputs[0].name, features[0].centre, features[0].scale)
    return Scene(
        predict=model.predictor.predict,
        X=X,
        targets=targets,
        row_numbers=row_numbers,
        target_names=contract.targets,
        units=contract.units,
        axis=axis,
    )
