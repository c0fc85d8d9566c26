"""What a run keeps of its table to compare new rows with, and where it is from if the run has kept nothing."""

from __future__ import annotations

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.data.encoding import are_of_training
from cde_app.data.prepared import PreparedTable
from cde_app.errors import RunError
from cde_app.evaluation.drift import Reference, levels_of
from cde_app.machine.rows import blocks_of, draw_rows
from cde_app.machine.streams import Stream, generator
from cde_app.runs.run import Run
from cde_app.trained_model import LARGEST_NUMBER, TrainedModel
from cde_app.trees import from_tree
from cde_app.workflow.scoring import own_table

REFERENCE_ROWS = 1000
"""Rows that are drawn from the run's table if the run has kept none."""
HELD_OUT, ARRIVED = 0, 1
"""Which rows random numbers are for."""
_BLOCK_ROWS = 256


def reference_of(model: TrainedModel, table: PreparedTable) -> Reference:
    """Draw training rows, and score as many held-out rows.

    Args:
        model: the trained model.
        table: its table with its split.
    """
    wanted = model.settings["data"].get("reference_rows") or REFERENCE_ROWS
    seed, (train, test) = model.settings["seed"], (table.split.train, table.split.test)
    old = train[draw_rows(len(train), wanted, seed=seed, stream=Stream.REFERENCE_ROWS)]
    held_out = test[draw_rows(len(test), wanted, seed=seed, stream=Stream.SCORED_ROWS)]
    levels, log_density = outcome_levels(model, table.inputs[held_out], table.targets[held_out], part=HELD_OUT)
    return Reference(np.array(table.values[old]), levels, log_density)


def find_reference(run: Run, model: TrainedModel) -> Reference:
    """Return what the run has kept; if it has kept nothing, draw it from the run's table.

    Raises:
        DataError: the table breaks the column contract.
        RunError: the run has kept nothing, and its table is gone or has changed.
    """
    if run.has("reference.npz"):
        return read_reference(run, model)
    try:
        with own_table(run, model, otherwise="Put it back, or train again") as table:
            return reference_of(model, table)
    except RunError as error:
        cause = " ".join(error.faults)
        raise RunError(
            f"{run.path}: expected reference rows to compare new rows with, or the table to draw them from; got a run "
            f"without any (data.reference_rows is 0, or an earlier cde trained it). {cause}"
        ) from None


def read_reference(run: Run, model: TrainedModel) -> Reference:
    """Return what the run has kept.

    Raises:
        RunError: it has another form.
    """
    try:
        kept = from_tree(Reference, run.read_arrays("reference.npz"), strict=True)
        is_sound = kept.levels.shape == (len(kept.log_density), len(model.scales) + 1)
        is_sound = is_sound and bool(((kept.levels >= 0) & (kept.levels <= 1)).all())
        is_sound = (
            is_sound
            and bool((kept.log_density <= LARGEST_NUMBER).all())
            and are_of_training(model.contract, kept.inputs)
        )
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise RunError(f"{run.file('reference.npz')}: expected rows of the training; got others. Train the run again.")
    return kept


def outcome_levels(model: TrainedModel, X: Array, targets: Array, *, part: int) -> tuple[Array, Array]:
    """Return where outcomes lie in their forecasts, [N, P + 1], and their log densities, [N].

    Args:
        model: makes the forecasts.
        X: [N, D], standardised features.
        targets: [N, P], user's units.
        part: `HELD_OUT` or `ARRIVED`; their draws are independent.
    """
    levels, log_density = np.empty((len(X), targets.shape[1] + 1)), np.empty(len(X))
    for index, block in enumerate(blocks_of(len(X), _BLOCK_ROWS)):
        forecast = model.predictor.predict(X[block])
        seed = int(generator(model.settings["seed"], Stream.OUTCOME_RANKS, part, index).integers(2**31))
        levels[block] = levels_of(forecast, targets[block], seed=seed)
        log_density[block] = forecast.log_prob(targets[block])
    return levels, log_density


def drawn_in_order(rows: IndexArray, most: int, *, seed: int) -> IndexArray:
    """Return some of the rows, in their order; all of them if there are no more than `most`."""
    return rows[draw_rows(len(rows), most, seed=seed, stream=Stream.ARRIVED_ROWS)]
