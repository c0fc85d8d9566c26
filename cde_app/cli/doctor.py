"""`cde doctor`: what is installed on this machine, found without importing it, and whether it works."""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated, Any

import typer

from cde_app.cli import options
from cde_app.cli.output import emit_json, emit_values
from cde_app.errors import InstallError, NumericalError
from cde_app.machine import threads
from cde_app.machine.packages import FOR_TRAINING, missing_for_training


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde doctor --check")(doctor)


def doctor(
    check: Annotated[
        bool, typer.Option("--check", help="Also train for some 20 seconds and compare the result with a known one.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Print what is installed and what is missing.

    Paste it into a bug report, best with --check.
    """
    from cde_app import __version__
    from cde_app.runs.provenance import package_versions

    versions = package_versions()
    missing = [name for name, version in versions.items() if version == "missing"]
    only_predicts = missing_for_training() == list(FOR_TRAINING)
    result: dict[str, Any] = {
        "cde": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpus": threads.num_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "threads": {name: os.environ.get(name, "not set") for name in threads.VARIABLES},
        "packages": versions,
        "training": "not installed; this install only predicts" if only_predicts else "installed",
    }
    if check:
        result["check"] = _check(can_train=not missing_for_training())
    if as_json:
        emit_json(result)
    else:
        emit_values(result)
    faults = [name for name in missing if not (only_predicts and name in FOR_TRAINING)]
    if faults:
        raise InstallError(
            *(f"package {name!r}: expected to be installed; got nothing. Install it." for name in faults)
        )
    if check and result["check"].get("passed") is False:
        found = result["check"]
        raise NumericalError(
            f"cde doctor --check: expected a log score of {found['expected']:g} ± {found['tolerance']:g}; got "
            f"{found['log_score']:.4f}. Send this output with a report."
        )


def _check(*, can_train: bool) -> dict[str, Any]:
    """Return what the self-check found, or why it was skipped."""
    if not can_train:
        return {"skipped": "TensorFlow and what is built on it are not all installed, so nothing can be trained"}
    from cde_app.workflow.selftest import self_check

    return self_check()
