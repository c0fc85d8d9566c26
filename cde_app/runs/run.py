"""The run directory: the only code that creates, locks, fills, checks and opens one.

A new run is written to its own folder. With `overwrite`, a finished run stays usable while its successor is written
inside it (see `folder`), and is replaced when the successor is done. A training that fails or is killed therefore never
destroys a finished run, and nothing has to be restored.

`manifest.json` is written last: a process that waits for this file never sees an incomplete run. A training that ends
before its first checkpoint leaves nothing behind. The lock ends with its process, so that a killed run can be resumed.
Only entries listed in `contents.RUN_ENTRIES` are ever written, and only what cde has written is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from cde_app.arrays import AnyArray
from cde_app.config import Config
from cde_app.errors import RunError, SettingError
from cde_app.machine import storage
from cde_app.machine.storage import TEMPORARY_PREFIX, delete, file_hash, to_jsonable
from cde_app.runs import checks as run_checks
from cde_app.runs import folder as run_folder
from cde_app.runs import sums
from cde_app.runs.contents import RUN_ENTRIES, SUMS, foreign_in_run
from cde_app.runs.folder import Status
from cde_app.runs.manifest import fault_of_manifest
from cde_app.runs.migrations import FORMAT_VERSION, migrate
from cde_app.runs.provenance import provenance
from cde_app.runs.sums import announce, listed_files, read_sums, render_sums, text_of_sums
from cde_app.trees import to_tree
from cde_app.words import printable

REWRITABLE_ENTRIES = frozenset({"plots", "report.html", "report.json", "report.md"})
SECONDS_TO_REPLACE = 0.1
"""Time to wait before reading a run again that a successor may just have replaced."""
UNHASHED_ENTRIES = REWRITABLE_ENTRIES | sums.UNLISTED_ENTRIES | {"STATUS", "manifest.json", "log.txt"}
"""What has no hash in the manifest."""


def _is_rewritable(name: str) -> bool:
    return Path(name).parts[0] in REWRITABLE_ENTRIES


class Run:
    """A run directory.

    Attributes:
        path: the run directory that the user named.
        folder: the folder that is written: inside `path` while the run succeeds a finished one, else `path`.
    """

    def __init__(
        self, path: Path, folder: Path, lock: int | None, made: Sequence[Path] = (), *, replaces: bool = False
    ) -> None:
        self.path = path
        self.folder = folder
        self._lock = lock
        self._replaces = replaces
        self._has_begun = False
        self._made = made
        self._hashes: dict[str, str] | None = None
        self._format_version = FORMAT_VERSION

    # --- beginning ------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, *, overwrite: bool) -> Run:
        """Claim an empty or absent folder for a run or, with `overwrite`, the folder of another run.

        The run begins with the first write; old contents stay untouched until then.

        Raises:
            RunError: the folder has contents and `overwrite` is not given, is not a run, holds files that do not
                belong to a run, or is being written by another process.
        """
        path = Path(path)
        return cls(path, *run_folder.claim(path, overwrite=overwrite), replaces=True)

    @classmethod
    def resume(cls, path: Path) -> Run:
        """Resume a run that was interrupted, failed or killed; nothing changes until the first write.

        Raises:
            RunError: there is no such run, it is done, or another process is writing it.
        """
        path = Path(path)
        return cls(path, *run_folder.claim_unfinished(path))

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a finished run for reading; only its plots and its report may be written, while it is `held`.

        Raises:
            RunError: the run is missing, not a run, incomplete, corrupt or of a format that this cde cannot read.
        """
        path = Path(path)
        try:
            manifest = run_checks.check_run(path)
        except RunError:
            time.sleep(SECONDS_TO_REPLACE)
            manifest = run_checks.check_run(path)
        run = cls(path, path, None)
        run._hashes = read_sums(path) | manifest["outputs"]
        run._format_version = manifest["format_version"]
        return run

    # --- writing --------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        """Return the path of one of the run's files, which need not exist yet.

        Raises:
            ValueError: the name is not part of a run (see `contents.RUN_ENTRIES`).
        """
        parts = Path(name).parts
        if not parts or parts[0] not in RUN_ENTRIES or ".." in parts:
            raise ValueError(f"{name!r} is no part of a run; its first part must be in contents.RUN_ENTRIES")
        return run_folder.find(self.folder, name)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only writer of the plots and the report of a finished run during a block.

        Raises:
            RunError: another process is writing the run.
        """
        run_folder.settle(self.path)
        with run_folder.held(self.path):
            run_folder.tidy(self.path)
            yield
            if old := read_sums(self.path):
                files = {name: file for name, file in listed_files(self.path).items() if name in old}
                files = {name: file for name, file in files.items() if _is_rewritable(name)}
                kept = {name: content for name, content in old.items() if not _is_rewritable(name)}
                text = render_sums(kept | {name: file_hash(file) for name, file in files.items()})
                storage.write_atomically(run_folder.find(self.path, SUMS), text.encode())

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file of the run in one step: it has the old or the new content, never a part of it."""
        path = self._writable(name)
        if _is_rewritable(name) and (self._lock is not None or run_folder.find(self.path, SUMS).exists()):
            announce(self.folder, name, content)
        return storage.write_atomically(path, content)

    def write_text(self, name: str, text: str) -> Path:
        """Write a UTF-8 text file of the run; what of a path is not UTF-8 is shown by its escape."""
        return self.write_bytes(name, text.encode(errors="backslashreplace"))

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
        """Append one line to `history.jsonl`; `history` skips a last line that a crash has truncated."""
        self._append("history.jsonl", json.dumps(to_jsonable(entry), allow_nan=False) + "\n")

    def sync(self, name: str) -> None:
        """Let what was appended to a file, if there is one, outlast a loss of power, as what is written next shall."""
        if self.has(name):
            path = self._writable(name)
            with storage.writing(path), path.open("rb") as file:
                os.fsync(file.fileno())

    def rewind_history(self, steps: Sequence[int]) -> None:
        """Drop what is later than these steps of each training, because a resumed run is about to write it again."""
        self._write_history(entry for entry in self.history() if entry["step"] <= steps[entry["training"]])

    def sort_history(self) -> None:
        """Put one training after another; those that run side by side take turns."""
        self._write_history(sorted(self.history(), key=lambda entry: (entry["training"], entry["step"])))

    def _write_history(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self.write_text("history.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))

    def log(self, message: str) -> None:
        """Append a line, or several, to `log.txt`, with the time."""
        text = printable(message, keeps="\n")
        self._append("log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make an empty folder for temporary files; it is deleted at the end of the block.

        If the process is killed, or the folder cannot be deleted, the next writer of the run does it.
        """
        folder = self.folder / f"{TEMPORARY_PREFIX}scratch"
        delete(folder)
        try:
            with storage.writing(folder, "a folder that can be made"):
                folder.mkdir()
            yield folder
        finally:
            with contextlib.suppress(RunError):  # the work is done, and the next writer deletes it
                delete(folder)

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def status(self) -> Status | None:
        """The word in STATUS."""
        return run_folder.status(self.folder)

    def has(self, name: str) -> bool:
        """Return whether the run has this file."""
        return self.file(name).exists()

    def files(self, name: str) -> list[Path]:
        """Return the files under a name, sorted: the file itself, or all files in the folder; [] if there are none."""
        top = self.file(name)
        found = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
        return sorted(path for path in found if not path.name.startswith(TEMPORARY_PREFIX))

    def read_bytes(self, name: str) -> bytes:
        """Read a file of the run.

        Raises:
            RunError: the file is missing, is a link, has no hash in the manifest of a finished run, or
                another one.
        """
        for _ in range(2):  # a successor may have moved the file between `find` and reading
            with contextlib.suppress(FileNotFoundError):
                path = self.file(name)
                content = path.read_bytes()
                if any(part.is_symlink() for part in (path, *path.parents[: len(Path(name).parts) - 1])):
                    raise RunError(f"{path}: expected a file of the run; got a link. Put the file itself there.")
                break
        else:
            raise RunError(f"{self.file(name)}: expected a file of the run; got nothing. Train the run again.")
        if self._hashes is not None and (name in self._hashes or Path(name).parts[0] not in UNHASHED_ENTRIES):
            self._check_hash(name, hashlib.sha256(content).hexdigest(), self._hashes.get(name))
        return content

    def _check_hash(self, name: str, found: str, expected: str | None) -> None:
        """Compare a file that has been read with the manifest.

        Raises:
            RunError: they differ.
        """
        if found == expected:
            return
        run_checks.check_hashes(self.path, {**read_sums(self.path), **run_checks.read_manifest(self.path)["outputs"]})
        raise RunError(
            f"{self.path}: expected a run that does not change; got one that was replaced while it was read. "
            "Start the command again."
            if expected
            else f"{self.file(name)}: expected its hash in manifest.json; got none. Train the run again."
        )

    def pictures(self) -> dict[str, bytes]:
        """Return the pictures of the run by their names without the format.

        Raises:
            RunError: as `read_bytes`.
        """
        return {path.stem: self.read_bytes(f"plots/{path.name}") for path in self.files("plots")}

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run, in the form of today's format whatever the run's (see `migrations`).

        Raises:
            RunError: the file is missing, not JSON, or has not the form of the run's format.
        """
        try:
            content = storage.parse_json(self.read_bytes(name))
        except ValueError as error:
            raise RunError(f"{self.file(name)}: expected JSON; got {error}. Train the run again.") from None
        try:
            return migrate(name, content, version=self._format_version)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.file(name)}: expected the form of format {self._format_version}; got another "
                f"({type(error).__name__}: {error}). Train the run again."
            ) from None

    def read_arrays(self, name: str) -> dict[str, AnyArray]:
        """Read an `.npz` file of the run; a pickle in it is refused.

        Raises:
            RunError: the file is missing or corrupt.
        """
        try:
            return storage.read_arrays(self.read_bytes(name))
        except ValueError as error:
            raise RunError(f"{self.file(name)}: expected arrays; got {error}. Train the run again.") from None

    def history(self) -> list[dict[str, Any]]:
        """Return the entries of `history.jsonl`; [] if there are none.

        Raises:
            RunError: it is corrupt.
        """
        if not self.has("history.jsonl"):
            return []
        lines = self.read_bytes("history.jsonl").split(b"\n")
        try:
            entries = [dict(storage.parse_json(line)) for line in lines[:-1] if line]
            for entry in entries:
                operator.index(entry["training"]), operator.index(entry["step"])
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{self.file('history.jsonl')}: expected steps; got {error}. Train the run again.") from None
        return entries

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a finished run.

        Raises:
            RunError: a fact is missing, or has another form.
        """
        manifest = dict(self.read_json("manifest.json"))
        if fault := fault_of_manifest(manifest):
            raise RunError(f"{self.file('manifest.json')}: {fault}. Train the run again.")
        return manifest

    def settings(self) -> dict[str, Any]:
        """Return all settings of a finished run as plain values; one that an older cde did not have has its default.

        Raises:
            RunError: they are no settings.
        """
        try:
            return dict(to_tree(Config.model_validate(self.manifest()["settings"])))
        except (SettingError, ValueError) as error:
            fault = " ".join(str(error).split())[:200]
            raise RunError(
                f"{self.file('manifest.json')}: settings: expected those of a training; got {fault!r}. Train it again."
            ) from None

    # --- ending ---------------------------------------------------------------------------------------------------

    def finish(
        self,
        status: Literal["done", "failed", "interrupted"],
        manifest: Mapping[str, Any] | None = None,
        *,
        inputs: Iterable[Path] = (),
    ) -> None:
        """End the writing and release the lock.

        `done` writes the manifest, deletes the checkpoints and moves the run to its final folder. The other two keep
        what is needed to resume, or delete what was written if there is no checkpoint to resume from; before the first
        write, and after the manifest is written, they change nothing.

        Args:
            status: how it ended.
            manifest: seeds, seconds and other facts from the workflow, possibly `inputs` that were hashed when they
                were read; the format version, `provenance` and the hashes of the outputs are added.
            inputs: files that were read, to be hashed.
        """
        if self._lock is None:
            raise ValueError("the run is not open for writing")
        if status == "done":
            self._set_status("done")
            foreign = foreign_in_run(self.folder)
            files = {str(path.relative_to(self.folder)): path for path in self._hashed_files()}
            outputs = {name: file_hash(path) for name, path in files.items() if name not in foreign}
            facts = {"format_version": FORMAT_VERSION, **provenance(inputs), **(manifest or {}), "outputs": outputs}
            content = storage.json_bytes(facts)
            self.sync("log.txt")
            self.write_text(SUMS, text_of_sums(self.folder, {"manifest.json": content}))
            self.write_bytes("manifest.json", content)
            run_folder.discard_checkpoints(self.folder)
            if self.folder != self.path:
                run_folder.settle(self.path, wait=True)
                self.folder = self.path
                os.close(self._lock)  # the lock file moved with the successor's folder
                self._lock = None
        elif run_folder.is_finished(self.folder):
            pass
        elif self._has_begun and self.files("checkpoints"):
            self._set_status(status)
        else:
            if self._has_begun:
                run_folder.discard(self.folder, self._made)
            else:
                run_folder.leave(self.folder, self._made)
        self._release()

    def __enter__(self) -> Self:
        """Guard the writing: leaving the block without `finish` ends the run as failed or interrupted."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `__enter__`."""
        if self._lock is None:
            return
        try:
            # A word that cannot be written, because the disk is full, must not hide what has happened.
            with contextlib.suppress(*() if error is None else (RunError, OSError)):
                self.finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        finally:
            self._release()

    def _writable(self, name: str) -> Path:
        """Return the path of a file that may be written now."""
        path = self.file(name)
        if self._lock is None and Path(name).parts[0] not in REWRITABLE_ENTRIES:
            raise ValueError(f"{name!r} cannot be written: the run was opened for reading")
        if self._lock is not None and not self._has_begun:
            self._begin()
        return path

    def _begin(self) -> None:
        """Replace the old contents, or resume from them."""
        self._has_begun = True
        if self._replaces:
            run_folder.clear(self.folder)
        self._set_status("running")

    def _append(self, name: str, line: str) -> None:
        """Append with a single write, because other processes may be reading the file."""
        path = self._writable(name)
        with storage.writing(path), path.open("ab") as file:  # buffered, so that what the system leaves is written too
            file.write(line.encode())

    def _set_status(self, status: Status) -> None:
        self.write_text("STATUS", status + "\n")

    def _release(self) -> None:
        if self._lock is not None:
            run_folder.release(self.folder, self._lock)
            self._lock = None

    def _hashed_files(self) -> list[Path]:
        return [path for name in sorted(RUN_ENTRIES - UNHASHED_ENTRIES) for path in self.files(name)]
