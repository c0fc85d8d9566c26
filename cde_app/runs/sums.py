"""SHA256SUMS: the hashes of all files of a finished run, in the form that `sha256sum --check` reads.

The manifest has the hashes of what a training makes. This file also has those of the manifest itself, and of the
pictures and the report, which may be made again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from cde_app.errors import RunError
from cde_app.machine.storage import TEMPORARY_PREFIX, file_hash, write_atomically
from cde_app.runs.contents import RUN_ENTRIES, SUMS, foreign_in_run, is_inside, readable_sums
from cde_app.runs.folder import find

UNLISTED_ENTRIES = frozenset({SUMS, "checkpoints", ".lock"})


def listed_files(folder: Path) -> dict[str, Path]:
    """Return the files of a run that have a line, by their name in the run, sorted."""
    found = {}
    for entry in sorted(RUN_ENTRIES - UNLISTED_ENTRIES):
        top = find(folder, entry)
        for file in [top] if not top.is_dir() else sorted(top.rglob("*")):
            if (file.is_file() or file.is_symlink()) and not file.name.startswith(TEMPORARY_PREFIX):
                found[entry if file == top else f"{entry}/{file.relative_to(top)}"] = file
    return found


def text_of_sums(folder: Path, contents: Mapping[str, bytes] | None = None) -> str:
    """Return the text of the file for what is cde's in the folder, and for contents that are not written yet."""
    foreign = foreign_in_run(folder)
    hashes = {name: file_hash(file) for name, file in listed_files(folder).items() if name not in foreign}
    hashes |= {name: hashlib.sha256(content).hexdigest() for name, content in (contents or {}).items()}
    return render_sums(hashes)


def render_sums(hashes: Mapping[str, str]) -> str:
    """Return the text of the file for hashes by name."""
    return "".join(f"{content}  {name}\n" for name, content in sorted(hashes.items()))


def read_sums(folder: Path) -> dict[str, str]:
    """Return the hashes by name; empty for a run of an older cde, which has no such file.

    Raises:
        RunError: the file cannot be read, or has another form.
    """
    file = find(folder, SUMS)
    if not file.exists():
        return {}
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        found = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines[:-1]]
    except (OSError, UnicodeDecodeError):
        lines, found = [""], []
    sums = {match[2]: match[1] for match in found if match is not None}
    if lines[-1] or len(sums) < len(lines) - 1 or list(sums) != sorted(sums) or not all(map(is_inside, sums)):
        raise RunError(f"{file}: expected lines of a SHA-256 and a name; got others. Draw the pictures again.")
    return sums


def announce(folder: Path, name: str, content: bytes) -> None:
    """Give a file its line before it is written, which says that it is cde's also if the process dies on the way.

    Args:
        folder: the folder of a run or a study.
        name: of the file in it.
        content: what is about to be written.

    Raises:
        RunError: the line cannot be written.
    """
    file, line = find(folder, SUMS), {name: hashlib.sha256(content).hexdigest()}
    write_atomically(file, render_sums(readable_sums(file.parent) | line).encode())
