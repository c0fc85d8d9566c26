"""A folder of several runs: the folds of a cross-validation, or the trials of a sweep.

`study.json` is written before the first run: what makes the study the same. A command continues the study that it has
begun and refuses any other. Each run is in a folder of its own, and `manifest.json` is written last.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cde_app.errors import RunError
from cde_app.machine.storage import TEMPORARY_PREFIX, delete, to_jsonable, write_atomically, write_json, writing
from cde_app.runs import folder as run_folder
from cde_app.runs.contents import MANIFEST, SUMS, check_only, foreign, foreign_in_run
from cde_app.runs.sums import announce

FACTS = "study.json"


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    Args:
        noun: such as `cross-validation`.
        run: the part of a run's name before its number, such as `fold`.
        results: the names of the files that the study writes besides its runs and pictures.
    """

    noun: str
    run: str
    results: frozenset[str]

    def is_run(self, name: str) -> bool:
        """Return whether a folder of this name is one of the study's runs."""
        return re.fullmatch(rf"{self.run}-\d+", name) is not None


@contextlib.contextmanager
def opened(path: Path, kind: Kind, facts: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
    """Be the only writer of a new or continued study during a block.

    Args:
        path: its folder.
        kind: what it is.
        facts: what makes it the same: name -> value, and `inputs`, the hashes of the table.
        overwrite: delete what the folder has of another study of this kind.

    Raises:
        RunError: the folder is or has something else, has a study with other facts, or is being written.
    """
    facts = json.loads(json.dumps(to_jsonable({"kind": kind.noun, **facts})))
    with _claimed(path, kind, facts, overwrite=overwrite):
        if overwrite:
            _clear(path, kind)
        delete(path / MANIFEST)
        write_json(path / FACTS, facts)
        yield


@contextlib.contextmanager
def _claimed(path: Path, kind: Kind, facts: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
    """Check the folder before it is held, so that a refused one stays as it is, and again when it is."""
    check(path, kind, facts, overwrite=overwrite)
    with run_folder.held(path):
        check(path, kind, facts, overwrite=overwrite)
        yield


def check(path: Path, kind: Kind, facts: Mapping[str, Any], *, overwrite: bool) -> None:
    """Check that a study may be written to a folder, without changing it; see `opened`.

    Raises:
        RunError: it may not.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} exists and is not a folder; choose another --out.")
    run_folder.check_is_outside(path)
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    names = {name for name in names if name != ".lock" and not name.startswith(TEMPORARY_PREFIX)}
    if not names:
        return
    begun = _read_facts(path)
    if begun.get("kind") != kind.noun:
        what = f"holds a {begun['kind']}" if "kind" in begun else f"exists and is no {kind.noun}"
        raise RunError(f"{path} {what}; choose another --out.")
    runs = {name for name in names if kind.is_run(name) and (path / name).is_dir()}
    others = foreign(path, kind.results | {FACTS, MANIFEST, SUMS, "plots"})
    check_only(f"a {kind.noun}", path, [name for name in others if name not in runs])
    if not overwrite:
        _check_same(path, begun, facts)
        return
    for name in sorted(runs):
        check_only("a run's files", path / name, foreign_in_run(path / name))


def _check_same(path: Path, begun: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to continue a study with other facts."""
    advice = "Choose another --out, or pass --overwrite."
    if begun.get("inputs") != facts["inputs"]:
        raise RunError(f"{path}: expected the table that it was begun with; got different content. {advice}")
    changed = [name for name in {**begun, **facts} if begun.get(name) != facts.get(name)]
    if changed:
        name, more = changed[0], f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise RunError(
            f"{path}: expected the settings that it was begun with; got {name} {facts.get(name)!r}, which was "
            f"{begun.get(name)!r}{more}. {advice}"
        )


def _read_facts(path: Path) -> dict[str, Any]:
    """Read `study.json`; {} if it is missing or damaged, so that the folder is no study."""
    try:
        return dict(json.loads((path / FACTS).read_bytes()))
    except (OSError, ValueError):
        return {}


def _clear(path: Path, kind: Kind) -> None:
    """Delete a study: its manifest first, what says which pictures and runs are its own last."""
    with writing(path, "a folder that can be written"):
        names = {entry.name for entry in path.iterdir()}
        for name in sorted(names, key=lambda name: (name != MANIFEST, name == FACTS, name == SUMS)):
            if kind.is_run(name):
                run_folder.discard(path / name)
            elif name in kind.results | {FACTS, MANIFEST, SUMS, "plots"}:
                delete(path / name)


def write_picture(path: Path, name: str, content: bytes) -> Path:
    """Write a picture of a study that is open; SHA256SUMS says that it is the study's.

    Raises:
        RunError: it cannot be written.
    """
    announce(path, f"plots/{name}", content)
    return write_atomically(path / "plots" / name, content)
