"""Checks before a finished run is read: it is done, its format is known, and it is unchanged since its training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cde_app.errors import RunError
from cde_app.machine.storage import file_hash, parse_json
from cde_app.runs import folder as run_folder
from cde_app.runs.contents import is_inside
from cde_app.runs.lock import is_locked
from cde_app.runs.migrations import FORMAT_VERSION, OLDEST_VERSION

REMAKING = {"plots": "plot", "report.html": "report", "report.json": "report", "report.md": "report"}
"""What can be made again, and the command that does it."""
VERIFIED_ENTRIES = ("baselines.npz", "columns.json", "config.yaml", "posterior", "reference.npz", "split.npz")
"""What predictions depend on: checked whenever a run is opened. The other files are checked when they are read."""


def check_run(path: Path) -> dict[str, Any]:
    """Check that a run can be read and what predictions depend on is unchanged; return its manifest.

    Raises:
        RunError: it is missing, not a run, incomplete, corrupt or of a format that this cde cannot read.
    """
    run_folder.check_is_run(path)
    check_finished(path)
    manifest = read_manifest(path)
    hashes = manifest["outputs"].items()
    check_hashes(path, {name: found for name, found in hashes if Path(name).parts[0] in VERIFIED_ENTRIES})
    return manifest


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
        RunError: it is damaged, or of a format that this cde cannot read.
    """
    file = run_folder.find(path, "manifest.json")
    try:
        manifest = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: expected JSON; got {error}. Train the run again.") from None
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RunError(f"{file}: format_version: expected a number; got {version!r}. Train the run again.")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{file}: format_version: expected at most {FORMAT_VERSION}; got {version}. "
            "The run was written by a newer cde; update cde."
        )
    if version < OLDEST_VERSION:
        raise RunError(
            f"{file}: format_version: expected at least {OLDEST_VERSION}; got {version}. "
            "The run was written by an older cde, which stored its parts differently; train the run again."
        )
    outputs = manifest.get("outputs")
    if not isinstance(outputs, dict) or not all(map(_is_hashed_file, outputs, outputs.values())):
        raise RunError(f"{file}: outputs: expected the SHA-256 of files of the run; got others. Train the run again.")
    return dict(manifest)


def _is_hashed_file(name: str, content: object) -> bool:
    is_hash = isinstance(content, str) and re.fullmatch("[0-9a-f]{64}", content) is not None
    return is_inside(name) and is_hash


def check_hashes(path: Path, hashes: Mapping[str, str]) -> None:
    """Check that files are unchanged since the training.

    Raises:
        RunError: files are missing or changed; the message names all of them.
    """
    faults = []
    for name, expected in hashes.items():
        file, first = run_folder.find(path, name), Path(name).parts[0]
        again = f"make it again with: cde {REMAKING[first]} {path}" if first in REMAKING else "train the run again"
        if not file.is_file():
            faults.append(f"{file}: expected a file of the run; got nothing. {again[0].upper()}{again[1:]}.")
        elif (found := file_hash(file)) != expected:
            faults.append(
                f"{file}: expected SHA-256 {expected[:12]}...; got {found[:12]}.... "
                f"The file has changed since the training; {again}."
            )
    if faults:
        raise RunError(*faults)


def hash_of_run(run_path: Path) -> str:
    """Return what identifies a training: the SHA-256 of its manifest, which has the hashes of all its files.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return file_hash(run_folder.find(run_path, "manifest.json"))
    except OSError as error:
        raise RunError(
            f"{run_path}: expected a run with its manifest; got {error.strerror!r}. Check the path."
        ) from None
