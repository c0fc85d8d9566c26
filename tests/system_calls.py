"""Every system call that changes a folder, as a place where a process may die or the system may refuse.

`watched` replaces the functions of Python that make these calls. A test sees each call before it is made: it may raise
what the system would answer, or copy the folder as a process that dies at this moment leaves it.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHANGING = ("mkdir", "rmdir", "rename", "replace", "unlink", "remove", "link", "symlink", "truncate")
NEEDS_SPACE = frozenset({"open", "write", "fsync", "mkdir", "rename", "replace", "link", "pwrite"})
"""The calls that a full disk refuses."""


@dataclass(frozen=True)
class Call:
    """A call that is about to be made."""

    number: int
    """How many were made before it."""
    name: str
    """Such as `rename`; `write` is a part of what a program writes at once."""
    path: str
    """What it changes, below the folder; temporary names have `*` for what is random."""
    site: str
    """The functions of `cde` that have led to it, the innermost last."""

    @property
    def place(self) -> tuple[str, ...]:
        """What distinguishes it in the source: where it is made, and for which kind of file."""
        return self.name, re.sub(r"(?<=scratch/).*|\d+", "N", self.path), self.site


@dataclass
class Watcher:
    """What is known of a watched folder."""

    root: Path
    before: Callable[[Call], None]
    num_calls: int = 0
    is_paused: bool = False

    def __post_init__(self) -> None:
        self.unsynced: dict[tuple[int, int], int] = {}
        """Device and inode of the files that a loss of power shortens, and to how many bytes."""

    def notice(self, name: str, path: Any, dir_fd: int | None = None) -> bool:
        """Tell the test of a call, if it concerns the folder."""
        if self.is_paused:
            return False
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        full = Path(os.fsdecode(path))
        full = Path(os.path.abspath(full if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}"), full)))
        if full != self.root and self.root not in full.parents:
            return False
        relative = re.sub(r"\.tmp-(\d+-)?(?!scratch)\w+", ".tmp-*", str(full.relative_to(self.root)))
        call = Call(self.num_calls, name, relative, _site())
        self.num_calls += 1
        with self.paused():
            self.before(call)
        return True

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the test work in the folder unnoticed."""
        was, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = was

    def copy(self, target: Path, *, loses_power: bool) -> None:
        """Copy the folder as a process leaves it that dies now.

        With `loses_power` it is what the machine leaves: files end where they were last synchronised. All names are
        there. A file system that keeps the order of its changes may also have lost the last names; that is what it
        had before an earlier call.
        """
        with self.paused():
            shutil.copytree(self.root, target, dirs_exist_ok=True)
            for path in self.root.rglob("*") if loses_power else ():
                status = path.stat()
                if (kept := self.unsynced.get((status.st_dev, status.st_ino))) is not None:
                    os.truncate(target / path.relative_to(self.root), kept)


def _site() -> str:
    """Name the functions of `cde` on the stack, from outside to inside."""
    frame, names = sys._getframe(2), list[str]()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("cde_app."):
            names.append(f"{module.rpartition('.')[2]}.{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " ".join(names[1::-1])


@contextlib.contextmanager
def watched(root: Path, before: Callable[[Call], None]) -> Iterator[Watcher]:
    """Call `before` before each call of a block that changes something in a folder.

    Args:
        root: the folder; it exists.
        before: may raise an OSError in place of the call, or anything else; what it does itself is not noticed.
    """
    watcher = Watcher(Path(os.path.abspath(root)), before)
    real_open, real_os_open, real_fsync, real_pwrite = io.open, os.open, os.fsync, os.pwrite

    class WatchedFile(io.FileIO):
        """A file that writes in two parts, as the system may do, with a call between them."""

        is_second = False

        def write(self, data: Any) -> int:
            noticed = watcher.notice("write", self.fileno())
            status = os.fstat(self.fileno())
            watcher.unsynced.setdefault((status.st_dev, status.st_ino), status.st_size)
            view = memoryview(data).cast("B")
            self.is_second = not self.is_second and len(view) > 1 and noticed
            return super().write(view[: len(view) // 2] if self.is_second else view)

    def open_file(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+") or options.get("opener") or watcher.is_paused:
            return real_open(file, mode, buffering, *arguments, **options)
        if not isinstance(file, int):
            watcher.notice("open", file)
        raw = WatchedFile(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, *arguments, **options)

    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            watcher.notice("open", path, dir_fd)
        return real_os_open(path, flags, mode, dir_fd=dir_fd)

    def fsync(file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        watcher.notice("fsync", number)
        real_fsync(number)
        status = os.fstat(number)
        watcher.unsynced.pop((status.st_dev, status.st_ino), None)

    def pwrite(file: int, data: Any, offset: int) -> int:
        watcher.notice("pwrite", file)
        return real_pwrite(file, data, offset)

    def changing(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            watcher.notice(name, path, options.get("dir_fd", options.get("src_dir_fd")))
            return real(path, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_file)
        patch.setattr(builtins, "open", open_file)
        patch.setattr(os, "open", os_open)
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "pwrite", pwrite)
        for name in CHANGING:
            patch.setattr(os, name, changing(name))
        yield watcher


def refusing(number: int) -> Callable[[Call], None]:
    """Return a disk that fails at a call once, or is full from then on, or read-only, as Linux makes a faulty one."""

    def refuse(call: Call) -> None:
        match number % 3:
            case 0 if call.number == number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case 1 if call.number >= number and call.name in NEEDS_SPACE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case 2 if call.number >= number:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    return refuse


def calls_of(root: Path, work: Callable[[], Any]) -> list[Call]:
    """Do something and return the calls with which it has changed a folder."""
    calls = list[Call]()
    with watched(root, calls.append):
        work()
    return calls


def choose_calls(calls: list[Call], *, most: int, seed: int) -> list[int]:
    """Choose calls at random, sorted: one of each place that they are made from, then other ones, up to a number."""
    import numpy as np

    shuffled = [calls[place] for place in np.random.default_rng(seed).permutation(len(calls))]
    first = {call.place: call.number for call in reversed(shuffled)}
    others = [call.number for call in shuffled if first[call.place] != call.number]
    return sorted([*first.values(), *others][:most])
