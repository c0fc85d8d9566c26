"""`cde train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import ProgressDisplay, say
from cde_app.cli.failures import guarded_training
from cde_app.cli.output import emit_json, emit_lines, emit_scores
from cde_app.errors import UsageError
from cde_app.machine.memory import limit_memory
from cde_app.machine.threads import limit_threads

if TYPE_CHECKING:
    from cde_app.execution.choose import Execution


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde train configs/motorcycle.yaml --set training.max_steps=300 --out runs/m")(train)


def train(
    config: options.ConfigPath,
    overrides: options.Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="RUN",
            help="Run directory; default: runs/<name of CONFIG>.",
            parser=options.read_folder,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")] = False,
    overwrite: options.Overwrite = False,
    executor: options.Executor = None,
    scheduler: options.Scheduler = None,
    workers: options.Workers = None,
    threads: options.Threads = None,
    max_memory: options.MaxMemory = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Train a model and score it on the held-out rows.

    With --overwrite, a finished run stays usable until its successor is done.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite: expected one of them; got both. Resume keeps, overwrite replaces.")
    if out is None and str(config) == "-":
        raise UsageError("--out: expected a run directory when CONFIG is standard input; got nothing.")
    run = out if out is not None else Path("runs") / config.stem
    limit_threads(threads)
    limit_memory(max_memory)
    execution = options.read_execution(executor, scheduler, workers, max_memory=max_memory)

    file = options.read_config(config, overrides, quiet=quiet)
    with (
        guarded_training(run, _resume_command(config, overrides or [], run, threads, max_memory, execution)),
        ProgressDisplay(quiet) as display,
    ):
        from cde_app.workflow.train import train_run

        metrics = train_run(file, run, resume=resume, overwrite=overwrite, on_event=display, execution=execution)
    if as_json:
        emit_json(metrics)
        return
    emit_scores(metrics, everything=False)
    emit_lines([f"run: {run}", f"pictures: {run / 'plots'}"])
    if not quiet:
        say(f"next: cde predict {shlex.quote(str(run))} DATA --out DIR")


def _resume_command(
    config: Path, overrides: list[str], run: Path, threads: int | None, max_memory: int | None, execution: Execution
) -> str:
    """Write the command that resumes this training."""
    settings = [part for override in overrides for part in ("--set", override)]
    given = {
        "--threads": threads,
        "--max-memory": max_memory,
        "--executor": execution.kind,
        "--scheduler": execution.scheduler,
        "--workers": execution.num_workers,
    }
    settings += [part for option, value in given.items() if value is not None for part in (option, str(value))]
    return shlex.join(["cde", "train", str(config), *settings, "--out", str(run), "--resume"])
