"""Trainings in worker processes: the same bytes as one after another, whatever happens to the workers."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cde_app.execution.processes import Processes
from cde_app.training.checkpoint import Finished
from tests.test_own_encoder import posterior_of, write_line
from tests.training.test_session import Checkpoint, Progress, Trained, assert_same_bytes, chained, reread, run


@functools.cache
def one_after_another() -> Trained:
    return run(*chained())[0]


def pids(executor: Processes) -> list[int]:
    return [worker.pid for worker in executor._workers]


@pytest.mark.slow
def test_trainings_side_by_side_end_in_the_same_bytes_though_a_worker_is_killed() -> None:
    killed: list[int] = []
    reports: list[Progress] = []

    with Processes(2) as executor:

        def report(event: Progress) -> None:
            reports.append(event)
            if event.step == 25 and not killed:
                killed.append(pids(executor)[0])
                os.kill(killed[0], signal.SIGKILL)

        trained, checkpoints, _ = run(*chained(), executor=executor, report=report)
        assert killed[0] not in pids(executor)
        assert len(pids(executor)) == 2
    assert_same_bytes(trained.predictor, one_after_another().predictor)
    steps = [(event.training, event.step) for event in reports if event.step is not None]
    assert sorted(steps) == [(index, step) for index in range(4) for step in (25, 30)], "each step once"
    assert [index for index, _ in steps] != sorted(index for index, _ in steps), "they took turns"
    assert all(event.deep_gp is None for event in reports)
    assert all(isinstance(state, Finished) for state in checkpoints[-1].states)


@pytest.mark.slow
def test_an_interruption_keeps_the_states_of_all_trainings_that_run() -> None:
    def interrupt(event: Progress) -> None:
        if event.step == 25 and event.training == 2:
            raise KeyboardInterrupt

    config, data = chained(checkpoint_every=1000)
    checkpoints: list[Checkpoint] = []
    with Processes(2) as executor, pytest.raises(KeyboardInterrupt):
        run(config, data, executor=executor, report=interrupt, save=lambda one, _: checkpoints.append(one))
    assert checkpoints[-1].steps[2] in (25, 30), "it may have ended before it was told to stop"
    assert sum(checkpoints[-1].steps) > 25, "the other one too"
    with Processes(2) as executor:
        resumed = run(config, data, executor=executor, checkpoint=reread(checkpoints[-1]))[0]
    assert_same_bytes(resumed.predictor, one_after_another().predictor)


@pytest.mark.slow
def test_a_run_is_the_same_with_any_executor(tmp_path: Path, cde: Callable[..., Any]) -> None:
    config, contents = write_line(tmp_path), []
    for executor in ("serial", "processes", "dask"):
        folder = tmp_path / executor
        outcome = cde("train", config, "--out", folder, "--executor", executor, "--workers", 2, "--quiet")
        assert outcome.code == 0, outcome.err
        contents.append(posterior_of(folder) | {"metrics.json": (folder / "metrics.json").read_bytes()})
    assert contents[0] == contents[1] == contents[2]
