"""`cde doctor`: what is installed on this machine, found without importing it."""

from __future__ import annotations

import os
import platform
import sys

import typer

from cde_app.cli import options
from cde_app.cli.output import emit_json, emit_values
from cde_app.errors import UsageError
from cde_app.machine import threads


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde doctor --json")(doctor)


def doctor(as_json: options.AsJson = False, quiet: options.Quiet = None) -> None:
    """Print what is installed on this machine, and what is missing."""
    from cde_app import __version__
    from cde_app.runs.provenance import package_versions

    packages = package_versions()
    result = {
        "cde": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpus": threads.num_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "threads": {name: os.environ.get(name, "not set") for name in threads.VARIABLES},
        "packages": packages,
    }
    if as_json:
        emit_json(result)
    else:
        emit_values(result)
    missing = [name for name, version in packages.items() if version == "missing"]
    if missing:
        raise UsageError(*(f"package {name!r}: expected to be installed; got nothing. Install it." for name in missing))
