"""`cde predict`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import emit_json, emit_lines
from cde_app.cli.prediction import takes_prediction_options
from cde_app.machine.memory import limit_memory
from cde_app.machine.threads import limit_threads

if TYPE_CHECKING:
    from cde_app.workflow.prediction_options import PredictionOptions

MOST_NAMED = 3
"""The largest number of inputs that a warning names."""
MOST_FAR = 0.01
"""The share of rows up to which distances above 1 are no warning: of ordinary rows, 0.1 to 0.9 % have them."""
SKIPPED = 7
"""Exit code: done, but rows were skipped."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde predict runs/m data/motorcycle.csv --out out/m --samples 200 --plots")(
        takes_prediction_options(predict)
    )


def predict(
    run: options.RunPath,
    data: options.DataPath,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for the predictions.", parser=options.read_folder),
    ],
    asked: Callable[[], PredictionOptions],
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    max_memory: options.MaxMemory = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Predict the distribution of the targets for every row.

    With --on-fault skip, rows with faults are left out, manifest.json names them, and the exit code is 7.
    """
    limit_threads(threads)
    limit_memory(max_memory)

    from cde_app.workflow.predict import predict_table

    result = predict_table(run, data, out, asked(), overwrite=overwrite)
    if as_json:
        emit_json(result)
    else:
        report_result(result, quiet=quiet)
    if result["skipped"]:
        num_rows, first = result["rows"] + result["left_out"] + result["skipped"], result["faults"][0]
        say(
            f"warning: {result['skipped']} of {num_rows} rows have faults and were skipped, first row {first['row']}, "
            f"column {first['column']!r}: {first['reason']}; {out / 'manifest.json'} names them."
        )
        raise typer.Exit(SKIPPED)


def report_result(result: Mapping[str, Any], *, quiet: bool | None) -> None:
    """Print the files, and what is notable about the rows."""
    emit_lines(result["files"])
    if not quiet:
        say(f"{result['rows']} rows in {result['seconds']:.1f} s")
    for warning in result.get("warnings", ()):
        say(f"warning: {warning}")
    if result["left_out"]:
        say(
            f"warning: {result['left_out']} of {result['rows'] + result['left_out']} rows have gaps and were left out, "
            "as the run's data.missing says; the column row shows which remain."
        )
    if result["out_of_range"]:
        names = [f"{name!r} in {count}" for name, count in result["out_of_range_by_column"].items()]
        where = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        say(
            f"warning: {result['out_of_range']} of {result['rows']} rows are outside the range of the training data "
            f"({where}); the column out_of_range marks them."
        )
    if (result["far"] or 0) > MOST_FAR * result["rows"]:
        say(
            f"warning: {result['far']} of {result['rows']} rows are farther from the training rows than 999 of 1000 "
            "new rows like those should be: such combinations of inputs were hardly seen. Treat their densities as "
            "extrapolations; the column distance is above 1 there."
        )
    for name, (known, new) in result["misspelled_labels"].items():
        say(f"warning: column {name!r} has the new label {new!r}; the training had {known!r}. Is it the same label?")
