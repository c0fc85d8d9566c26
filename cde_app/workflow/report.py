"""`cde report`: a run as one page, as JSON and as a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cde_app.data.encoding import ColumnContract
from cde_app.data.features import InputEncoding
from cde_app.errors import CdeError
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.words import list_names, printable, written_date
from cde_app.workflow.scoring import own_table, stored_scores

if TYPE_CHECKING:
    from cde_app.report.html import Report

MOST_BYTES = 3_000_000
"""About how large the page may be."""
LEAST_FOR_EXPLORER = 600_000
FIXED_BYTES = 400_000
"""For the text, the script and the rows."""


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report, and why something is not in them."""

    page: Path
    json: Path
    card: Path
    warnings: list[str]


def write_report(run_path: Path, data_path: Path | None = None, *, explorer: bool) -> WrittenReport:
    """Write a self-contained HTML page about a run, and its content as JSON and as Markdown.

    Args:
        run_path: the run directory.
        data_path: the run's own table, if it has moved; the explorer needs it.
        explorer: put sliders on the page; it then contains rows of the table.

    Raises:
        DataError: the table that is named cannot be read.
        RunError: the table that is named is not the run's; or the run is missing, incomplete, corrupt or from a newer
            format, or another process is writing it.
    """
    from cde_app.report.html import render_card, render_page, report_json

    run = Run.open(run_path)
    with run.held():
        pictures = run.pictures()
        model = TrainedModel.load(run)
        data, warnings = None, list[str]()
        if explorer:
            try:
                data = _explorer(run, model, data_path, pictures)
            except CdeError as error:
                if data_path is not None:
                    raise
                warnings = [f"the report has no explorer: {error}"]
        report = read_report(run, model.contract)
        page = run.write_text("report.html", printable(render_page(report, pictures, data), keeps="\n\t"))
        json, card = (
            run.write_text("report.json", report_json(report)),
            run.write_text("report.md", printable(render_card(report), keeps="\n\t")),
        )
    return WrittenReport(page, json, card, warnings)


def read_report(run: Run, contract: ColumnContract) -> Report:
    """Return what is said about a run."""
    from cde_app.report.html import make_report

    manifest = {key: value for key, value in run.manifest().items() if key != "settings"}
    warnings = [f"{name} is constant in the training rows and was left out." for name in manifest["dropped_features"]]
    warnings += [warning[0].upper() + warning[1:] for warning in manifest["warnings"]]
    return make_report(
        run.path.resolve().name,
        stored_scores(run),
        run.read_bytes("config.yaml").decode(),
        manifest,
        warnings,
        run.history(),
        describe_columns(contract),
    )


def describe_columns(contract: ColumnContract) -> list[dict[str, str]]:
    """Return name, role, kind, unit and the training rows' range or labels of each column."""
    inputs = [
        {"name": column.name, "role": "input", "kind": column.kind, "unit": "", "range": _range(column)}
        for column in contract.inputs
    ]
    targets = zip(contract.targets, contract.units, strict=True)
    return inputs + [
        {"name": name, "role": "target", "kind": "numeric", "unit": unit, "range": ""} for name, unit in targets
    ]


def _range(column: InputEncoding) -> str:
    """Write what the training rows had of an input."""
    if column.kind == "categorical":
        return list_names(column.vocabulary)
    if column.kind == "cyclic":
        return f"a cycle of {column.period:g}"
    ends = [
        written_date(end).partition("T")[0] if column.kind == "datetime" else f"{end:.6g}"
        for end in (column.minimum, column.maximum)
    ]
    return f"{ends[0]} to {ends[1]}"


def _explorer(
    run: Run, model: TrainedModel, data_path: Path | None, pictures: Mapping[str, bytes]
) -> dict[str, Any] | None:
    """Return the data of the explorer, about as large as the pictures leave room for; None if no row is whole.

    A recalibrated model has none: its densities are no mixtures, which are what a page can evaluate.

    Raises:
        CdeError: the table cannot be read, or has changed.
    """
    from cde_app.workflow.explorer import explorer_data, surroundings_of

    if model.predictor.recalibration is not None:
        return None
    taken = FIXED_BYTES + sum(len(content) for content in pictures.values()) * 4 // 3
    with own_table(run, model, data_path) as table:
        around = surroundings_of(model, table)
    return (
        None if around is None else explorer_data(model, around, most_bytes=max(MOST_BYTES - taken, LEAST_FOR_EXPLORER))
    )
