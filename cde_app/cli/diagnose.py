"""`cde diagnose`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import align, emit, emit_json, emit_lines, format_value
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde diagnose runs/m")(diagnose)


def diagnose(
    run: options.RunPath,
    data: options.OptionalDataPath = None,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Check latent variables, inducing inputs and training of a run.

    It says what is wrong and which setting to change. Whether the densities can be trusted is for `cde evaluate`.
    """
    limit_threads(threads)

    from cde_app.workflow.diagnose import diagnose_run

    health = diagnose_run(run, data)
    for warning in health["warnings"]:
        say(f"warning: {warning}")
    if as_json:
        emit_json(health)
        return
    emit_lines(health["advice"] or ["No problems found."])
    emit("")
    emit(align(table_of(health["trainings"])))


def table_of(trainings: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return one row per training, below a header."""
    rows = [["training", "steps", "late gain", "latent KL", "active", "inducing", "informed", "duplicate", "far"]]
    for own in trainings:
        latent, gps = own["latent"], own["inducing"]
        rows.append(
            [
                own["name"],
                str(own["training"]["steps"]),
                f"{own['training']['gain']:.3f}",
                format_value([w["kl"] for w in latent]) or "-",
                f"{sum(w['active'] for w in latent)} of {len(latent)}",
                *(format_value([gp[key] for gp in gps]) for key in ("number", "informed", "duplicates", "far")),
            ]
        )
    return rows
