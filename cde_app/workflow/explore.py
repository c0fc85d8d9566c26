"""`cde explore`: the report of a run, served to the browser of this machine, exact at any x."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.arrays import Array
from cde_app.data.encoding import encode_columns
from cde_app.errors import DataError, UsageError
from cde_app.machine.loopback import BadRequestError, PageServer
from cde_app.machine.storage import to_jsonable
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.explorer import Surroundings, exact_densities, known_data, surroundings_of
from cde_app.workflow.report import read_report
from cde_app.workflow.scoring import own_table

MOST_ALONG = 64
"""The largest number of rows whose quantiles one request may ask for."""
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def open_explorer(run_path: Path, data_path: Path | None = None, *, port: int) -> PageServer:
    """Return the server of a run's report, which is not yet serving.

    Args:
        run_path: the run directory.
        data_path: the run's own table, if it has moved.
        port: where to listen; 0 takes a free port.

    Raises:
        DataError: the table cannot be read, or every row has a gap in an input.
        RunError: the run cannot be read, or its table has changed or is not the one that is named.
        UsageError: the port cannot be used.
    """
    from cde_app.report.html import render_page

    run = Run.open(run_path)
    model = TrainedModel.load(run)
    if model.predictor.recalibration is not None:
        raise UsageError(
            f"{run_path}: expected a run without training.calibration.kind 'conformal', whose densities are no "
            "mixtures, which a page could evaluate; got one with it. Train it with the kind 'width' to explore it."
        )
    with own_table(run, model, data_path) as table:
        around = surroundings_of(model, table)
    if around is None:
        raise DataError(f"{run_path}: expected a table with a row without gaps in the inputs; got none. Fill the gaps.")
    features = np.ones(len(model.contract.feature_names))
    data = known_data(model, around, scale=features) | {"live": True}
    page = render_page(read_report(run, model.contract), run.pictures(), data).encode()
    try:
        return PageServer(page, lambda body: answer(model, around, body), port=port)
    except OSError as error:
        raise UsageError(
            f"--port: expected a port of this machine that is free; got {port}: {error.strerror}. Choose another."
        ) from None


def answer(model: TrainedModel, around: Surroundings, body: bytes) -> bytes:
    """Return the exact mixtures at a row, and the quantiles of other rows.

    Args:
        model: the model.
        around: the inputs with features; their values are what a request has.
        body: JSON, {"values": [J numbers], "along": up to `MOST_ALONG` lists of J numbers}.

    Raises:
        BadRequestError: the body is not that.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError("expected JSON") from None
    if not isinstance(request, dict) or request.keys() != {"values", "along"}:
        raise BadRequestError("expected the keys 'values' and 'along'")
    if not isinstance(request["along"], list) or len(request["along"]) > MOST_ALONG:
        raise BadRequestError(f"expected at most {MOST_ALONG} rows in 'along'")
    values = np.stack([_row(around, one) for one in [request["values"], *request["along"]]])
    answers = exact_densities(model, values[:1]) | {"bands": []}
    if len(values) > 1:
        forecast = model.predictor.predict(encode_columns(around.contract, values[1:]))
        answers["bands"] = np.moveaxis(forecast.quantile(LEVELS), 0, 2).tolist()
    return json.dumps(to_jsonable(answers), separators=(",", ":"), allow_nan=False).encode()


def _row(around: Surroundings, values: Any) -> Array:
    """Read the values of one row, [I]."""
    count = len(around.columns)
    if not isinstance(values, list) or len(values) != count:
        raise BadRequestError(f"expected rows of {count} numbers")
    row = around.values[0].copy()
    for index, value in zip(around.columns, values, strict=True):
        column = around.contract.inputs[index]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e150:
            raise BadRequestError(f"expected a number for {column.name!r}")
        if column.kind == "categorical" and value not in range(len(column.vocabulary)):
            raise BadRequestError(f"expected the index of a label for {column.name!r}")
        row[index] = value
    return row
