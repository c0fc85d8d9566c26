"""What is in a folder that cde writes: the names of its files, and which files cde has not written.

Files at the top are known by their names. What is in a folder inside is known by a list: the manifest's `outputs`, or
SHA256SUMS, which has a line for each picture before the picture is there (see `sums.announce`). All else is foreign:
it is never deleted.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cde_app.errors import RunError
from cde_app.machine.storage import TEMPORARY_PREFIX, parse_json
from cde_app.runs.lock import NAME as LOCK

NEXT, ARRIVING, REPLACED = ".cde-next", ".cde-arriving", ".cde-replaced"
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
RUN_ENTRIES = frozenset(
    {
        "STATUS",
        MANIFEST,
        "config.yaml",
        "config.source.yaml",
        "columns.json",
        "posterior",
        "checkpoints",
        "baselines.npz",
        "split.npz",
        "reference.npz",
        "history.jsonl",
        "metrics.json",
        "plots",
        "report.html",
        "report.json",
        "report.md",
        "log.txt",
        SUMS,
        LOCK,
    }
)
PREDICTION_TABLES = ("summary", "samples", "densities", "hdi", "modes", "totals")
PREDICTION_ENTRIES = frozenset(
    {
        MANIFEST,
        *(f"{name}.{kind}" for name in PREDICTION_TABLES for kind in ("csv", "parquet")),
        "mixture.npz",
        "plots",
    }
)
CHECKPOINT = re.compile(r"checkpoints/[^/]+\.npz")
UNLISTED_POSTERIOR = re.compile(r"posterior/[^/]+\.(json|npz)")
"""What a run that is not finished, and therefore has no manifest, may have besides its pictures."""
UNLISTED_PICTURE = re.compile(r"plots/[^/]+\.(png|svg)")
"""What a finished run of format 4 may have, which has no SHA256SUMS."""


def is_inside(name: str) -> bool:
    """Return whether a name that a file of a run gives can be that of a file of the run."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] in RUN_ENTRIES and ".." not in parts


def entries_of(folder: Path) -> set[str]:
    """Return the names in a folder, without temporary files and successors; empty if there is no folder."""
    if not folder.is_dir():
        return set()
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(TEMPORARY_PREFIX)}
    return names - {NEXT, ARRIVING, REPLACED}


def foreign_in_run(folder: Path) -> list[str]:
    """Return the names below the folder of a run, finished or not, of what cde has not written, sorted."""
    names = entries_of(folder)
    is_listed = MANIFEST not in names or SUMS in names
    return foreign(folder, RUN_ENTRIES, () if is_listed else (UNLISTED_PICTURE,))


def foreign_in_predictions(folder: Path) -> list[str]:
    """Return the names below a folder of predictions of what cde has not written, sorted.

    If the manifest is damaged, the tables are known by their names, so that they can be predicted again; a manifest
    that lists no files is not cde's.
    """
    outputs = _outputs(folder)
    if outputs is None:
        entries = PREDICTION_ENTRIES if _manifest(folder) is None else PREDICTION_ENTRIES - {MANIFEST}
    else:
        entries = frozenset({MANIFEST, "plots", *outputs})
    return foreign(folder, entries)


def foreign(folder: Path, entries: Collection[str], unlisted: Sequence[re.Pattern[str]] = ()) -> list[str]:
    """Return the names below a folder of what cde has not written, sorted.

    Args:
        folder: the folder.
        entries: the names that it may have at its top.
        unlisted: forms of names below that cde has written without a list.
    """
    names = entries_of(folder) - {LOCK}
    outputs = _outputs(folder)
    listed = {*(outputs or ()), *readable_sums(folder)}
    forms = [CHECKPOINT, *([UNLISTED_POSTERIOR] if outputs is None else []), *unlisted]

    def is_own(path: str) -> bool:
        is_known = path in listed or any(form.fullmatch(path) for form in forms)
        return is_known and not (folder / path).is_dir()

    inner = {f"{name}/{entry}" for name in names & set(entries) for entry in entries_of(folder / name)}
    return sorted(names - set(entries) | {path for path in inner if not is_own(path)})


def check_only(what: str, folder: Path, names: Iterable[str]) -> None:
    """Check that nothing in a folder is foreign.

    Args:
        what: that which is expected, such as `predictions`.
        folder: the folder.
        names: of what is foreign in it.

    Raises:
        RunError: there is something.
    """
    for name in names:
        raise RunError(f"{folder}: expected only {what}; got {name!r}. Move it, or choose another --out.")


def readable_sums(folder: Path) -> dict[str, str]:
    """Return the hashes in SHA256SUMS by name: none if it is missing, and those that can be read if it is damaged."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = (folder / SUMS).read_text(encoding="utf-8")
        return {name: content for content, name in re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)}
    return {}


def _outputs(folder: Path) -> list[str] | None:
    """Return the names of the files that the manifest lists; None if it does not, or is missing or damaged."""
    manifest = _manifest(folder)
    match manifest:
        case {"outputs": dict(outputs)}:
            return list(outputs)
        case {"files": list(files)}:  # predictions of an earlier version, with paths
            paths = [PurePosixPath(file) for file in files if isinstance(file, str)]
            return [name for path in paths for name in (path.name, f"{path.parent.name}/{path.name}")]
    return None


def _manifest(folder: Path) -> Any:
    """Return what the manifest holds; None if it is missing or no JSON."""
    with contextlib.suppress(OSError, ValueError):
        return parse_json((folder / MANIFEST).read_bytes())
    return None
