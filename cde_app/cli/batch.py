"""`cde batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cde_app.cli import options
from cde_app.cli.console import ProgressDisplay, say
from cde_app.cli.output import emit_json, emit_lines
from cde_app.cli.predict import SKIPPED
from cde_app.cli.prediction import takes_prediction_options
from cde_app.machine.memory import limit_memory

if TYPE_CHECKING:
    from cde_app.workflow.prediction_options import PredictionOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde batch runs/m 'new/*.parquet' --out out/new --samples 0 --workers 2")(
        takes_prediction_options(batch)
    )


def batch(
    run: options.RunPath,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUTS...",
            help="Tables, folders (all tables in and below them), or quoted globs.",
            parser=options.read_path,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for one folder per table.", parser=options.read_folder),
    ],
    asked: Callable[[], PredictionOptions],
    overwrite: options.Overwrite = False,
    executor: options.Executor = None,
    scheduler: options.Scheduler = None,
    workers: options.Workers = None,
    max_memory: options.MaxMemory = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Predict many tables, on all cores or a cluster.

    Each table (partition) gets a folder in DIR, as cde predict makes it; totals and pictures are those of the table.
    The same command again predicts only what is new, has changed or has failed. Tables that fail are named, the others
    are kept, and the exit code is 7.
    """
    limit_memory(max_memory)
    execution = options.read_execution(executor, scheduler, workers, max_memory=max_memory)
    prediction_options = asked()

    from cde_app.workflow.batch import predict_partitions

    try:
        with ProgressDisplay(quiet) as display:
            result = predict_partitions(
                run, inputs, out, prediction_options, execution=execution, overwrite=overwrite, on_event=display
            )
    except KeyboardInterrupt:
        say("what is finished is kept; the same command continues (without --overwrite)")
        raise
    if as_json:
        emit_json(result)
    else:
        emit_lines([result["manifest"]])
    report_result(result, quiet=quiet)


def report_result(result: Mapping[str, Any], *, quiet: bool | None) -> None:
    """Print how many tables and rows there are, and which tables have failed.

    Raises:
        Exit: with 7, if some tables have failed or rows were skipped.
    """
    parts = result["partitions"]
    if not quiet:
        say(
            f"{result['predicted']} of {len(parts)} tables predicted ({result['rows_predicted']} rows in "
            f"{result['seconds']:.1f} s), {result['unchanged']} unchanged "
            f"({result['rows'] - result['rows_predicted']} rows), {result['failed']} failed"
        )
    for part in parts:
        if part["state"] == "failed":
            say(f"error: {part['error']}")
    for part in parts:
        if part.get("skipped"):
            where = Path(result["manifest"]).parent / part["folder"] / "manifest.json"
            say(f"warning: {part['path']}: {part['skipped']} rows have faults and were skipped; {where} names them.")
    if result["failed"] or result["skipped"]:
        raise typer.Exit(SKIPPED)
