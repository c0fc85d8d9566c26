"""`cde sweep`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import ProgressDisplay, say
from cde_app.cli.failures import continued_by
from cde_app.cli.output import emit, emit_json, emit_lines, emit_trials
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde sweep mine.yaml --trials 20 --out sweeps/mine")(sweep)


def sweep(
    config: options.ConfigPath,
    trials: Annotated[
        int, options.whole_option("--trials", metavar="T", help="Trials in all; those that are done count.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the trials' runs and results.", parser=options.read_folder
        ),
    ],
    overrides: options.Overrides = None,
    executor: options.Executor = None,
    scheduler: options.Scheduler = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Search for the settings with the best validation score.

    The block `sweep` says which. Test rows are not looked at. The same command goes on where it stopped.
    """
    execution = options.read_execution(executor, scheduler, workers)
    limit_threads(threads)

    file = options.read_config(config, overrides, quiet=quiet)
    with continued_by(shlex.join(["cde", *sys.argv[1:]])), ProgressDisplay(quiet) as display:
        from cde_app.workflow.sweep import sweep

        result = sweep(file, out, num_trials=trials, execution=execution, overwrite=overwrite, on_event=display)
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    if as_json:
        emit_json(result)
        return
    emit_trials(result)
    emit_lines(result["files"])
    emit(f"note: {result['note']}")
    if not quiet:
        say(f"next: cde train {shlex.quote(str(out / 'best.yaml'))} --out RUN")
