"""`cde drift`."""

from __future__ import annotations

from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.gates import check_gates, check_names, parse_gates
from cde_app.cli.output import emit_drift, emit_json, emit_lines
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde drift runs/m tonight.csv --gate 'drift.inputs<0.1' --gate 'drift.outcomes<0.1'")(
        drift
    )


def drift(
    run: options.RunPath,
    data: options.DataPath,
    gate: options.Gates = None,
    level: Annotated[
        float,
        options.number_option(
            "--level", least=1e-9, most=0.5, metavar="P", help="Probability of a false alarm if nothing has changed."
        ),
    ] = 0.01,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Tell whether a run still fits new rows.

    Inputs are compared with those of the training; outcomes, where there are any, with the forecasts. A gate's key is a
    dotted key of the JSON output. drift.inputs and drift.outcomes are the largest difference of probabilities that is
    more than chance, or 0.
    """
    gates = parse_gates(gate or ())
    limit_threads(threads)

    from cde_app.workflow.drift import blank_drift, drift_of

    if gates:
        check_names(gates, blank_drift(run), command="cde drift RUN DATA --json")
    found = drift_of(run, data, level=level)
    for warning in found.get("warnings", ()):
        say(f"warning: {warning}")
    if as_json:
        emit_json(found)
    else:
        emit_lines(found["sentences"])
        if not quiet:
            emit_drift(found)
    check_gates(gates, found, source=str(data))
