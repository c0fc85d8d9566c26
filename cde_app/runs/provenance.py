"""Where a result comes from: hashes of files, versions of packages, the command and the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cde_app import __version__
from cde_app.machine.storage import file_hash

DISTRIBUTION = "cde-app"


def package_versions() -> dict[str, str]:
    """Return name -> version of every installed package that cde depends on, and "missing" for the others.

    Reads metadata only; imports none of the packages.
    """
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    versions = {}
    for requirement in requirements:
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match is None or "extra ==" in requirement:
            continue
        try:
            versions[match[0]] = importlib.metadata.version(match[0])
        except importlib.metadata.PackageNotFoundError:
            versions[match[0]] = "missing"
    return versions


def provenance(inputs: Iterable[Path] = ()) -> dict[str, Any]:
    """Describe the running command.

    Args:
        inputs: files that were read; existing ones are hashed (standard input is not a file).

    Returns:
        A mapping for a manifest: `cde_version`, `python`, `packages`, `argv`, `machine`, `inputs` (path -> SHA-256).
    """
    return {
        "cde_version": __version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "argv": list(sys.argv),
        "machine": {"platform": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
        "inputs": {str(path): file_hash(path) for path in inputs if path.is_file()},
    }
