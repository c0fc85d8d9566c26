"""The run directory: the only code that makes, locks, fills, checks and opens one.

A new run grows in its own place. With `overwrite`, a finished run stays in service while its successor grows inside
it (see `folder`), and is replaced when the successor is done. A training that fails or is killed therefore never costs
a finished run, and nothing has to be restored.

`manifest.json` is written last, so that whoever waits for that file never takes a half-made run for a done one. A
training that ends before its first checkpoint leaves nothing behind. The lock dies with its process, so that a killed
run is free for `resume`. Only entries named in `folder.RUN_ENTRIES` are ever written or
deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from cde_app import storage
from cde_app.arrays import AnyArray
from cde_app.errors import RunError
from cde_app.runs import checks as run_checks
from cde_app.runs import folder as run_folder
from cde_app.runs.checks import FORMAT_VERSION
from cde_app.runs.folder import RUN_ENTRIES, Status
from cde_app.runs.provenance import provenance
from cde_app.storage import TEMPORARY_PREFIX, delete, file_hash, to_jsonable

REWRITABLE_ENTRIES = frozenset({"plots", "report.html"})
SECONDS_TO_CHANGE_PLACES = 0.1
"""After which a run whose successor has just taken its place can be read."""
UNHASHED_ENTRIES = REWRITABLE_ENTRIES | {"STATUS", "manifest.json", "log.txt", "checkpoints", ".lock"}


class Run:
    """A run directory.

    Attributes:
        path: where the user wants the run.
        folder: where it grows: inside `path` while it succeeds a finished run, else `path`.
    """

    def __init__(self, path: Path, folder: Path, lock: int | None, *, replaces: bool = False) -> None:
        self.path = path
        self.folder = folder
        self._lock = lock
        self._replaces = replaces
        self._has_begun = False
        self._made_parents: list[Path] = []
        self._hashes: dict[str, str] = {}

    # --- beginning ------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> Run:
        """Claim an empty or absent folder for a run, or with `overwrite` that of another run.

        The run begins when it is first written to; what was there before stays untouched until then.

        Raises:
            RunError: the folder has contents and `overwrite` is not given, is no run, holds files that are not a
                run's, or is being written by another process.
        """
        path = Path(path)
        parents = [parent for parent in path.parents if not parent.exists()]
        folder, lock = run_folder.claim(path, overwrite=overwrite)
        run = cls(path, folder, lock, replaces=True)
        run._made_parents = parents
        return run

    @classmethod
    def resume(cls, path: Path) -> Run:
        """Go on with a run that was interrupted, failed or killed; it stays so until it is first written to.

        Raises:
            RunError: there is no such run, it is done, or another process is writing it.
        """
        path = Path(path)
        return cls(path, *run_folder.claim_unfinished(path))

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a finished run for reading; only its plots and its report may be written, by who holds it (`held`).

        Raises:
            RunError: the run is missing, not a run, incomplete, corrupt or from a newer format.
        """
        path = Path(path)
        try:
            hashes = run_checks.check_run(path)
        except RunError:
            time.sleep(SECONDS_TO_CHANGE_PLACES)
            hashes = run_checks.check_run(path)
        run = cls(path, path, None)
        run._hashes = hashes
        return run

    # --- writing --------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        """Return the path of one of the run's files, which need not exist yet.

        Raises:
            ValueError: the name is no part of a run (see `folder.RUN_ENTRIES`).
        """
        parts = Path(name).parts
        if not parts or parts[0] not in RUN_ENTRIES or ".." in parts:
            raise ValueError(f"{name!r} is no part of a run; its first part must be in folder.RUN_ENTRIES")
        return run_folder.find(self.folder, name)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who writes the plots and the report of a finished run, for the length of a block.

        Raises:
            RunError: another process is writing the run.
        """
        run_folder.settle(self.path)
        with run_folder.held(self.path):
            yield

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of the run in one step: it has the old content or the new one, never a part."""
        return storage.write_atomically(self._writable(name), content)

    def write_text(self, name: str, text: str) -> Path:
        """Write a UTF-8 text file of the run."""
        return self.write_bytes(name, text.encode())

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file of the run; numbers that are not finite become null."""
        return storage.write_json(self._writable(name), value)

    def write_arrays(self, name: str, arrays: Mapping[str, AnyArray]) -> Path:
        """Write arrays as an `.npz` file; the same arrays give the same bytes, and no pickle is written.

        Raises:
            ValueError: an array holds Python objects.
        """
        return storage.write_arrays(self._writable(name), arrays)

    def append_history(self, entry: Mapping[str, Any]) -> None:
        """Append one line to `history.jsonl`; `history` skips a last line that a crash has cut off."""
        self._append("history.jsonl", json.dumps(to_jsonable(entry), allow_nan=False) + "\n")

    def rewind_history(self, place: tuple[int, int]) -> None:
        """Drop the history after a place (training, step), which a resumed run is about to write again."""
        kept = [entry for entry in self.history() if (entry["training"], entry["step"]) <= place]
        self.write_text("history.jsonl", "".join(json.dumps(entry) + "\n" for entry in kept))

    def log(self, message: str) -> None:
        """Append a line with the time to `log.txt`."""
        self._append("log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make an empty folder for what the writing needs on disk meanwhile; the end of the block deletes it.

        A process that is killed leaves it to the next one that writes the run.
        """
        folder = self.folder / f"{TEMPORARY_PREFIX}scratch"
        delete(folder)
        try:
            with storage.writing(folder, "a folder that can be made"):
                folder.mkdir()
            yield folder
        finally:
            delete(folder)

    def remove(self, name: str) -> None:
        """Delete a file or folder of the run, if it is there."""
        delete(self.file(name))

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status | None:
        """The word in STATUS."""
        return run_folder.status(self.folder)

    def has(self, name: str) -> bool:
        """Return whether the run has this file."""
        return self.file(name).exists()

    def files(self, name: str) -> list[Path]:
        """Return the files that a name stands for, sorted: the file itself, or all below the folder; [] if none."""
        top = self.file(name)
        found = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
        return sorted(path for path in found if not path.name.startswith(TEMPORARY_PREFIX))

    def read_bytes(self, name: str) -> bytes:
        """Read a file of the run.

        Raises:
            RunError: the file is missing, or no longer what it was when the run was opened.
        """
        for _ in range(2):  # between finding and reading a successor may have moved the file
            with contextlib.suppress(FileNotFoundError):
                content = self.file(name).read_bytes()
                break
        else:
            raise RunError(f"{self.file(name)}: expected a file of the run; got nothing. Train the run again.")
        if name in self._hashes and hashlib.sha256(content).hexdigest() != self._hashes[name]:
            raise RunError(
                f"{self.path}: expected a run that stays as it is; got one that was replaced while it was read. "
                "Start the command again."
            )
        return content

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run.

        Raises:
            RunError: the file is missing or no JSON.
        """
        try:
            return json.loads(self.read_bytes(name))
        except ValueError as error:
            raise RunError(f"{self.file(name)}: expected JSON; got {error}. Train the run again.") from None

    def read_arrays(self, name: str) -> dict[str, AnyArray]:
        """Read an `.npz` file of the run; a pickle in it is refused.

        Raises:
            RunError: the file is missing or corrupt.
        """
        try:
            with np.load(io.BytesIO(self.read_bytes(name)), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(f"{self.file(name)}: expected arrays; got {error}. Train the run again.") from None

    def history(self) -> list[dict[str, Any]]:
        """Return the entries of `history.jsonl`; [] if there are none."""
        if not self.has("history.jsonl"):
            return []
        lines = self.read_bytes("history.jsonl").split(b"\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a finished run."""
        return dict(self.read_json("manifest.json"))

    def settings(self) -> dict[str, Any]:
        """Return every setting of a finished run, as plain values: its configuration needs no second reading."""
        return dict(self.manifest()["settings"])

    # --- ending ---------------------------------------------------------------------------------------------------

    def finish(
        self,
        status: Literal["done", "failed", "interrupted"],
        manifest: Mapping[str, Any] | None = None,
        *,
        inputs: Iterable[Path] = (),
    ) -> None:
        """End the writing and release the lock.

        `done` writes the manifest, deletes the checkpoints and puts the run in its place. The other two keep what is
        needed to resume, or remove what was written if there is no checkpoint to resume from; before the first write,
        and once the manifest is written, they change nothing.

        Args:
            status: how it ended.
            manifest: seeds, seconds and whatever else the workflow knows, which may be `inputs` that were hashed when
                they were read; the format version, `provenance` and the hashes of the outputs are added.
            inputs: files that were read, to be hashed.
        """
        if self._lock is None:
            raise ValueError("the run is not open for writing")
        if status == "done":
            self._set_status("done")
            outputs = {str(path.relative_to(self.folder)): file_hash(path) for path in self._hashed_files()}
            facts = {"format_version": FORMAT_VERSION, **provenance(inputs), **(manifest or {}), "outputs": outputs}
            self.write_json("manifest.json", facts)
            self.remove("checkpoints")
            if self.folder != self.path:
                run_folder.settle(self.path, wait=True)
                self.folder = self.path
                os.close(self._lock)  # the file went with the successor's folder
                self._lock = None
        elif run_folder.is_finished(self.folder):
            pass
        elif self._has_begun and self.files("checkpoints"):
            self._set_status(status)
        else:
            if self._has_begun:
                run_folder.discard(self.folder)
            else:
                run_folder.leave(self.folder)
            with contextlib.suppress(OSError):  # somebody else's folder is not empty
                for parent in self._made_parents:
                    parent.rmdir()
        self._release()

    def __enter__(self) -> Self:
        """Guard the writing: whatever leaves the block without `finish` ends the run as failed or interrupted."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `__enter__`."""
        if self._lock is not None:
            self.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")

    def _writable(self, name: str) -> Path:
        """Return the path of a file that may be written now."""
        path = self.file(name)
        if self._lock is None and Path(name).parts[0] not in REWRITABLE_ENTRIES:
            raise ValueError(f"{name!r} cannot be written: the run was opened for reading")
        if self._lock is not None and not self._has_begun:
            self._begin()
        return path

    def _begin(self) -> None:
        """Take the place of what was there, or go on with it."""
        self._has_begun = True
        if self._replaces:
            run_folder.clear(self.folder)
        self._set_status("running")

    def _append(self, name: str, line: str) -> None:
        """Append with a single write, as one line of a log that others may be reading."""
        path = self._writable(name)
        with storage.writing(path), path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def _set_status(self, status: Status) -> None:
        self.write_text("STATUS", status + "\n")

    def _release(self) -> None:
        if self._lock is not None:
            (self.folder / ".lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _hashed_files(self) -> list[Path]:
        return [path for name in sorted(RUN_ENTRIES - UNHASHED_ENTRIES) for path in self.files(name)]
