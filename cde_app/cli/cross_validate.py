"""`cde cv`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import ProgressDisplay, say
from cde_app.cli.failures import continued_by
from cde_app.cli.output import emit_folds, emit_json, emit_lines
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde cv configs/motorcycle.yaml --folds 5 --out cv/motorcycle")(cv)


def cv(
    config: options.ConfigPath,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the folds' runs and results.", parser=options.read_folder
        ),
    ],
    folds: Annotated[int, options.whole_option("--folds", metavar="K", help="Number of folds.")] = 5,
    overrides: options.Overrides = None,
    executor: options.Executor = None,
    scheduler: options.Scheduler = None,
    workers: options.Workers = None,
    file_format: Annotated[
        options.WrittenFormat, typer.Option("--format", help="File format of the table of forecasts.")
    ] = options.WrittenFormat.CSV,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Cross-validate: score each row by a model that has not seen it.

    Folds are random, whole groups, or blocks of time, as data.split says. The same command goes on where it stopped.
    """
    execution = options.read_execution(executor, scheduler, workers)
    limit_threads(threads)

    file = options.read_config(config, overrides, quiet=quiet)
    with continued_by(shlex.join(["cde", *sys.argv[1:]])), ProgressDisplay(quiet) as display:
        from cde_app.workflow.cross_validate import cross_validate

        result = cross_validate(
            file,
            out,
            num_folds=folds,
            execution=execution,
            overwrite=overwrite,
            file_format=file_format.value,
            on_event=display,
        )
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    if as_json:
        emit_json(result)
        return
    emit_folds(result)
    emit_lines(result["files"])
