"""`cde plot`, `cde report`, `cde info` and `cde compare`: inspecting runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import emit, emit_json, emit_side_by_side, emit_values, with_units
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: cde plot runs/m --format svg --out pictures")(plot)
    app.command(epilog="Example: cde report runs/m")(report)
    app.command(epilog="Example: cde info runs/m --json")(info)
    app.command(epilog="Example: cde compare runs/a runs/b")(compare)


def plot(
    run: options.RunPath,
    data: options.OptionalDataPath = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Default: the run's plots folder; needed with DATA.",
            parser=options.read_folder,
        ),
    ] = None,
    image_format: Annotated[
        options.ImageFormat, typer.Option("--format", help="File format of the pictures.")
    ] = options.ImageFormat.PNG,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Draw the pictures of a run, for its own table or another one."""
    if data is not None and out is None:
        raise typer.BadParameter(
            "expected a folder, as pictures of another table do not belong to the run; got none.", param_hint="--out"
        )
    limit_threads(threads)

    from cde_app.workflow.plot import plot_run

    files, warnings = plot_run(run, data, out, image_format=image_format.value)
    for warning in warnings:
        say(f"warning: {warning}")
    if as_json:
        emit_json({"files": files} | ({"warnings": warnings} if warnings else {}))
    else:
        emit("\n".join(str(file) for file in files))


def report(run: options.RunPath, as_json: options.AsJson = False, quiet: options.Quiet = None) -> None:
    """Write one HTML file with everything about a run."""
    from cde_app.workflow.report import write_report

    path = write_report(run)
    if as_json:
        emit_json({"report": path})
    else:
        emit(str(path))


def info(run: options.RunPath, as_json: options.AsJson = False, quiet: options.Quiet = None) -> None:
    """Describe a run: data, model, training, scores, versions."""
    from cde_app.workflow.info import describe_run

    result = describe_run(run)
    if as_json:
        emit_json(result)
    else:
        emit_values(result)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.", parser=options.read_folder)],
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Show the settings and scores of several runs side by side.

    Warnings say which scores cannot be compared: targets, units, tables, held-out rows or training sds differ.
    """
    from cde_app.workflow.compare import compare_runs

    columns, warnings = compare_runs(runs)
    if as_json:
        emit_json(columns)
    else:
        emit_side_by_side({run: with_units(column) for run, column in columns.items()})
    for warning in warnings:
        say(f"warning: {warning}")
