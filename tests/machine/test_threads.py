"""How many threads are used: what the user says, then what the variables say, then every core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cde_app.machine import threads
from tests.conftest import TrainedTiny

READ_BACK = """\
import sys
from cde_app.machine.threads import limit_threads, num_threads
limit_threads(int(sys.argv[1]) if len(sys.argv) > 1 else None)
import numpy
from threadpoolctl import threadpool_info
print(num_threads(), *{library["num_threads"] for library in threadpool_info()})
"""


@pytest.mark.parametrize(
    ("value", "number"), [("3", 3), (" 2 ", 2), ("4,2", 4), ("", None), ("0", None), ("many", None), (None, None)]
)
def test_the_variable_counts_where_it_is_a_number(
    monkeypatch: pytest.MonkeyPatch, value: str | None, number: int | None
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.num_threads() == (threads.num_cores() if number is None else number)


def test_a_limit_is_told_to_every_library_and_none_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "7")
    threads.limit_threads(None)
    threads.spread_operations()
    assert {os.environ[name] for name in threads.VARIABLES} == {"7"}
    threads.limit_threads(2)
    assert {name: os.environ[name] for name in threads.VARIABLES} == {
        **dict.fromkeys(threads.VARIABLES, "2"), threads.INTRAOP_VARIABLE: "1"
    }  # fmt: skip
    assert threads.num_threads() == 2


def test_tensorflow_gives_an_operation_one_thread_and_runs_as_many_as_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    threads.spread_operations()
    assert (os.environ[threads.INTRAOP_VARIABLE], os.environ[threads.INTEROP_VARIABLE]) == ("1", "3")


@pytest.mark.slow
def test_a_training_is_the_same_bytes_on_one_thread_and_on_two(cde_process: Callable, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((900, 8))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * random.standard_normal(len(X))
    columns = [f"x{index}" for index in range(8)]
    pd.DataFrame(np.column_stack([X, y]), columns=[*columns, "y"]).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "config.yaml").write_text(
        f"schema_version: 1\ndata: {{path: table.csv, inputs: {columns}, targets: [y]}}\n"
        "training: {max_steps: 25, batch_size: 512, ensemble: 1, warm_start: {max_steps: 10}}\n"
    )

    def train(run: str, *settings: object, **variables: str) -> dict[str, bytes]:
        outcome = cde_process(
            "train", tmp_path / "config.yaml", "--out", tmp_path / run, *settings, env=os.environ | variables
        )
        assert outcome.code == 0, outcome.err
        files = ("posterior/arrays.npz", "baselines.npz", "metrics.json")
        return {name: (tmp_path / run / name).read_bytes() for name in files}

    one = train("one", "--threads", 1)
    assert one == train("two", "--threads", 2)
    split = train("split", **{threads.INTRAOP_VARIABLE: "2"})
    assert split["posterior/arrays.npz"] != one["posterior/arrays.npz"], "the control: operations split between threads"


@pytest.mark.parametrize(("variable", "arguments", "number"), [("1", [], "1"), ("2", ["1"], "1")])
def test_the_command_line_goes_before_the_variable_and_numpy_keeps_to_it(
    variable: str, arguments: list[str], number: str
) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": variable}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK, *arguments], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == [number, number]


def test_predictions_are_the_same_bytes_on_one_thread_and_on_two(
    cde_process: Callable, line_run: TrainedTiny, tmp_path: Path
) -> None:
    written = []
    for number in (1, 2):
        out = tmp_path / str(number)
        outcome = cde_process("predict", line_run.run, line_run.table, "--out", out, "--threads", number)
        assert outcome.code == 0, outcome.err
        written.append([(out / name).read_bytes() for name in ("summary.csv", "samples.csv")])
    assert written[0] == written[1]
    outcome = cde_process("predict", line_run.run, line_run.table, "--out", tmp_path / "3", "--seed", 99)
    assert (tmp_path / "3/samples.csv").read_bytes() != written[0][1], "the control: other draws"


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "plot"])
def test_no_threads_are_no_number_of_threads(cde: Callable, command: str) -> None:
    outcome = cde(command, "a", *(["b", "--out", "c"] if command == "predict" else []), "--threads", "0")
    assert outcome.code == 2
    assert "'--threads'" in outcome.err
