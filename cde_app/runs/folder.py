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
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from cde_app.errors import RunError
from cde_app.machine.storage import TEMPORARY_PREFIX, delete, make_folder, sync_folder, writing
from cde_app.runs.contents import (
    ARRIVING,
    MANIFEST,
    NEXT,
    PREDICTION_ENTRIES,
    REPLACED,
    RUN_ENTRIES,
    SUMS,
    check_only,
    entries_of,
    foreign_in_predictions,
    foreign_in_run,
)
from cde_app.runs.lock import NAME as LOCK
from cde_app.runs.lock import take_lock

Status = Literal["running", "done", "failed", "interrupted"]
STATUSES: tuple[Status, ...] = ("running", "done", "failed", "interrupted")


def find(folder: Path, name: str) -> Path:
    """Return the path of a file of the contents, which need not exist: in the folder or in a complete successor."""
    if (folder / NEXT / "manifest.json").exists():
        return folder / NEXT / name
    waiting = folder / ARRIVING / name
    return waiting if waiting.exists() else folder / name


def status(folder: Path) -> Status | None:
    """Return the word in a folder's STATUS; None if there is no valid one, so that the folder is not a run."""
    with contextlib.suppress(OSError):
        return _status_in(find(folder, "STATUS"))
    return None


def _status_in(file: Path) -> Status | None:
    try:
        word = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return next((known for known in STATUSES if known == word), None)


def check_is_outside(path: Path) -> None:
    """Check that a folder is no run and in none, so that nothing is written over what a training has made.

    Raises:
        RunError: it is.
    """
    if status(path) is not None:
        raise RunError(f"{path} is a run; choose another --out.")
    check_is_in_no_run(path)


def check_is_in_no_run(path: Path, *, option: str = "--out") -> None:
    """Check that a file or folder, which may itself be a run, is in no run.

    Raises:
        RunError: it is in one; the message names the option to choose another place with.
    """
    for folder in path.resolve().parents:
        if _status_in(folder / "STATUS") is not None:  # not `status`: a run beside this may be called `.cde-next`
            raise RunError(f"{path} is in the run {folder}; choose another {option}.")


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


def claim(path: Path, *, overwrite: bool) -> tuple[Path, int, Sequence[Path]]:
    """Make and lock the folder for a new run; `clear` deletes old contents later.

    Returns:
        The folder, which is `path` or, if that is a finished run, the folder of its successor; the lock's descriptor;
        and the folders that were made for it, which `leave` and `discard` remove.

    Raises:
        RunError: there are contents that may not be replaced, or another process is writing.
    """
    while True:
        check_is_in_no_run(path)
        settle(path)
        _check_replaceable(path, overwrite=overwrite)
        folder = path / NEXT if is_finished(path) else path
        with _made(folder) as made:
            lock = take_lock(folder, named=path)
            with _released_if_it_fails(folder, lock):
                _check_replaceable(path, overwrite=overwrite)
                if is_finished(path) == (folder != path):
                    _discard_leftovers(folder)
                    return folder, lock, made
            release(folder, lock)  # another process has just finished the run


def claim_unfinished(path: Path) -> tuple[Path, int]:
    """Lock the folder of a training that can be resumed.

    Returns:
        The folder and the lock's descriptor.

    Raises:
        RunError: there is no such training, or another process is writing it.
    """
    settle(path)
    if (folder := unfinished(path)) is not None:
        lock = take_lock(folder, named=path)
        with _released_if_it_fails(folder, lock):
            if unfinished(path) == folder:
                _discard_leftovers(folder)
                return folder, lock
        release(folder, lock)  # another process has just finished it
    check_is_run(path)
    raise RunError(f"{path} is done; there is nothing to resume. Pass --overwrite to train it again.")


def clear(folder: Path) -> None:
    """Delete the files of earlier trainings in a claimed folder, and whatever is in that of a successor.

    Raises:
        RunError: another process is writing a successor there.
    """
    if (folder / NEXT).exists():
        lock = take_lock(folder / NEXT, named=folder)
        try:
            delete(folder / NEXT)
        finally:
            os.close(lock)
    if folder.name == NEXT:  # which has no files but cde's; others would move into the run
        for name in entries_of(folder) - {LOCK}:
            delete(folder / name)
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
    with _made(folder):
        lock = take_lock(folder, wait=wait)
        try:
            yield
        finally:
            release(folder, lock)


def release(folder: Path, lock: int) -> None:
    """Let another process write a folder; a lock that cannot be removed is free, too."""
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
    os.close(lock)


@contextlib.contextmanager
def _released_if_it_fails(folder: Path, lock: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        release(folder, lock)
        raise


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[Sequence[Path]]:
    """Make a folder and its parents; those that were made and are empty at the end of the block are removed again.

    Yields:
        Those that were made, the inner ones first.

    Raises:
        RunError: it cannot be made.
    """
    made = [part for part in (folder, *folder.parents) if not os.path.exists(part)]
    try:
        with writing(folder, "a folder that can be made"):
            make_folder(folder)
        yield made
    finally:
        _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the inner ones first, as far as they are there and empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


@contextlib.contextmanager
def arriving(folder: Path, *, last: str = "") -> Iterator[Path]:
    """Be the only writer of a folder during a block, whose files appear in it at the end, and none if the block fails.

    Args:
        folder: the folder, as in `held`; other files in it stay.
        last: the file that appears after all others.

    Yields:
        The folder to write them to.

    Raises:
        RunError: as `held`.
    """
    waiting = folder / f"{TEMPORARY_PREFIX}files"
    with held(folder):
        delete(waiting)  # of a process that was killed
        try:
            with writing(folder, "a folder that can be written"):
                waiting.mkdir()
            yield waiting
            files = sorted(path.relative_to(waiting) for path in waiting.rglob("*") if path.is_file())
            with writing(folder, "a folder that can be written"):
                for name in sorted(files, key=lambda name: str(name) == last):
                    make_folder((folder / name).parent)
                    os.replace(waiting / name, folder / name)
                for changed in sorted({folder, *((folder / name).parent for name in files)}):
                    sync_folder(changed)
        except RunError as error:  # its user knows the folder only
            raise RunError(*(fault.replace(str(waiting), str(folder)) for fault in error.faults)) from error
        finally:
            with contextlib.suppress(RunError):  # a first failure says more, and the next writer deletes it
                delete(waiting)


@contextlib.contextmanager
def predictions(path: Path, *, overwrite: bool, waits: bool = False) -> Iterator[Path]:
    """Hold a folder for predictions; they replace older ones at the end of the block, unless it fails.

    Args:
        path: the folder.
        overwrite: replace older predictions.
        waits: wait for another writer, if that is known to end.

    Yields:
        The folder to write them to, their manifest last.

    Raises:
        RunError: as `check_is_outside` and `check_predictions`, or another process is writing the folder.
    """
    check_is_outside(path)
    settle(path, wait=waits)
    check_predictions(path, overwrite=overwrite)
    with held(path, wait=waits):
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
                with contextlib.suppress(RunError):  # the first failure says more, and the next writer deletes it
                    delete(successor)
            raise


def check_predictions(path: Path, *, overwrite: bool) -> None:
    """Check that predictions may be written to a folder, without changing it.

    Raises:
        RunError: the folder has contents and `overwrite` is not given, or some of them are not predictions.
    """
    if os.path.exists(path) and not path.is_dir():
        raise RunError(f"{path} exists and is not a folder; choose another --out.")
    names = entries_of(path) - {LOCK}
    if names and not overwrite:
        raise RunError(f"{path} exists and is not empty; choose another --out, or pass --overwrite.")
    check_only("predictions", path, foreign_in_predictions(path))
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
            if not replaced.exists():
                _keep_foreign(path, successor)
            replaced.mkdir(exist_ok=True)
            for name in _manifest_last(entries_of(path) & (RUN_ENTRIES | PREDICTION_ENTRIES) - {LOCK})[::-1]:
                _move(path / name, replaced / name)
            os.rename(successor, arriving)
            _arrive(path)
        delete(replaced)


def _keep_foreign(path: Path, successor: Path) -> None:
    """Move what a user has put into the contents since they were checked to the successor, which has their place."""
    for name in foreign_in_run(path) if (path / "STATUS").exists() else foreign_in_predictions(path):
        if Path(name).parts[0] in RUN_ENTRIES | PREDICTION_ENTRIES and not os.path.lexists(successor / name):
            make_folder((successor / name).parent)
            os.rename(path / name, successor / name)


def _arrive(path: Path) -> None:
    """Move the entries of `.cde-arriving` into the folder."""
    arriving = path / ARRIVING
    for name in _manifest_last(entries_of(arriving) - {LOCK}):
        _move(arriving / name, path / name)
    if arriving.exists():
        sync_folder(path)  # before anything old is deleted
        delete(arriving)


def _manifest_last(names: set[str]) -> list[str]:
    return sorted(names, key=lambda name: (name == "manifest.json", name))


def _move(source: Path, target: Path) -> None:
    """Rename a file or a folder; replace whatever has the new name."""
    delete(target)
    os.rename(source, target)


# --- what may be deleted ------------------------------------------------------------------------------------------


def discard(folder: Path, made: Sequence[Path] = ()) -> None:
    """Delete a run and give it up as `leave` does; files that do not belong to it stay, and then the folder too."""
    _discard_contents(folder)
    _discard_leftovers(folder)
    leave(folder, made)


def discard_predictions(folder: Path) -> None:
    """Delete predictions and, if it is empty then, their folder; waits for another writer.

    Raises:
        RunError: they cannot be deleted.
    """
    if not folder.is_dir():
        return
    with held(folder, wait=True):
        _discard_leftovers(folder)
        delete(folder / NEXT)
        _delete_own(folder, _manifest_last(entries_of(folder) & PREDICTION_ENTRIES), foreign_in_predictions(folder))
    _remove_empty([folder])


def tidy(folder: Path) -> None:
    """Delete the checkpoints of a run that is done, and what a killed process has left; the caller holds the folder."""
    _discard_leftovers(folder)
    discard_checkpoints(folder)


def discard_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a run."""
    _delete_own(folder, ["checkpoints"], foreign_in_run(folder))


def leave(folder: Path, made: Sequence[Path] = ()) -> None:
    """Give up a folder that was claimed; remove it, and the folders that were made for it, if they are empty."""
    delete(folder / LOCK)
    _remove_empty([folder, *made])


def _discard_contents(folder: Path) -> None:
    """Delete the files of a run: those last that say what is the run's, so that this can be repeated after a crash."""
    last = (SUMS, MANIFEST, "STATUS")
    names = [*sorted(entries_of(folder) & RUN_ENTRIES - {LOCK, *last}), *last]
    _delete_own(folder, names, foreign_in_run(folder))


def _delete_own(folder: Path, names: Iterable[str], foreign: Collection[str]) -> None:
    """Delete files and folders in a folder, without what is foreign and the folders that hold it."""
    for name in names:
        if any(path.startswith(f"{name}/") for path in foreign):
            for entry in entries_of(folder / name):
                if f"{name}/{entry}" not in foreign:
                    delete(folder / name / entry)
        elif name not in foreign:
            delete(folder / name)


def _discard_leftovers(folder: Path) -> None:
    """Delete the temporary files of a process that was killed."""
    for inside in (folder, *(folder / name for name in RUN_ENTRIES)):
        for entry in list(inside.glob(f"{TEMPORARY_PREFIX}*")):
            delete(entry)


def _check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Check that a folder is absent, empty, or a run that may be overwritten."""
    if os.path.exists(path) and not path.is_dir():
        raise RunError(f"{path} exists and is not a folder; choose another --out.")
    names = entries_of(path) - {LOCK}
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
    check_only("a run's files", path, foreign_in_run(path))
