"""`cde evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.gates import Gate, check_gates, check_names, parse_gates
from cde_app.cli.output import emit_json, emit_lines, emit_scores
from cde_app.errors import UsageError
from cde_app.machine.threads import limit_threads

RivalKind = Literal["samples", "quantiles", "normal"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde evaluate runs/m --json --gate 'crps_skill>0.1' --gate 'nlpd<5'")(evaluate)


def evaluate(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Run directory, made by `cde train`; with --samples, --quantiles or --normal, the table to judge by.",
            parser=options.read_folder,
        ),
    ],
    data: options.OptionalDataPath = None,
    gate: options.Gates = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples",
            metavar="FILE",
            help="Judge another forecaster by its draws, in the columns row, draw and the targets.",
            parser=options.read_path,
        ),
    ] = None,
    quantiles: Annotated[
        Path | None,
        typer.Option(
            "--quantiles",
            metavar="FILE",
            help="The same by its quantiles, in the columns row, y_q05, y_q50 and so on.",
            parser=options.read_path,
        ),
    ] = None,
    normal: Annotated[
        Path | None,
        typer.Option(
            "--normal",
            metavar="FILE",
            help="The same by a normal of each row, in the columns row, y_mean and y_sd.",
            parser=options.read_path,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="Y",
            help="A target of the other forecaster. Default: what its file and the table have. May be repeated.",
        ),
    ] = None,
    threshold: options.Thresholds = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for pictures: of each threshold, or of another forecaster's calibration.",
            parser=options.read_folder,
        ),
    ] = None,
    threads: options.Threads = None,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Score a run on unseen rows, or any forecaster by its file.

    A gate's key is a dotted key of the JSON output, or <score>_skill for the skill against the best baseline.
    """
    limit_threads(threads)
    gates = parse_gates(gate or ())
    kinds: dict[RivalKind, Path | None] = {"samples": samples, "quantiles": quantiles, "normal": normal}
    files = {kind: path for kind, path in kinds.items() if path is not None}
    if files:
        metrics = scores_of_file(run, data, files, target or (), threshold or (), out, gates)
    else:
        metrics = scores_of_run(run, data, target or (), threshold or (), out, gates)
    for warning in metrics.get("warnings", ()):
        say(f"warning: {warning}")
    if as_json:
        emit_json(metrics)
    else:
        emit_scores(metrics, everything=everything)
        emit_lines(metrics.get("files", ()))
    check_gates(gates, metrics, source=str(run))


def scores_of_run(
    run: Path,
    data: Path | None,
    targets: Sequence[str],
    thresholds: Sequence[str],
    out: Path | None,
    gates: Sequence[Gate],
) -> dict[str, Any]:
    """Return the scores of a run on its held-out rows, or on those of a table."""
    if targets:
        raise UsageError("--target: expected --samples, --quantiles or --normal with it; got none.")
    if out is not None and not thresholds:
        raise UsageError("--out: expected --threshold with it, whose pictures go there; got none.")

    from cde_app.workflow.evaluate import blank_scores, evaluate_run

    if gates:
        check_names(gates, blank_scores(run, thresholds))
    return evaluate_run(run, data, thresholds, out)


def scores_of_file(
    table: Path,
    data: Path | None,
    files: Mapping[RivalKind, Path],
    targets: Sequence[str],
    thresholds: Sequence[str],
    out: Path | None,
    gates: Sequence[Gate],
) -> dict[str, Any]:
    """Return the scores of another forecaster, which are in one file, on a table."""
    kind, *others = files
    if others:
        raise UsageError(f"--{others[0]}: expected one file of another forecaster; got --{kind} too.")
    if data is not None:
        raise UsageError(f"--{kind}: expected a table and no run, as in `cde evaluate DATA`; got {table} and {data}.")
    if thresholds:
        raise UsageError(f"--threshold: expected a run, whose probabilities are scored; got --{kind}.")

    from cde_app.workflow.rival import RivalFile, evaluate_rival

    metrics = evaluate_rival(RivalFile(files[kind], kind, tuple(dict.fromkeys(targets))), table, out)
    check_names(gates, metrics)
    return metrics
