"""The lock of a folder: one process writes it at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path

from cde_app.errors import RunError
from cde_app.machine.storage import writing

NAME = ".lock"
HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
"""What a system answers if another process holds a lock."""
WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What it answers if the file system has no locks."""
MOST_BYTES = 300
"""Of the text in the file: the process ID and the name of the machine."""


def take_lock(folder: Path, *, named: Path | None = None, wait: bool = False) -> int:
    """Become the only writer of a folder.

    It is a lock of the system (flock), which ends with the process in any case; the file holds the process ID and the
    machine for the message.

    Args:
        folder: the folder.
        named: the folder's name in the message.
        wait: wait for another writer.

    Returns:
        The open descriptor that holds the lock.

    Raises:
        RunError: another process holds it, a file that is not a lock has its name, or the file system has no locks or
            refuses this one.
    """
    path = folder / NAME
    while True:
        with writing(folder, "a folder that can be written"):
            lock, is_new = _open(path)
        try:
            _wait_for(lock, path, named or folder, is_new=is_new, wait=wait)
            with writing(folder, "a folder that can be written"):
                # The holder before us may have removed the file, or renamed its folder, after we opened it.
                if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
                    _sign(lock, path)
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _open(path: Path) -> tuple[int, bool]:
    """Open a file that is locked or will be; return its descriptor, and whether this call has made the file."""
    with contextlib.suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666), False


def _wait_for(lock: int, path: Path, named: Path, *, is_new: bool, wait: bool) -> None:
    """Lock an open file; if the system refuses to, delete it if it is new, because any other may be somebody's.

    Raises:
        RunError: another process holds it, or the file system has no locks or refuses this one.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in HELD:
            raise RunError(
                f"{named} is being written by process {_holder(lock)}; wait for it or choose another --out."
            ) from None
        if is_new:
            with contextlib.suppress(OSError):
                path.unlink()
        if error.errno in WITHOUT_LOCKS:
            raise RunError(
                f"{named}: expected a file system with locks, which keep two writers apart; got {error.strerror!r}. "
                "Choose another --out, or mount the file system with locks."
            ) from None
        with writing(named, "a folder that can be written"):
            raise


def _holder(lock: int) -> str:
    """Return the process that has signed a lock, with its machine if that is another."""
    try:
        process, _, machine = os.read(lock, MOST_BYTES).decode(errors="replace").strip().partition(" ")
    except OSError:  # SMB lets nobody read what another has locked
        process, machine = "", ""
    return (process or "unknown") + (f" on {machine}" if machine not in ("", os.uname().nodename) else "")


def _sign(lock: int, path: Path) -> None:
    """Write into a lock who holds it.

    Raises:
        RunError: it is another file.
    """
    # After a loss of power, a file may consist of zeros.
    if not re.fullmatch(rb"\0*|\d+( \S+)?\n", os.read(lock, MOST_BYTES)):
        raise RunError(f"{path}: expected a lock of cde; got another file. Move it, or choose another --out.")
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {os.uname().nodename}\n".encode()[:MOST_BYTES], 0)


def is_locked(folder: Path) -> bool:
    """Return whether a process is writing the folder; no, if the file system cannot tell."""
    try:
        lock = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in HELD
    finally:
        os.close(lock)
    return False
