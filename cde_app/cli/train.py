"""`cde train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import ProgressDisplay, say
from cde_app.cli.failures import guarded_training
from cde_app.cli.output import emit, emit_json, emit_scores
from cde_app.errors import UsageError
from cde_app.machine.threads import limit_threads


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
    threads: options.Threads = None,
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

    file = options.read_config(config, overrides, quiet=quiet)
    with (
        guarded_training(run, _resume_command(config, overrides or [], run, threads)),
        ProgressDisplay(quiet) as display,
    ):
        from cde_app.workflow.train import train_run

        metrics = train_run(file, run, resume=resume, overwrite=overwrite, on_event=display)
    if as_json:
        emit_json(metrics)
        return
    emit_scores(metrics)
    emit(f"run: {run}\npictures: {run / 'plots'}")
    if not quiet:
        say(f"next: cde predict {shlex.quote(str(run))} DATA --out DIR")


def _resume_command(config: Path, overrides: list[str], run: Path, threads: int | None) -> str:
    """Write the command that resumes this training."""
    settings = [part for override in overrides for part in ("--set", override)]
    settings += [] if threads is None else ["--threads", str(threads)]
    return shlex.join(["cde", "train", str(config), *settings, "--out", str(run), "--resume"])
