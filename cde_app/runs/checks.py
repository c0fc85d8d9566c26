"""Checks before a finished run is read: it is done, its format is known, and it is unchanged since its training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cde_app.errors import RunError
from cde_app.machine.storage import file_hash
from cde_app.runs import folder as run_folder
from cde_app.runs.lock import is_locked

FORMAT_VERSION = 4  # earlier formats read labels and dates (2), or stored kernels and tails (3), differently
VERIFIED_ENTRIES = frozenset({"posterior", "columns.json", "config.yaml", "baselines.npz", "split.npz"})


def check_run(path: Path) -> dict[str, str]:
    """Check that a run can be read, and return the hashes of the files that predictions depend on, by name.

    Raises:
        RunError: it is missing, not a run, incomplete, corrupt or from a newer format.
    """
    run_folder.check_is_run(path)
    check_finished(path)
    outputs = read_manifest(path).get("outputs", {})
    hashes = {name: found for name, found in outputs.items() if Path(name).parts[0] in VERIFIED_ENTRIES}
    check_hashes(path, hashes)
    return hashes


def check_finished(path: Path) -> None:
    """Check that a run is done.

    Raises:
        RunError: it is not; the message says whether to wait or how to resume.
    """
    if run_folder.is_finished(path):
        return
    if is_locked(path):
        raise RunError(f"{path}: expected a finished run; got one that is being written. Wait until it is done.")
    match run_folder.status(path):
        case "running":
            state = "killed"
        case "done":
            state = "done but has no manifest"
        case status:
            state = str(status)
    raise RunError(
        f"{path}: expected a finished run; got one that is {state}. "
        f"Resume with: cde train {path}/config.yaml --out {path} --resume"
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a finished run.

    Raises:
        RunError: it is damaged, or of another format.
    """
    file = run_folder.find(path, "manifest.json")
    try:
        manifest = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: expected JSON; got {error}. Train the run again.") from None
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or version < 1:
        raise RunError(f"{file}: format_version: expected a number; got {version!r}. Train the run again.")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{file}: format_version: expected at most {FORMAT_VERSION}; got {version}. "
            "The run was written by a newer cde; update cde."
        )
    if version < FORMAT_VERSION:
        raise RunError(
            f"{file}: format_version: expected {FORMAT_VERSION}; got {version}. "
            "The run was written by an older cde, which stored its parts differently; train the run again."
        )
    return dict(manifest)


def check_hashes(path: Path, hashes: Mapping[str, str]) -> None:
    """Check that files are unchanged since the training.

    Raises:
        RunError: files are missing or changed; the message names all of them.
    """
    faults = []
    for name, expected in hashes.items():
        file = run_folder.find(path, name)
        if not file.is_file():
            faults.append(f"{file}: expected a file of the run; got nothing. Train the run again.")
        elif (found := file_hash(file)) != expected:
            faults.append(
                f"{file}: expected SHA-256 {expected[:12]}...; got {found[:12]}.... "
                "The file has changed since the training; train the run again."
            )
    if faults:
        raise RunError(*faults)
