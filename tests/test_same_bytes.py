"""Predictions have the same bytes for chunks of any size, and two partitions have draws of their own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.data.aligned import aligned_blocks
from cde_app.workflow import answers
from cde_app.workflow.answers import BLOCK_ROWS, seed_of_block
from cde_app.workflow.prediction_files import Questions
from tests.storing import write_manifest

EVERYTHING = ["--samples", "2", "--hdi", "0.9", "--modes", "--at", "0.5", "--components", "--keep", "note,number"]
EVERYTHING += ["--on-fault", "skip"]
Cde = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def in_chunks_of(rows: int, run: Path) -> Path:
    """Copy a run, with another setting `predict.chunk_rows`."""
    copy = Path(f"run{rows}")
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["settings"]["predict"]["chunk_rows"] = rows
    write_manifest(copy, manifest)
    return copy


def long_table(num_rows: int, seed: int) -> pd.DataFrame:
    """A table for the tiny run, with a fault in some rows, and columns to keep that have gaps."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, num_rows)
    x[::97] = np.nan
    frame = pd.DataFrame({"x": x, "region": rng.choice(["north", "south", "west"], num_rows)})
    number = pd.array(rng.integers(0, 9, num_rows), dtype="Int64")
    number[num_rows // 2 :: 500] = pd.NA
    return frame.assign(note=[f"n{n}" if n % 3 else None for n in range(num_rows)], number=number)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of predictions but the manifest, and but the lock that a killed process leaves."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("manifest.json", ".lock")}


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_files_have_the_same_bytes_for_chunks_of_any_size(kind: str, tiny_run: Any, cde: Cde) -> None:
    frame = long_table(BLOCK_ROWS + 300, seed=3)
    frame.to_csv("new.csv", index=False) if kind == "csv" else frame.to_parquet("new.parquet", row_group_size=800)
    found = []
    for rows in (BLOCK_ROWS, 177, 5000):
        run = in_chunks_of(rows, tiny_run.run)
        outcome = cde("predict", run, f"new.{kind}", "--out", f"out{rows}", "--format", kind, *EVERYTHING)
        assert outcome.code == 7, outcome.err
        found.append(contents(Path(f"out{rows}")))
    assert len(found[0]) == 6
    assert found[0] == found[1] == found[2]


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any table be predicted by two processes."""
    monkeypatch.setenv("CDE_EXECUTOR", "processes")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(answers, "LEAST_ROWS_FOR_WORKERS", 1)


@pytest.mark.parametrize(
    "asked", [["--total"], pytest.param(["--given", "a"], marks=pytest.mark.slow)], ids=["total", "given"]
)
def test_files_have_the_same_bytes_from_worker_processes(
    asked: list[str], tiny_run: Any, cde: Cde, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(8)
    frame = long_table(BLOCK_ROWS + 300, seed=7).assign(limit=lambda frame: frame["x"] * 2)
    frame.assign(a=random.normal(size=len(frame)), b=random.normal(size=len(frame))).to_csv("new.csv", index=False)
    command = ["predict", tiny_run.run, "new.csv", "--samples", "2", "--threshold", "b>@limit", *asked]
    command += ["--keep", "note", "--on-fault", "skip"]
    here = cde(*command, "--out", "here")
    assert here.code == 7, here.err
    request.getfixturevalue("two_workers")
    monkeypatch.setattr(answers, "answer", None)  # in this process
    apart = cde(*command, "--out", "apart")
    assert apart.code == 7, apart.err
    assert apart.err.splitlines()[1:] == here.err.replace("here/", "apart/").splitlines()[1:], "after the seconds"
    assert contents(Path("here")) == contents(Path("apart"))
    facts = [json.loads(Path(out, "manifest.json").read_text()) for out in ("here", "apart")]
    for one in facts:
        del one["seconds"], one["files"], one["argv"]
    assert facts[0] == facts[1]


def test_few_rows_one_thread_and_little_memory_need_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def number(rows: int, *, executor: str = "processes", threads: int = 30, num_samples: int = 0) -> int:
        monkeypatch.setenv("CDE_EXECUTOR", executor)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        asked = Questions(num_samples=num_samples)
        return answers.num_workers(rows, asked, num_targets=2, num_components=256)

    monkeypatch.setattr("cde_app.machine.memory.available_bytes", lambda: 64 << 30)
    assert [number(rows) for rows in (0, 19_999, 20_000, 1_000_000)] == [1, 1, 20, 30], "one for each block at most"
    assert number(1_000_000, threads=1) == number(1_000_000, executor="serial") == 1
    monkeypatch.setattr("cde_app.machine.memory.available_bytes", lambda: 3 << 30)
    assert [number(1_000_000, num_samples=draws) for draws in (0, 2000, 5000)] == [7, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["worker", "command"])
def test_a_worker_that_dies_is_replaced_and_ctrl_c_leaves_nothing(number: signal.Signals, tiny_run: Any) -> None:
    psutil = pytest.importorskip("psutil")
    long_table(40_000, seed=9).fillna({"x": 0.0}).to_csv("new.csv", index=False)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "CDE_EXECUTOR": "processes"}
    command = [sys.executable, "-m", "cde_app", "predict", tiny_run.run, "new.csv", "--samples", "1"]
    command += ["--max-memory", "3GB", "--out"]
    command = [str(word) for word in command]
    process = subprocess.Popen(
        [*command, "out"],
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )

    def workers() -> list[Any]:
        try:
            return [one for child in psutil.Process(process.pid).children() for one in child.children()]
        except psutil.NoSuchProcess:
            return []

    deadline = time.monotonic() + 60
    while len(found := workers()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)  # they are at work
    (found[0] if number == signal.SIGKILL else process).send_signal(number)
    _, err = process.communicate(timeout=120)
    _, alive = psutil.wait_procs([one for one in found if one.is_running() and one.status() != "zombie"], timeout=5)
    assert not alive
    if number == signal.SIGINT:
        assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted")
        assert not Path("out").exists()
    else:
        assert process.returncode == 0, err
        alone = subprocess.run([*command, "alone"], env=environment | {"CDE_EXECUTOR": "serial"}, check=True)
        assert alone.returncode == 0
        assert contents(Path("out")) == contents(Path("alone"))


def test_partitions_read_as_one_table_have_the_bytes_of_the_table(tiny_run: Any, cde: Cde) -> None:
    frame = long_table(1500, seed=4).fillna({"x": 0.0})
    frame.to_csv("whole.csv", index=False)
    frame[:700].to_csv("part0.csv", index=False)
    frame[700:].to_csv("part1.csv", index=False)
    assert cde("predict", tiny_run.run, "whole.csv", "--out", "whole").code == 0
    assert cde("predict", tiny_run.run, "part?.csv", "--out", "parts").code == 0
    assert contents(Path("whole")) == contents(Path("parts"))


def test_the_draws_of_rows_do_not_depend_on_the_format_of_the_table(tiny_run: Any, cde: Cde) -> None:
    frame = long_table(50, seed=5).fillna({"x": 0.0})
    frame.to_csv("new.csv", index=False)
    frame[["note", "region", "x"]].to_parquet("new.parquet")
    for kind in ("csv", "parquet"):
        assert cde("predict", tiny_run.run, f"new.{kind}", "--out", kind).code == 0
    assert contents(Path("csv")) == contents(Path("parquet"))


def test_two_partitions_have_draws_of_their_own(tiny_run: Any, cde: Cde) -> None:
    quantiles = {}
    for name in ("one", "two"):
        frame = long_table(40, seed=len(quantiles)).assign(x=0.0, region="north")
        frame["x"] = np.where(np.arange(40) == 39, len(quantiles), 0.0)  # only the last rows differ
        frame.to_csv(f"{name}.csv", index=False)
        assert cde("predict", tiny_run.run, f"{name}.csv", "--out", name).code == 0
        draws = pd.read_csv(f"{name}/samples.csv")
        quantiles[name] = draws.loc[draws["row"] == 1, "a"].to_numpy()
    assert not np.isin(quantiles["one"], quantiles["two"]).any()


def test_the_seed_of_a_block_is_that_of_its_content() -> None:
    values = np.array([[0.1, 2.0], [np.nan, -0.0]])
    assert seed_of_block(0, values) == seed_of_block(0, values * (1 + 1e-15))
    assert seed_of_block(0, values) != seed_of_block(1, values)
    assert seed_of_block(0, values) != seed_of_block(0, values[::-1])
    assert seed_of_block(0, values) == 17559655702905396445, "draws of earlier versions can be made again"


@pytest.mark.parametrize("sizes", [[10], [3, 3, 4], [1] * 10, [7, 3], [4, 4, 2], []])
def test_blocks_begin_at_multiples_of_their_size(sizes: list[int]) -> None:
    edges = np.cumsum([0, *sizes])
    chunks = [pd.DataFrame({"a": range(i, j)}, index=pd.RangeIndex(i, j)) for i, j in itertools.pairwise(edges)]
    found = [list(block["a"]) for block in aligned_blocks(chunks, 4)]
    assert found == ([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] if sizes else [])


def test_a_chunk_without_rows_stays() -> None:
    (block,) = aligned_blocks([pd.DataFrame({"a": []})], 4)
    assert block.empty
