"""The memory that the work may take: what is left of it, what fits into it, and what the user is told."""

from __future__ import annotations

import filecmp
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.cli import failures
from cde_app.config_file import load_config
from cde_app.data.cost import TRAINING_BYTES, held_bytes
from cde_app.errors import MemoryNeedError, UsageError
from cde_app.execution.choose import Execution
from cde_app.execution.dask import DaskCluster
from cde_app.execution.executor import Executor, Serial
from cde_app.execution.processes import Processes
from cde_app.machine import memory
from cde_app.progress import Progress
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.answers import BLOCK_ROWS, BYTES_PER_DRAW, check_room_for_points
from cde_app.workflow.batch import BYTES_PER_WORKER
from cde_app.workflow.predict import rows_of_a_chunk
from cde_app.workflow.prediction_options import PredictionOptions
from cde_app.workflow.train import train_run
from tests.conftest import Outcome, TrainedTiny, needs_tensorflow

Cde = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def limit_ends_with_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setenv(memory.VARIABLE, "0")  # what a command sets is undone, too
    monkeypatch.delenv(memory.VARIABLE)


def test_what_this_process_has_is_no_longer_available() -> None:
    free = memory.available_bytes()
    assert free > 0
    memory.limit_memory(None)
    assert not memory.is_limited()
    memory.limit_memory(10**12)
    more = memory.available_bytes()  # the limit takes the place of what the machine says
    taken = 10**12 - more
    assert 10**7 < taken < 10**10
    memory.limit_memory(10**6)
    assert memory.available_bytes() == 0


@pytest.mark.parametrize("cached", ["inactive_file", "total_inactive_file"])
def test_files_that_the_kernel_has_cached_for_a_container_are_free(
    cached: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = memory.Limit(*(str(tmp_path / name) for name in ("most", "used", "parts")), cached)
    monkeypatch.setattr(memory, "LIMITS", (memory.Limit("none", "none", "none", cached), limit))
    unlimited = memory.available_bytes()
    (tmp_path / "most").write_text("5000\n")
    (tmp_path / "used").write_text("4000\n")
    assert memory.available_bytes() == 1000
    (tmp_path / "parts").write_text(f"anon 700\nfile 3300\n{cached} 2500\nactive_file 800\n")
    assert memory.available_bytes() == 3500
    assert memory.available_bytes(held=100) == 3600
    (tmp_path / "parts").write_text("anon 4000\n")
    assert memory.available_bytes() == 1000
    (tmp_path / "used").write_text("6000\n")
    assert memory.available_bytes() == 0
    (tmp_path / "most").write_text("max\n")
    assert memory.available_bytes() > unlimited / 2 > 6000


def test_workers_share_what_the_command_leaves_of_the_limit() -> None:
    assert Processes(4).memory_each(8) is None  # the kernel knows what is free
    memory.limit_memory(10**12)
    left = memory.available_bytes()
    for executor, num_units, number in ((Processes(4), 8, 4), (Processes(4), 3, 3), (DaskCluster(num_workers=2), 9, 2)):
        each = executor.memory_each(num_units)
        assert each is not None
        assert abs(number * each - left) < 10**8
    assert Serial().memory_each(8) is None
    assert DaskCluster("tcp://host:8786", num_workers=2).memory_each(9) is None
    memory.limit_memory(1)
    assert Processes(4).memory_each(8) == 1


class OneOfMany(Serial):
    """This process as a worker of another command, which has left it less than it has already."""

    memory_each = Executor.memory_each  # type: ignore[assignment]


def test_a_unit_knows_its_share(
    line_run: TrainedTiny, cde: Cde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[Any] = ["batch", line_run.run, line_run.table, "--out", tmp_path / "out", "--samples", 10]
    for executor, code in ((Serial(), 0), (OneOfMany(), 7)):
        monkeypatch.setattr(Execution, "open", lambda *_, executor=executor, **__: executor)
        outcome = cde(*words, "--overwrite", "--max-memory", memory.resident_bytes() + 10**8)
        assert outcome.code == code, outcome.err
        assert ("--samples: expected at most 0, for which there is memory; got 10." in outcome.err) == (code == 7)


@pytest.mark.slow
def test_a_worker_keeps_to_its_share(
    line_run: TrainedTiny, cde: Cde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws of 1.1 times the share are refused, though the whole limit would hold them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    rows, share = 50, int(1.1 * BYTES_PER_WORKER)
    pd.read_csv(line_run.table).iloc[np.zeros(rows, int)].to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").write_bytes((tmp_path / "a.csv").read_bytes())
    words: list[Any] = ["batch", line_run.run, tmp_path / "a.csv", tmp_path / "b.csv", "--out", tmp_path / "out"]
    words += ["--executor", "processes", "--workers", 2, "--samples", int(1.1 * share / (BYTES_PER_DRAW * rows))]
    outcome = cde(*words, "--max-memory", memory.resident_bytes() + 2 * share)
    assert outcome.code == 7
    parts = json.loads((tmp_path / "out/manifest.json").read_text())["partitions"]
    assert len(parts) == 2
    assert all("--samples: expected at most " in part["error"] for part in parts)


def test_a_process_that_has_loaded_tensorflow_has_a_part_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert held_bytes() == 0
    monkeypatch.setitem(sys.modules, "tensorflow", json)
    assert 10**7 < held_bytes() <= TRAINING_BYTES


class BegunError(Exception):
    """Ends a training that was not refused."""


@needs_tensorflow
def test_a_later_training_in_the_same_process_is_not_refused_for_what_that_holds(
    tiny_run: TrainedTiny, tmp_path: Path
) -> None:
    import tensorflow  # noqa: F401  # as an earlier training has left it

    def stop(event: Progress) -> None:
        if event.stage != "data":
            raise BegunError

    def train(execution: Execution) -> None:
        memory.limit_memory(int(memory.resident_bytes() + TRAINING_BYTES - held_bytes() + 1.5e8))
        file, out = load_config(tiny_run.config), tmp_path / "run"
        train_run(file, out, resume=False, overwrite=True, on_event=stop, execution=execution)

    with pytest.raises(BegunError):
        train(Execution("serial"))
    with pytest.raises(MemoryNeedError, match=r"training: expected 0\.7"):  # a process of its own has to load it
        train(Execution("processes", num_workers=1))


def test_workers_are_as_many_as_the_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    memory.limit_memory(10**12)
    each = memory.available_bytes() / 3.5
    assert Execution("processes").most_workers(8, bytes_per_worker=each) == 3
    assert Execution("processes", num_workers=5).most_workers(8, bytes_per_worker=each) == 3
    assert Execution("processes", num_workers=2).most_workers(8, bytes_per_worker=each) == 2
    assert Execution("processes", num_workers=5).most_workers(8, bytes_per_worker=1.0) == 5


def test_work_that_does_not_fit_is_refused_with_what_to_lower() -> None:
    memory.require(2e9, of="it", available=2e9, advice="Lower it")
    with pytest.raises(MemoryNeedError) as error:
        memory.require(2.6e9, of="it", available=1.5e9, advice="Lower it")
    assert error.value.exit_code == 8
    assert str(error.value) == (
        "it: expected 2.6 GB of memory (rough); got 1.5 GB free. Lower it, or use a machine with more memory."
    )
    memory.limit_memory(10**6)
    told = r"got 1\.5 GB left of the limit\. Lower it, or allow more with --max-memory or CDE_MAX_MEMORY\."
    with pytest.raises(MemoryNeedError, match=told):
        memory.require(2.6e9, of="it", available=1.5e9, advice="Lower it")


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 << 29), ("500mb", 5 * 10**8), ("64K", 64_000), ("7", 7), ("1e3", None)]
    + [
        (text, None)
        for text in (
            "2i",
            "2iB",
            "",
            "GB",
            "-1GB",
            "0",
            "2 XB",
            "inf",
            "9" * 400,
            "1_0GB",
            "１GB",
            " 2GB",
            "2\u2003GB",
            "2\u212ab",
        )
    ],
)
def test_a_size_is_read_or_refused(text: str, size: int | None, cde: Cde, tmp_path: Path) -> None:
    if size is not None:
        assert memory.read_size(text) == size
        return
    outcome = cde("predict", tmp_path, tmp_path / "t.csv", "--out", tmp_path / "out", "--max-memory", text)
    assert outcome.code == 2
    assert f"expected a size such as 2GB or 500MB; got {text!r}" in outcome.err.replace("\n", "")


def test_the_variable_is_read_as_the_option_is(
    line_run: TrainedTiny, cde: Cde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(memory.VARIABLE, "2 TB")
    assert 10**12 < memory.available_bytes() < 2 * 10**12
    monkeypatch.setenv(memory.VARIABLE, "")
    assert not memory.is_limited()
    memory.limit_memory(None)
    monkeypatch.setenv(memory.VARIABLE, "2XB")
    line = "CDE_MAX_MEMORY: expected a size such as 2GB or 500MB; got '2XB'."
    with pytest.raises(UsageError, match=line):
        memory.available_bytes()
    out = tmp_path / "out"
    for command in ("train", "predict", "batch", "cv"):
        words = [line_run.run, line_run.table] if command in ("predict", "batch") else [line_run.config]
        outcome = cde(command, *words, "--out", out, "--quiet")
        assert (outcome.code, outcome.err) == (2, f"error: {line}\n")
        assert not out.exists()


def test_predictions_do_not_depend_on_the_memory(line_run: TrainedTiny, cde: Cde, tmp_path: Path) -> None:
    free, tight = tmp_path / "free", tmp_path / "tight"
    assert cde("predict", line_run.run, line_run.table, "--out", free, "--samples", 0).code == 0
    memory.limit_memory(None)
    outcome = cde("predict", line_run.run, line_run.table, "--out", tight, "--samples", 0, "--max-memory", "1MB")
    assert outcome.code == 0, outcome.err  # a block at a time
    assert filecmp.cmp(free / "summary.csv", tight / "summary.csv", shallow=False)


def test_no_fewer_rows_are_read_than_are_predicted_together(line_run: TrainedTiny) -> None:
    model = TrainedModel.load(Run.open(line_run.run), knows_rows=False)
    options = PredictionOptions().resolved(model.settings)
    model.settings["predict"]["chunk_rows"] = 5000
    memory.limit_memory(10**12)
    assert rows_of_a_chunk(model, options) == 5000 > BLOCK_ROWS
    memory.limit_memory(10**6)
    assert rows_of_a_chunk(model, options) == BLOCK_ROWS
    model.settings["predict"]["chunk_rows"] = 7
    assert rows_of_a_chunk(model, options) == 7


def test_mixtures_that_do_not_fit_are_refused_before_they_are_made(
    line_run: TrainedTiny, cde: Cde, tmp_path: Path
) -> None:
    words: list[Any] = ["predict", line_run.run, line_run.table, "--out", tmp_path / "out", "--samples", 0]
    outcome = cde(*words, "--components", "--max-memory", "1MB")
    assert outcome.code == 8
    assert outcome.err.startswith("error: --components: expected ")
    assert "Leave it out, predict fewer rows at a time, lower predict.num_components, or allow more" in outcome.err
    assert not (tmp_path / "out").exists()


def test_mixtures_are_checked_at_the_first_block_that_has_rows(line_run: TrainedTiny, cde: Cde, tmp_path: Path) -> None:
    lines = line_run.table.read_text().splitlines()
    faulty = [",".join(["?"] * len(lines[0].split(",")))] * BLOCK_ROWS
    (tmp_path / "table.csv").write_text("\n".join([lines[0], *faulty, *lines[1:]]))
    words: list[Any] = ["predict", line_run.run, tmp_path / "table.csv", "--out", tmp_path / "out", "--samples", 0]
    words += ["--on-fault", "skip", "--components"]
    assert cde(*words).code == 7
    outcome = cde(*words, "--overwrite", "--max-memory", "1MB")
    assert outcome.code == 8
    assert outcome.err.startswith("error: --components: expected ")


def test_draws_that_do_not_fit_are_refused_with_what_to_lower(line_run: TrainedTiny, cde: Cde, tmp_path: Path) -> None:
    outcome = cde("predict", line_run.run, line_run.table, "--out", tmp_path / "out", "--max-memory", "1MB")
    assert outcome.code == 2
    assert outcome.err.startswith("error: --samples: expected at most 0, for which there is memory; got 100. Lower it")
    assert not (tmp_path / "out").exists()


def test_a_training_that_does_not_fit_is_refused_before_it_writes(
    tiny_run: TrainedTiny, cde: Cde, tmp_path: Path
) -> None:
    assert TRAINING_BYTES > 10**8
    outcome = cde("train", tiny_run.config, "--out", tmp_path / "run", "--max-memory", "100MB")
    assert outcome.code == 8
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error")]
    assert line.startswith("error: training: expected 0.7")
    assert "GB of memory (rough); got " in line
    assert "Lower training.batch_size, training.objective.num_samples or the numbers of inducing inputs" in line
    assert not (tmp_path / "run").exists()


def test_a_training_without_memory_says_what_a_training_can_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhaust() -> None:
        with failures.guarded_training(tmp_path / "run", "the command"):
            raise MemoryError("8 GB")

    assert failures.call(exhaust, show_traceback=False) == 8
    line = capsys.readouterr().err
    assert line.startswith("error: expected enough memory for this; got too little (8 GB). Lower training.batch_size, ")
    assert line.endswith(", lower --workers, or use a larger machine.\n")
    assert "--samples" not in line


def test_the_check_warns_of_a_training_that_does_not_fit(tiny_run: TrainedTiny, cde: Cde) -> None:
    assert "of memory (rough)" not in cde("check", tiny_run.config).out
    memory.limit_memory(10**6)
    outcome = cde("check", tiny_run.config)
    assert outcome.code == 0
    assert "a training takes 0.7" in outcome.out
    assert "GB of memory (rough), and 0 GB are free. Lower training.batch_size" in outcome.out


def test_a_grid_takes_memory_for_each_row_and_component(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cde_app.workflow.answers.available_bytes", lambda: 1_000_000)
    points = {"a": np.zeros(60), "b": np.zeros(40)}
    check_room_for_points(points, num_rows=10, num_components=100)
    message = r"--grid, --at: expected at most 44 points of all targets, for which there is memory; got 100\."
    with pytest.raises(UsageError, match=message):
        check_room_for_points(points, num_rows=100, num_components=100)
