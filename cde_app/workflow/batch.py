"""`cde batch`: the predictions of many partitions, each in a folder of its own, on many workers.

The folder of a partition is what `cde predict` makes. Its manifest is written last, by the worker, and has the hashes
of what was read and written: whether a partition is done is read there and nowhere else. Whatever is killed, at most
the partitions that were running are predicted again. The manifest of the batch says what belongs to it, and sums up.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cde_app.data.files import source_name
from cde_app.data.prepared import file_hashes
from cde_app.errors import CdeError, RunError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Outcome, Worker
from cde_app.machine.memory import limit_memory
from cde_app.machine.storage import TEMPORARY_PREFIX, file_hash, to_jsonable, write_json
from cde_app.progress import Progress
from cde_app.runs import folder as folders
from cde_app.runs.checks import hash_of_run
from cde_app.runs.provenance import provenance
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.answers import BYTES_PER_WORKER, model_of_worker
from cde_app.workflow.partitions import Partition, find_partitions, name_partitions
from cde_app.workflow.predict import predict_with
from cde_app.workflow.prediction_options import PredictionOptions, questions_of

KIND = "batch"
"""What the manifest of a batch says that it is."""
SECONDS_BETWEEN_MANIFESTS = 10.0
"""The summary is written no more often, so that its cost does not grow with the square of the partitions."""
SECONDS_BETWEEN_EVENTS = 0.5


@dataclass(frozen=True)
class Prediction:
    """The prediction of one partition, as work for a worker."""

    partition: Partition
    out: Path
    """The folder of its predictions, absolute."""
    run_path: Path
    """Absolute."""
    run_hash: str
    options: PredictionOptions
    """Resolved."""
    command: tuple[str, ...]
    """The command line, for the manifest."""
    redo: bool
    """Predict it even if it is done."""
    max_memory: int | None = None
    """Memory that its process may take [bytes]; None leaves that to the process."""

    @property
    def name(self) -> str:
        """The table."""
        return source_name(self.partition.path)

    @property
    def kind(self) -> Hashable:
        """Predictions by one model."""
        return self.run_hash

    def run(self, worker: Worker) -> dict[str, Any]:
        """Predict the partition, unless that is done; return what its manifest says."""
        limit_memory(self.max_memory)
        folders.settle(self.out, wait=True)  # what a worker that was killed has left to do
        if not self.redo and (found := self._done()) is not None:
            return found | {"is_new": False}
        model = model_of_worker(worker, self.run_path, self.run_hash)
        predict_with(
            model,
            self.run_path,
            self.partition.path,
            self.out,
            self.options,
            overwrite=True,
            waits=True,  # a worker of a command that was killed may still be writing its last rows
            in_processes=False,  # tables are what is divided among workers
            on_rows=worker.report,
            facts={"argv": list(self.command)},
        )
        return self._manifest() | {"is_new": True}

    def _done(self) -> dict[str, Any] | None:
        """Return the manifest of complete predictions by this run with these options; None if there are none.

        Raises:
            DataError: the partition cannot be read.
        """
        inputs = file_hashes(self.partition.path)
        try:
            found = self._manifest()
            same = found["run_hash"] == self.run_hash and list(found["inputs"].values()) == list(inputs.values())
            same = same and all(found[name] == value for name, value in self.options.facts().items())
            intact = same and all(
                file_hash(folders.find(self.out, name)) == content for name, content in found["outputs"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, or not written by this version
            return None
        return found if intact else None

    def _manifest(self) -> dict[str, Any]:
        path = folders.find(self.out, "manifest.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found | {"manifest_hash": file_hash(path)}


def predict_partitions(
    run_path: Path,
    inputs: Sequence[Path],
    out: Path,
    options: PredictionOptions,
    *,
    execution: Execution,
    overwrite: bool,
    on_event: Callable[[Progress], None],
) -> dict[str, Any]:
    """Predict every partition into a folder of its own.

    Args:
        run_path: the run directory.
        inputs: files, folders and globs.
        out: the folder of the batch.
        options: what to compute and write for each partition.
        execution: where it is done.
        overwrite: predict again what is done, also by another run or with other options, with which the predictions of
            tables that are not among the inputs are deleted.
        on_event: called with the progress.

    Returns:
        "manifest", its path; "partitions", the lines that it has of these partitions; numbers of partitions
        ("predicted" by this call, "unchanged" and "failed") and of rows ("rows" of those that are predicted or
        unchanged, "rows_predicted" by this call, "skipped" because of faults); and "seconds". A partition that failed
        has an `error`.

    Raises:
        UsageError: the options contradict each other, or a scheduler cannot be reached.
        DataError: there is no partition.
        RunError: the run cannot be read, the folder may not be written, or it has files that `overwrite` would delete
            and that are not cde's.
        Exception: a bug has stopped a partition; the others are done.
    """
    started = time.monotonic()
    model = TrainedModel.load(Run.open(run_path), knows_rows=False)
    paths = find_partitions(inputs, out)
    options = options.resolved(model.settings)
    questions_of(options, model)  # reports what is wrong with them, once
    facts = {"run": run_path.resolve(), "run_hash": hash_of_run(run_path), **options.facts()}
    folders.check_is_outside(out)
    _earlier(out)
    with folders.held(out):
        earlier = _earlier(out)
        is_same = _is_same(out, earlier, facts, overwrite=overwrite)
        known = {part["path"]: part for part in earlier.get("partitions", ())}
        named = {path: part["folder"] for path, part in known.items()}
        partitions = name_partitions(paths, named, set(os.listdir(out)) | {"manifest.json", ".lock"})
        left_out = {*named.values()} - {partition.folder for partition in partitions}
        if overwrite:  # nothing begins if some of it may not be replaced or deleted
            for folder in sorted({*named.values()} - (left_out if is_same else set())):
                folders.settle(out / folder, wait=True)
                folders.check_predictions(out / folder, overwrite=True)
        units = [
            Prediction(
                partition=partition,
                out=(out / partition.folder).absolute(),
                run_path=run_path.absolute(),
                run_hash=facts["run_hash"],
                options=options,
                command=tuple(sys.argv),
                redo=overwrite,
            )
            for partition in partitions
        ]
        report = _Report(on_event, partitions)
        with execution.open(len(units), bytes_per_worker=BYTES_PER_WORKER) as executor:
            if not is_same:  # what is not predicted again would mislead beside the new predictions
                for folder in left_out:
                    folders.discard_predictions(out / folder)
            ledger = _Ledger(out, {"kind": KIND, **facts, **provenance()}, known if is_same else {}, partitions)
            with ledger:
                max_memory = executor.memory_each(len(units))
                units = [replace(unit, max_memory=max_memory) for unit in units]
                for outcome in executor.run(units, on_event=report.rows):
                    ledger.add(outcome)
                    report.ended(outcome)
    if ledger.bug is not None:
        raise ledger.bug
    return {"manifest": out / "manifest.json", **ledger.result(), "seconds": time.monotonic() - started}


def _earlier(out: Path) -> dict[str, Any]:
    """Return the manifest of an earlier batch in a folder; empty if the folder is.

    Raises:
        RunError: the folder holds something else.
    """
    if os.path.exists(out) and not out.is_dir():
        raise RunError(f"{out} exists and is not a folder; choose another --out.")
    names = [name for name in (os.listdir(out) if out.is_dir() else ()) if name != ".lock"]
    names = [name for name in names if not name.startswith(TEMPORARY_PREFIX)]
    if not names:
        return {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        if found["kind"] == KIND and all(_is_line(part) for part in found.get("partitions", ())):
            return found
    raise RunError(f"{out}: expected nothing, or a folder of cde batch; got {min(names)!r}. Choose another --out.")


def _is_line(part: Mapping[str, Any]) -> bool:
    """Return whether a line of a manifest names a table, and a folder in that of the batch."""
    folder = part["folder"]
    return (
        isinstance(part["path"], str)
        and isinstance(folder, str)
        and folder not in {"", ".", ".."}
        and "/" not in folder
    )


def _is_same(out: Path, earlier: Mapping[str, Any], facts: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Return whether an earlier batch had the same run and options, so that this one continues it.

    Raises:
        RunError: it had others, and `overwrite` is not given.
    """
    wanted: dict[str, Any] = to_jsonable({name: value for name, value in facts.items() if name != "run"})
    different = [name for name, value in wanted.items() if earlier and earlier.get(name) != value]
    if not different or overwrite:
        return not different
    name = different[0]
    expected, got = (
        (f"the run {earlier.get('run')}", f"{facts['run']}, or that run trained again")
        if name == "run_hash"
        else (f"{name} {earlier.get(name)!r}", f"{wanted[name]!r}")
    )
    raise RunError(
        f"{out}: expected {expected}, as in the predictions there; got {got}. Choose another --out, or pass "
        "--overwrite to predict all again."
    )


class _Ledger:
    """The manifest of a batch, with one line per partition; a context manager.

    Args:
        out: the folder of the batch.
        facts: the run, the options and where they come from.
        known: lines of an earlier batch that this one continues, by path.
        partitions: those to predict now.
    """

    def __init__(
        self, out: Path, facts: Mapping[str, Any], known: Mapping[str, Any], partitions: Sequence[Partition]
    ) -> None:
        self._path, self._facts, self._partitions = out / "manifest.json", facts, partitions
        new = {str(part.path): _line(part, state="waiting") for part in partitions}
        self._lines: dict[str, dict[str, Any]] = {**known, **new}
        self._written = -SECONDS_BETWEEN_MANIFESTS
        self.bug: Exception | None = None
        """The first error that is no fault of a partition."""

    def __enter__(self) -> Self:
        """Write which partitions there are, before the first is predicted."""
        self.write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write how they have ended; another error goes before one of the file."""
        with contextlib.nullcontext() if kind is None else contextlib.suppress(RunError):
            self.write()

    def add(self, outcome: Outcome[dict[str, Any]]) -> None:
        """Add how a partition has ended; the file follows from time to time."""
        partition, error = self._partitions[outcome.index], outcome.error
        if error is not None:
            text = " ".join(error.faults) if isinstance(error, CdeError) else f"{type(error).__name__}: {error}"
            name = source_name(partition.path)
            text = text if name in text else f"{name}: {text}"
            line = _line(partition, state="failed", attempts=outcome.attempts, error=text)
            if not isinstance(error, CdeError):
                self.bug = self.bug or error
        else:
            found = outcome.result()
            names = ("rows", "skipped", "left_out", "seconds", "is_new", "manifest_hash")
            line = _line(partition, state="done", attempts=outcome.attempts, **{name: found[name] for name in names})
            line["inputs"] = list(found["inputs"].values())
        self._lines[str(partition.path)] = line
        if time.monotonic() - self._written > SECONDS_BETWEEN_MANIFESTS:
            with contextlib.suppress(RunError):  # such as a full disk, which may have room again at the end
                self.write()

    def write(self) -> None:
        """Write the file.

        Raises:
            RunError: it cannot be written.
        """
        self._written = time.monotonic()
        lines = sorted(self._lines.values(), key=lambda line: line["path"])
        write_json(self._path, {**self._facts, "partitions": lines})

    def result(self) -> dict[str, Any]:
        """Return the lines of the partitions of this command, and their numbers."""
        lines = [self._lines[str(partition.path)] for partition in self._partitions]
        done = [line for line in lines if line["state"] == "done"]
        return {
            "partitions": lines,
            "rows": sum(line["rows"] for line in done),
            "rows_predicted": sum(line["rows"] for line in done if line["is_new"]),
            "skipped": sum(line["skipped"] for line in done),
            "predicted": sum(line["is_new"] for line in done),
            "unchanged": sum(not line["is_new"] for line in done),
            "failed": len(lines) - len(done),
        }


def _line(partition: Partition, *, state: str, **facts: Any) -> dict[str, Any]:
    return {"path": str(partition.path), "folder": partition.folder, "state": state, **facts}


class _Report:
    """Tells how many partitions and rows are done, from what the workers report.

    Args:
        on_event: called with the progress.
        partitions: those to predict.
    """

    def __init__(self, on_event: Callable[[Progress], None], partitions: Sequence[Partition]) -> None:
        self._on_event = on_event
        self._sizes = [size_of(partition.path) for partition in partitions]
        self._rows: dict[int, int] = {}
        self._ended = self._bytes_predicted = 0
        self._bytes_left = sum(self._sizes)
        self._started = time.monotonic()
        self._last = -SECONDS_BETWEEN_EVENTS

    def rows(self, index: int, num_rows: int) -> None:
        """Note how many rows of a partition are predicted."""
        self._rows[index] = num_rows
        self._tell()

    def ended(self, outcome: Outcome[dict[str, Any]]) -> None:
        """Note that a partition has ended."""
        self._ended += 1
        self._bytes_left -= self._sizes[outcome.index]
        if outcome.value is not None and outcome.value["is_new"]:
            self._bytes_predicted += self._sizes[outcome.index]
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_EVENTS and self._ended < len(self._sizes):
            return
        self._last, rows, elapsed = now, sum(self._rows.values()), now - self._started
        left = self._bytes_left * elapsed / self._bytes_predicted if self._bytes_predicted else None
        message = f"{rows} rows  {rows / elapsed:.0f} rows/s" if elapsed > 0 else ""
        self._on_event(
            Progress(
                "batch",
                message,
                step=self._ended,
                max_steps=len(self._sizes),
                noun="partition",
                elapsed_seconds=elapsed,
                seconds_left=left,
            )
        )


def size_of(path: Path) -> int:
    """Return the bytes of a file; 1 if it has vanished."""
    try:
        return max(1, path.stat().st_size)
    except OSError:
        return 1
