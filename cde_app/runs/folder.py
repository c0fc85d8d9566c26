"""The folder of a run seen from outside: whose it is, who writes it, and how one takes the place of another."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Literal

from cde_app.errors import RunError
from cde_app.storage import TEMPORARY_PREFIX, delete

Status = Literal["running", "done", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = ("running", "done", "failed", "interrupted")
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
PREDICTION_ENTRIES = frozenset(
    {
        "manifest.json",
        "summary.csv",
        "summary.parquet",
        "samples.csv",
        "samples.parquet",
        "mixture.npz",
        "plots",
    }
)


def status(folder: Path) -> Status | None:
    """Return the word in a folder's STATUS; None if it has none, which is how a folder that is no run is known."""
    try:
        word = (folder / "STATUS").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return next((known for known in STATUSES if known == word), None)


def is_finished(folder: Path) -> bool:
    """Say whether a folder is a run that is done, manifest included."""
    return status(folder) == "done" and (folder / "manifest.json").exists()


def partial(path: Path) -> Path:
    """Return the folder in which the successor of a finished run grows."""
    return path.with_name(path.name + ".partial")


def unfinished(path: Path) -> Path | None:
    """Return the folder of a training that can go on: the successor's if there is one, else the run's, else None."""
    candidates = (folder for folder in (partial(path), path) if status(folder) and not is_finished(folder))
    return next(candidates, None)


def has_checkpoint(path: Path) -> bool:
    """Say whether an unfinished training of this run could go on from a checkpoint."""
    folder = unfinished(path)
    return folder is not None and any(file.is_file() for file in (folder / "checkpoints").rglob("[!.]*"))


def check_is_run(path: Path) -> None:
    """Check that a folder is a run, finished or not.

    Raises:
        RunError: it is missing, or something else.
    """
    if not path.exists():
        raise RunError(f"{path}: expected a run directory; got nothing. Train one with: cde train CONFIG --out {path}")
    if status(path) is None:
        what = "a folder without a valid STATUS" if path.is_dir() else "a file"
        raise RunError(f"{path}: expected a run directory; got {what}. Check the path.")


def claim(path: Path, *, overwrite: bool) -> tuple[Path, int]:
    """Make and lock the folder in which a run may grow; what it holds is left to `clear`.

    Returns:
        The folder, which is `path` or, in place of a finished run, its `.partial` neighbour; the lock's descriptor.

    Raises:
        RunError: there are contents that may not be replaced, or another process is writing.
    """
    settle(path)
    for candidate in (path, partial(path)):
        _check_replaceable(candidate, path, overwrite=overwrite)
    folder = partial(path) if is_finished(path) else path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: expected a folder that can be made; got {error.strerror!r}.") from error
    lock = take_lock(folder)
    try:
        _check_replaceable(folder, path, overwrite=overwrite)
    except RunError:
        os.close(lock)
        raise
    _discard_leftovers(folder)
    return folder, lock


def clear(folder: Path, path: Path) -> None:
    """Delete what earlier trainings of a run left in a claimed folder, and beside it.

    Raises:
        RunError: another process is writing beside it.
    """
    if folder == path:
        _discard_unlocked(partial(path))
    _discard_contents(folder)


def check_predictions(path: Path, *, overwrite: bool) -> None:
    """Check that predictions may be written to a folder; touch nothing.

    Raises:
        RunError: the folder has contents and `overwrite` is not given, or some of them are no predictions.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} exists and is not a folder; choose another --out.")
    names = _entries(path)
    if names and not overwrite:
        raise RunError(f"{path} exists and is not empty; choose another --out, or pass --overwrite.")
    if foreign := sorted(names - PREDICTION_ENTRIES):
        raise RunError(f"{path}: expected only predictions; got {foreign[0]!r}. Move it, or choose another --out.")


def discard_predictions(path: Path) -> None:
    """Delete the predictions that a folder holds, manifest first."""
    for name in sorted(_entries(path) & PREDICTION_ENTRIES, key=lambda name: name != "manifest.json"):
        delete(path / name)


def take_lock(folder: Path) -> int:
    """Become the only writer of a folder.

    The lock is the system's (flock), so that it ends with the process however that ends; the file holds the process's
    number for the message.

    Returns:
        The open descriptor that holds the lock.

    Raises:
        RunError: another process holds it.
    """
    path = folder / ".lock"
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            writer = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise RunError(
                f"{folder} is being written by process {writer}; wait for it or choose another --out."
            ) from None
        # The holder before us may have removed the file, or renamed its folder, after we opened it.
        if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
            os.truncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock
        os.close(lock)


def is_locked(folder: Path) -> bool:
    """Say whether a process is writing the folder."""
    try:
        lock = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def publish(folder: Path, path: Path) -> None:
    """Put a finished run in its place, and delete the one that was there."""
    if folder == path:
        return
    previous = _previous(path)
    discard(previous)
    if path.exists():
        os.rename(path, previous)
    os.rename(folder, path)
    discard(previous)


def settle(path: Path) -> None:
    """Complete what a process that died while two runs changed places has left."""
    successor, previous = partial(path), _previous(path)
    if is_locked(successor):
        return
    if is_finished(successor):
        publish(successor, path)
    elif previous.exists() and not path.exists():
        os.rename(previous, path)
    elif previous.exists():
        discard(previous)


def discard(folder: Path) -> None:
    """Delete a run; a file in the folder that is no run's stays, and the folder with it."""
    _discard_contents(folder)
    _discard_leftovers(folder)
    leave(folder)


def leave(folder: Path) -> None:
    """Give up a folder that was claimed, and delete it if it is empty."""
    delete(folder / ".lock")
    with contextlib.suppress(OSError):
        folder.rmdir()


def _discard_contents(folder: Path) -> None:
    """Delete what a run has written; STATUS last, so that a crash leaves a folder that is still known as a run."""
    for name in sorted(os.listdir(folder) if folder.is_dir() else (), key=lambda name: name == "STATUS"):
        if name in RUN_ENTRIES - {".lock"}:
            delete(folder / name)


def _discard_leftovers(folder: Path) -> None:
    """Delete the temporary files of a process that was killed."""
    for entry in folder.glob(f"{TEMPORARY_PREFIX}*"):
        delete(entry)


def _discard_unlocked(folder: Path) -> None:
    """Delete a run that nobody is writing."""
    if folder.exists():
        lock = take_lock(folder)
        discard(folder)
        os.close(lock)


def _check_replaceable(folder: Path, path: Path, *, overwrite: bool) -> None:
    """Check that a folder is absent, empty, or a run that may be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} exists and is not a folder; choose another --out.")
    names = _entries(folder) - {".lock"}
    if not names:
        return
    if not overwrite and folder != path:
        raise RunError(f"{folder} holds an unfinished training of {path}; pass --resume or --overwrite.")
    if not overwrite:
        options = "--overwrite" if is_finished(folder) else "--overwrite or --resume"
        raise RunError(f"{path} exists and is not empty; choose another --out, or pass {options}.")
    if status(folder) is None:
        raise RunError(f"{folder} exists and is not a run, so that --overwrite spares it; choose another --out.")
    if foreign := sorted(names - RUN_ENTRIES):
        raise RunError(f"{folder}: expected only a run's files; got {foreign[0]!r}. Move it, or choose another --out.")


def _entries(folder: Path) -> set[str]:
    """Return the names in a folder, temporary files left out; empty if there is no folder."""
    if not folder.is_dir():
        return set()
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith(TEMPORARY_PREFIX)}


def _previous(path: Path) -> Path:
    """Return where a finished run waits while its successor takes its place."""
    return path.with_name(path.name + ".previous")
