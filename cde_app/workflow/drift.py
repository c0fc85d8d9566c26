"""`cde drift`: do new rows look like those of the training, and do they still follow the forecasts?"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.arrays import Array
from cde_app.data.arrivals import Arrivals, read_arrivals
from cde_app.data.encoding import ColumnContract, encode_columns
from cde_app.data.table import read_table
from cde_app.errors import DataError
from cde_app.evaluation.drift import InputSample, Reference, input_drift, outcome_drift, sizes
from cde_app.evaluation.drift_words import drift_sentences
from cde_app.machine.streams import Stream, generator
from cde_app.runs.run import Run
from cde_app.stored_model import read_contract
from cde_app.trained_model import TrainedModel
from cde_app.words import list_names
from cde_app.workflow.partitions import find_tables
from cde_app.workflow.reference import ARRIVED, drawn_in_order, find_reference, outcome_levels

COMPARED_ROWS = 50_000
"""The largest number of new rows whose columns are compared; more are drawn."""
JUDGED_ROWS = 10_000
"""The largest number of new rows whose outcomes are judged, in their order."""
CLASSIFIED_ROWS = 5000
"""The largest number of new rows that the classifier sees."""


def drift_of(run_path: Path, data_path: Path, *, level: float) -> dict[str, Any]:
    """Compare new rows with those of a run.

    Args:
        run_path: the run directory.
        data_path: the new rows, in the order in which they came, with the inputs; of tables that have the targets,
            outcomes are judged too. A file, a folder with tables, or a glob.
        level: the probability of any accusation if nothing has changed.

    Returns:
        {"num_rows", "num_reference_rows", "left_out", "level", "drift": {"inputs", "outcomes"}, "columns", "joint",
        "outcomes", "depends_on", "sentences", "warnings"}; see `input_drift`, `outcome_drift` and `sizes`. `outcomes`
        is None without targets, `depends_on` the column by which the rows of the run were split, if it is by group or
        time. There are `warnings` only if something is wrong with the new rows.

    Raises:
        DataError: the table breaks the column contract.
        RunError: the run is missing, incomplete, corrupt or from a newer format, or has nothing to compare with.
    """
    run = Run.open(run_path)
    model = TrainedModel.load(run)
    reference, seed = find_reference(run, model), model.settings["seed"]
    paths = [data_path] if str(data_path) == "-" else find_tables(data_path)
    with tempfile.TemporaryDirectory() as folder:
        new = read_arrivals(paths, model.contract, Path(folder))
        rows = drawn_in_order(np.arange(len(new.rows)), COMPARED_ROWS, seed=seed)
        random = generator(seed, Stream.DRIFT_TESTS, len(new.rows))
        values = new.values[rows]
        some = np.sort(random.permutation(len(values))[:CLASSIFIED_ROWS])
        inputs = input_drift(
            samples_of(model, reference, values, new),
            features_of(model.contract, reference.inputs),
            features_of(model.contract, values[some]),
            level=level / 2,
            random=random,
        )
        outcomes = judge_outcomes(model, reference, new, paths, level=level / 2)
        found = {
            "num_rows": len(new.rows),
            "num_reference_rows": len(reference.inputs),
            "left_out": new.left_out,
            "level": level,
            "drift": sizes(inputs, outcomes),
            **inputs,
            "outcomes": outcomes,
            "depends_on": dependence_column(model),
        }
        warnings = [seen_rows_warning(model, new), no_targets_warning(new)]
    found |= {"sentences": drift_sentences(found)}
    return found | ({"warnings": shown} if (shown := [warning for warning in warnings if warning]) else {})


def dependence_column(model: TrainedModel) -> str | None:
    """Return the column in which rows that share a value, or are close, depend on each other; None if none is known."""
    split = model.settings["data"]["split"]
    return str(split["column"]) if split["kind"] in ("group", "time") else None


def seen_rows_warning(model: TrainedModel, new: Arrivals) -> str | None:
    """Warn how many of the new rows the training has seen; None if there are none, or by chance."""
    num_seen = model.seen.count(new.fingerprints())
    if not num_seen:
        return None
    return (
        f"{num_seen} of these {len(new.rows)} rows were trained on: they are not new, and cannot show what has changed "
        "since. Name a table of other rows."
    )


def no_targets_warning(new: Arrivals) -> str | None:
    """Warn that some of the tables lack a target; None if all have them, or none has."""
    if new.targets is None or not new.without_targets:
        return None
    return (
        f"the outcomes are those of the tables that have all targets; {list_names(new.without_targets)} "
        f"{'lacks' if len(new.without_targets) == 1 else 'lack'} a target."
    )


def samples_of(model: TrainedModel, reference: Reference, values: Array, new: Arrivals) -> list[InputSample]:
    """Put each input column of the reference rows and of the new rows, [N, I], side by side.

    A new label has its own index as far as it was counted; the cells do not say which, and the tests only count.
    """
    samples = []
    for index, column in enumerate(model.contract.inputs):
        cells, known = np.array(values[:, index]), len(column.vocabulary)
        unseen = new.new_labels.get(column.name, Counter())
        is_new = np.flatnonzero((cells < 0) & (column.kind == "categorical"))
        if len(is_new):
            shares = np.repeat(np.arange(len(unseen)), list(unseen.values()))
            cells[is_new] = known + shares[np.linspace(0, len(shares) - 1, len(is_new)).round().astype(int)]
        samples.append(
            InputSample(
                column.name,
                column.kind,
                reference.inputs[:, index],
                cells,
                column.minimum,
                column.maximum,
                len(model.split.train),
                period=column.period,
                labels=(*column.vocabulary, *unseen),
                num_known=known,
            )
        )
    return samples


def features_of(contract: ColumnContract, values: Array) -> Array:
    """Encode input columns, [N, I], without the features of dates; [N, D]."""
    kinds = [column.kind for column in contract.inputs for _ in column.features]
    return encode_columns(contract, values)[:, [kind != "datetime" for kind in kinds]]


def judge_outcomes(
    model: TrainedModel, reference: Reference, new: Arrivals, paths: Sequence[Path], *, level: float
) -> dict[str, Any] | None:
    """Judge whether the outcomes follow the forecasts; None without targets.

    Rows are left out that have an empty target, or an empty input although the run imputes none.
    """
    if new.targets is None:
        return None
    usable = ~np.isnan(new.targets).any(axis=1)
    if model.contract.missing != "impute_with_indicator":
        usable &= ~np.isnan(new.values).any(axis=1)
    rows = drawn_in_order(np.flatnonzero(usable), JUDGED_ROWS, seed=model.settings["seed"])
    if not len(rows):
        return None
    X = encode_columns(model.contract, new.values[rows])
    levels, log_density = outcome_levels(model, X, new.targets[rows], part=ARRIVED)
    found = outcome_drift(
        reference, levels, log_density, model.contract.targets, level=level, seed=model.settings["seed"]
    )
    times = times_of(model, paths)
    for game in (*found["targets"].values(), found["density"]):
        if (position := game.pop("position")) is None:
            game |= {"row": None, "when": None}
        else:
            row = int(new.rows[rows[position]])
            game |= {"row": row + 1, "when": None if times is None else str(times[row])}
    return found


def times_of(model: TrainedModel, paths: Sequence[Path]) -> list[Any] | None:
    """Return the cells of the column by which the run's rows are split in time; None if there is none to be read."""
    split = model.settings["data"]["split"]
    if split["kind"] != "time" or str(paths[0]) == "-":
        return None
    name, form = split["column"], model.contract.form
    try:
        return [cell for path in paths for cell in read_table(path, columns=[name], form=form)[name]]
    except DataError:  # the column is not needed to predict
        return None


def blank_drift(run_path: Path) -> dict[str, Any]:
    """Return the form of what `drift_of` returns, with meaningless numbers, to check names before anything is read.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    contract = read_contract(Run.open(run_path))
    test = {"distance": 0.0, "p_value": 1.0}
    game = {"distance": 0.0, "evidence": 0.0}
    outside = {"share": 0.0}
    return {
        "num_rows": 0,
        "drift": {"inputs": 0.0, "outcomes": 0.0},
        "columns": {
            column.name: dict.fromkeys(_aspects(column.kind), test) | {"outside": outside} for column in contract.inputs
        },
        "joint": test,
        "outcomes": {
            "targets": dict.fromkeys(contract.targets, game),
            "density": game,
            "log_score": {"change": {"value": 0.0}},
        },
    }


def _aspects(kind: str) -> tuple[str, ...]:
    return (
        ("values", "above", "below", "gaps") if kind == "numeric" else () if kind == "datetime" else ("values", "gaps")
    )
