"""`cde evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.gates import check_gates, check_names, parse_gates
from cde_app.cli.output import emit, emit_json, emit_scores
from cde_app.errors import UsageError
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde evaluate runs/m --json --gate 'crps_skill>0.1' --gate 'nlpd<5'")(evaluate)


def evaluate(
    run: options.RunPath,
    data: options.OptionalDataPath = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            "--gate", metavar="CONDITION", help="Exit with 5 unless this holds, e.g. 'crps_skill>0.1'. May be repeated."
        ),
    ] = None,
    threshold: options.Thresholds = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for a picture of each threshold.", parser=options.read_folder
        ),
    ] = None,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Score a run on rows that it has not seen, next to two baselines.

    A gate's key is a dotted key of the JSON output, or <score>_skill for the skill against the best baseline.
    """
    gates = parse_gates(gate or ())
    if out is not None and not threshold:
        raise UsageError("--out: expected --threshold with it, whose pictures go there; got none.")
    limit_threads(threads)

    from cde_app.workflow.evaluate import blank_scores, evaluate_run

    if gates:
        check_names(gates, blank_scores(run, threshold or ()))
    metrics = evaluate_run(run, data, threshold or (), out)
    for warning in metrics.get("warnings", ()):
        say(f"warning: {warning}")
    if as_json:
        emit_json(metrics)
    else:
        emit_scores(metrics)
        for file in metrics.get("files", ()):
            emit(str(file))
    check_gates(gates, metrics, source=str(run))
