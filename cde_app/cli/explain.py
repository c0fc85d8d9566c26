"""`cde explain`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import ProgressDisplay, say
from cde_app.cli.output import emit_explanation, emit_json, emit_lines
from cde_app.errors import UsageError
from cde_app.explanation.sizes import EXPLAINED_ROWS, REPEATS, SHARED_ROWS
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde explain runs/m --out explained/m --threshold 'accel<-50'")(explain)


def explain(
    run: options.RunPath,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Table, with or without the targets; default: the run's held-out rows.",
            parser=options.read_path,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for the tables and pictures.", parser=options.read_folder),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME=A,B", help="Move these inputs together, too. May be repeated."),
    ] = None,
    threshold: options.Thresholds = None,
    rows: Annotated[int, options.whole_option("--rows", metavar="N", help="Rows, drawn at random.")] = EXPLAINED_ROWS,
    repeats: Annotated[
        int, options.whole_option("--repeats", metavar="R", help="How often each input is taken from another row.")
    ] = REPEATS,
    shares: Annotated[
        int, options.whole_option("--shares", metavar="M", help="Rows with Shapley shares; 0: none.")
    ] = SHARED_ROWS,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Say which inputs move the mean and the spread of the forecasts.

    Each input is taken from other rows: any, or some whose other inputs are alike. Curves show the forecasts along each
    input, and Shapley shares what each input adds in single rows.
    """
    groups = read_groups(group or ())
    limit_threads(threads)
    with ProgressDisplay(quiet) as display:
        from cde_app.workflow.explain import explain_run

        result = explain_run(
            run,
            data,
            out,
            groups=groups,
            thresholds=threshold or (),
            num_rows=rows,
            num_repeats=repeats,
            num_shares=shares,
            on_event=display,
        )
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    if as_json:
        emit_json(result)
        return
    emit_explanation(result)
    emit_lines(result["files"])


def read_groups(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read `NAME=a,b`.

    Raises:
        UsageError: a text has another form, or a name is repeated; all faults at once.
    """
    groups, faults = dict[str, tuple[str, ...]](), list[str]()
    for text in texts:
        name, sign, members = text.partition("=")
        names = tuple(member.strip() for member in members.split(","))
        if not (name.strip() and sign and all(names)):
            faults.append(f"--group: expected NAME=A,B with inputs of the run; got {text!r}. Write place=lat,long.")
        elif name.strip() in groups:
            faults.append(f"--group: expected every name once; got {name.strip()!r} again.")
        else:
            groups[name.strip()] = names
    if faults:
        raise UsageError(*faults)
    return groups
