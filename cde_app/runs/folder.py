"""A folder that cde writes: what it is, which process writes it, and how new contents replace the old ones.

Everything that belongs to a folder is inside it, under names that begin with `.cde-`:

- `.cde-next`: the successor of the contents, while it is written; it is complete once it has its `manifest.json`;
- `.cde-arriving`: a successor whose entries are being moved into the folder, its manifest last;
- `.cde-replaced`: the old contents, which are being moved out of the folder, their manifest first.

`settle` does all steps that turn a successor into the contents. The process may die at any of them: `find` locates
every file of a complete successor, and the next writer of the folder finishes the steps. Readers never move anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from cde_app.errors import RunError
from cde_app.machine.storage import TEMPORARY_PREFIX, delete, writing
from cde_app.runs.lock import take_lock

Status = Literal["running", "done", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = ("running", "done", "failed", "interrupted")
NEXT, ARRIVING, REPLACED = ".cde-next", ".cde-arriving", ".cde-replaced"
RUN_ENTRIES = frozenset(
    {
        "STATUS",
        "manifest.json",
        "config.yaml",
        "config.source.yaml",
        "columns.json",
        "posterior",
        "checkpoints",
        "baselines.npz",
        "split.npz",
        "history.jsonl",
        "metrics.json",
        "plots",
        "report.html",
        "log.txt",
        ".lock",
    }
)
PREDICTION_TABLES = ("summary", "samples", "densities", "hdi", "modes", "totals")
PREDICTION_ENTRIES = frozenset(
    {
        "manifest.json",
        *(f"{name}.{kind}" for name in PREDICTION_TABLES for kind in ("csv", "parquet")),
        "mixture.npz",
        "plots",
    }
)


def find(folder: Path, name: str) -> Path:
    """Return the path of a file of the contents, which need not exist: in the folder or in a complete successor."""
    if (folder / NEXT / "manifest.json").exists():
        return folder / NEXT / name
    waiting = folder / ARRIVING / name
    return waiting if waiting.exists() else folder / name


def status(folder: Path) -> Status | None:
    """Return the word in a folder's STATUS; None if there is no valid one, so that the folder is not a run."""
    try:
        word = find(folder, "STATUS").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return next((known for known in STATUSES if known == word), None)


def is_finished(folder: Path) -> bool:
    """Return whether a folder is a run that is done and has its manifest."""
    return status(folder) == "done" and find(folder, "manifest.json").exists()


def unfinished(path: Path) -> Path | None:
    """Return the folder of a training that can be resumed: the successor's, else the run's, else None."""
    candidates = (folder for folder in (path / NEXT, path) if status(folder) and not is_finished(folder))
    return next(candidates, None)


def has_checkpoint(path: Path) -> bool:
    """Return whether an unfinished training of this run can be resumed from a checkpoint."""
    folder = unfinished(path)
    return folder is not None and any(file.is_file() for file in (folder / "checkpoints").rglob("[!.]*"))


def check_is_run(path: Path) -> None:
    """Check that a folder is a run, finished or not.

    Raises:
        RunError: it is missing or not a run.
    """
    if not os.path.exists(path):
        raise RunError(f"{path}: expected a run directory; got nothing. Train one with: cde train CONFIG --out {path}")
    if status(path) is None:
        what = "a folder without a valid STATUS" if path.is_dir() else "a file"
        raise RunError(f"{path}: expected a run directory; got {what}. Check the path.")


# --- one writer ---------------------------------------------------------------------------------------------------


def claim(path: Path, *, overwrite: bool) -> tuple[Path, int]:
    """Make and lock the folder for a new run; `clear` deletes old contents later.

    Returns:
        The folder, which is `path` or, if that is a finished run, the folder of its successor; the lock's descriptor.

    Raises:
        RunError: there are contents that may not be replaced, or another process is writing.
    """
    while True:
        settle(path)
        _check_replaceable(path, overwrite=overwrite)
        folder = path / NEXT if is_finished(path) else path
        with writing(folder, "a folder that can be made"):
            folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder, named=path)
        try:
            _check_replaceable(path, overwrite=overwrite)
        except RunError:
            os.close(lock)
            raise
        if is_finished(path) == (folder != path):
            break
        os.close(lock)  # another process has just finished the run
    _discard_leftovers(folder)
    return folder, lock


def claim_unfinished(path: Path) -> tuple[Path, int]:
    """Lock the folder of a training that can be resumed.

    Returns:
        The folder and the lock's descriptor.

    Raises:
        RunError: there is no such training, or another process is writing it.
    """
    settle(path)
    folder = unfinished(path)
    lock = None if folder is None else take_lock(folder, named=path)
    if folder is None or lock is None or unfinished(path) != folder:
        if lock is not None:  # another process has just finished it
            os.close(lock)
        check_is_run(path)
        raise RunError(f"{path} is done; there is nothing to resume. Pass --overwrite to train it again.")
    return folder, lock


def clear(folder: Path) -> None:
    """Delete the files of earlier trainings in a claimed folder.

    Raises:
        RunError: another process is writing a successor there.
    """
    if (folder / NEXT).exists():
        lock = take_lock(folder / NEXT, named=folder)
        delete(folder / NEXT)
        os.close(lock)
    _discard_contents(folder)


@contextlib.contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Be the only writer of a folder during a block.

    The folder is created if it is missing. If it is empty at the end of the block, it is removed again, with the
    parents that were created.

    Args:
        folder: the folder.
        wait: wait for another writer, if that is known to be quick.

    Raises:
        RunError: another process is writing the folder, or it cannot be created.
    """
    made = [part for part in (folder, *folder.parents) if not os.path.exists(part)]
    try:
        with writing(folder, "a folder that can be written"):
            folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder, wait=wait)
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)
            os.close(lock)
    finally:
        with contextlib.suppress(OSError):  # not empty
            for part in made:
                part.rmdir()


@contextlib.contextmanager
def predictions(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Hold a folder for predictions; they replace older ones at the end of the block, unless it fails.

    Yields:
        The folder to write them to, their manifest last.

    Raises:
        RunError: as `check_predictions`, or another process is writing the folder.
    """
    settle(path)
    check_predictions(path, overwrite=overwrite)
    with held(path):
        _settle(path)
        check_predictions(path, overwrite=overwrite)
        _discard_leftovers(path)
        successor = path / NEXT
        delete(successor)
        try:
            with writing(path, "a folder that can be written"):
                successor.mkdir()
            yield successor
            _settle(path)
        except BaseException:
            if not (successor / "manifest.json").exists():
                delete(successor)
            raise


def check_predictions(path: Path, *, overwrite: bool) -> None:
    """Check that predictions may be written to a folder, without changing it.

    Raises:
        RunError: the folder has contents and `overwrite` is not given, or some of them are not predictions.
    """
    if os.path.exists(path) and not path.is_dir():
        raise RunError(f"{path} exists and is not a folder; choose another --out.")
    names = _entries(path) - {".lock"}
    if names and not overwrite:
        raise RunError(f"{path} exists and is not empty; choose another --out, or pass --overwrite.")
    if foreign := sorted(names - PREDICTION_ENTRIES):
        raise RunError(f"{path}: expected only predictions; got {foreign[0]!r}. Move it, or choose another --out.")
    if names and "manifest.json" not in names:
        some = sorted(names)[0]
        raise RunError(f"{path}: expected predictions with their manifest; got only {some!r}. Choose another --out.")
    if status(path / NEXT):
        raise RunError(f"{path} holds an unfinished training; choose another --out.")


# --- from a successor to contents ---------------------------------------------------------------------------------


def settle(path: Path, *, wait: bool = False) -> None:
    """Replace the contents by a complete successor, also if a process has died during this.

    Args:
        path: the folder.
        wait: wait for another writer.

    Raises:
        RunError: another process is writing the folder.
    """
    if any((path / name).exists() for name in (f"{NEXT}/manifest.json", ARRIVING, REPLACED)):
        with held(path, wait=wait):
            _settle(path)


def _settle(path: Path) -> None:
    """Do the work of `settle`; the caller holds the folder."""
    # Entries move one by one and the folder itself is never renamed, so that `--out .`, links and mount points work.
    successor, arriving, replaced = (path / name for name in (NEXT, ARRIVING, REPLACED))
    with writing(path, "a folder that can be written"):
        _arrive(path)
        if (successor / "manifest.json").exists():
            replaced.mkdir(exist_ok=True)
            for name in _manifest_last(_entries(path) & (RUN_ENTRIES | PREDICTION_ENTRIES) - {".lock"})[::-1]:
                _move(path / name, replaced / name)
            os.rename(successor, arriving)
            _arrive(path)
        delete(replaced)


def _arrive(path: Path) -> None:
    """Move the entries of `.cde-arriving` into the folder."""
    arriving = path / ARRIVING
    for name in _manifest_last(_entries(arriving) - {".lock"}):
        _move(arriving / name, path / name)
    delete(arriving)


def _manifest_last(names: set[str]) -> list[str]:
    return sorted(names, key=lambda name: (name == "manifest.json", name))


def _move(source: Path, target: Path) -> None:
    """Rename a file or a folder; replace whatever has the new name."""
    delete(target)
    os.rename(source, target)


# --- what may be deleted ------------------------------------------------------------------------------------------


def discard(folder: Path) -> None:
    """Delete a run; files that do not belong to it stay, and then the folder stays too."""
    _discard_contents(folder)
    _discard_leftovers(folder)
    leave(folder)


def leave(folder: Path) -> None:
    """Give up a folder that was claimed, and delete it if it is empty."""
    delete(folder / ".lock")
    with contextlib.suppress(OSError):
        folder.rmdir()


def _discard_contents(folder: Path) -> None:
    """Delete the files of a run; STATUS last, so that after a crash the folder is still recognised as a run."""
    for name in sorted(os.listdir(folder) if folder.is_dir() else (), key=lambda name: name == "STATUS"):
        if name in RUN_ENTRIES - {".lock"}:
            delete(folder / name)


def _discard_leftovers(folder: Path) -> None:
    """Delete the temporary files of a process that was killed."""
    for entry in folder.glob(f"{TEMPORARY_PREFIX}*"):
        delete(entry)


def _check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Check that a folder is absent, empty, or a run that may be overwritten."""
    if os.path.exists(path) and not path.is_dir():
        raise RunError(f"{path} exists and is not a folder; choose another --out.")
    names = _entries(path) - {".lock"}
    can_resume = unfinished(path) is not None
    if not names and can_resume and not overwrite:
        raise RunError(f"{path} holds an unfinished training; pass --resume or --overwrite.")
    if not names:
        return
    if not overwrite:
        options = "--overwrite" if is_finished(path) and not can_resume else "--overwrite or --resume"
        raise RunError(f"{path} exists and is not empty; choose another --out, or pass {options}.")
    if status(path) is None:
        raise RunError(f"{path} exists and is not a run, so --overwrite does not replace it; choose another --out.")
    if foreign := sorted(names - RUN_ENTRIES):
        raise RunError(f"{path}: expected only a run's files; got {foreign[0]!r}. Move it, or choose another --out.")


def _entries(folder: Path) -> set[str]:
    """Return the names in a folder, without temporary files and successors; empty if there is no folder."""
    if not folder.is_dir():
        return set()
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(TEMPORARY_PREFIX)}
    return names - {NEXT, ARRIVING, REPLACED}
