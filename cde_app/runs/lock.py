"""The lock of a folder: one process writes it at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cde_app.errors import RunError
from cde_app.machine.storage import writing


def take_lock(folder: Path, *, named: Path | None = None, wait: bool = False) -> int:
    """Become the only writer of a folder.

    It is a lock of the system (flock), which ends with the process in any case; the file holds the process ID for the
    message.

    Args:
        folder: the folder.
        named: the folder's name in the message.
        wait: wait for another writer.

    Returns:
        The open descriptor that holds the lock.

    Raises:
        RunError: another process holds it, or a file that is not a lock has its name.
    """
    path = folder / ".lock"
    while True:
        with writing(folder, "a folder that can be written"):
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            writer = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise RunError(
                f"{named or folder} is being written by process {writer}; wait for it or choose another --out."
            ) from None
        # The holder before us may have removed the file, or renamed its folder, after we opened it.
        if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
            if os.read(lock, 32).strip(b"0123456789\n"):
                os.close(lock)
                raise RunError(f"{path}: expected a lock of cde; got another file. Move it, or choose another --out.")
            os.truncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock
        os.close(lock)


def is_locked(folder: Path) -> bool:
    """Return whether a process is writing the folder."""
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
