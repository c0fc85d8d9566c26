"""A scheduler that others have started: how cde finds it, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cde_app.errors import InstallError, UsageError, WorkerError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Work
from tests.execution.units import Counts, Looks, Square

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler with one worker process of two threads."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs=50, memory_limit=0
    ) as cluster:
        yield cluster


def squares(scheduler: str, *, num_units: int = 5) -> list[int]:
    with Execution(scheduler=scheduler).open(num_units, bytes_per_worker=1) as executor:
        return sorted(outcome.result() for outcome in executor.run([Square(n) for n in range(num_units)]))


def test_a_scheduler_runs_as_many_units_as_its_workers_have_threads(cluster: Any) -> None:
    assert squares(cluster.scheduler_address) == [0, 1, 4, 9, 16]
    with Execution(scheduler=cluster.scheduler_address).open(5, bytes_per_worker=1) as executor:
        assert executor.num_workers == 2
    with Execution(scheduler=cluster.scheduler_address, num_workers=1).open(5, bytes_per_worker=1) as executor:
        assert executor.num_workers == 1


def test_a_unit_has_one_thread_also_where_the_worker_was_started_with_more(cluster: Any) -> None:
    with Execution(scheduler=cluster.scheduler_address).open(1, bytes_per_worker=1) as executor:
        found = next(iter(executor.run([Looks()]))).result()
    assert (set(found["blas"]), found["threads"]) == ({1}, 1)


@pytest.mark.parametrize(
    "address",
    ["http://x:y", "tcp://host:port", "", "no such host", pytest.param("tcp://127.0.0.1:9", marks=pytest.mark.slow)],
)
def test_an_address_at_which_no_scheduler_answers_is_refused(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    message = "--scheduler: expected the address of a Dask scheduler that answers, such as tcp://host:8786; got "
    with pytest.raises(UsageError, match=re.escape(f"{message}{address!r}. Correct it, or start one with: dask")):
        squares(address)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_scheduler_without_workers_is_refused() -> None:
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        pytest.raises(UsageError, match=r"expected a scheduler with workers; got none at 'tcp.*Start some with: dask"),
    ):
        squares(cluster.scheduler_address)


@pytest.mark.slow
def test_a_worker_with_another_version_of_cde_is_refused(tmp_path: Path, project: Path) -> None:
    shutil.copytree(project / "cde_app", tmp_path / "cde_app", ignore=shutil.ignore_patterns("__pycache__"))
    init = tmp_path / "cde_app/__init__.py"
    init.write_text(re.sub(r'__version__ = "[^"]*"', '__version__ = "99.0"', init.read_text()))
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster:
        command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        worker = subprocess.Popen([*command, "--no-dashboard"], env=environment, stderr=subprocess.DEVNULL)
        try:
            with pytest.raises(
                UsageError,
                match=r"^--scheduler: expected workers with cde \S+ on Python [\d.]+, as here; got cde 99.0 on Python "
                r"[\d.]+ at tcp://[\d.:]+. Install the same version there, and start the worker again.$",
            ):
                squares(cluster.scheduler_address)
        finally:
            worker.terminate()
            worker.wait(timeout=30)


@pytest.mark.slow
def test_a_scheduler_that_ends_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    units: list[Work[Any]] = [Counts(tmp_path)]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50, memory_limit=0
    ) as cluster:

        def close(index: int, event: int) -> None:
            if event == 3:
                cluster.close()

        with (
            Execution(scheduler=cluster.scheduler_address).open(1, bytes_per_worker=1) as executor,
            pytest.raises(WorkerError, match=r"^tcp://\S+: expected the scheduler to go on; got .* repeat the command"),
        ):
            list(executor.run(units, on_event=close))
    assert capfd.readouterr().out == ""


def test_what_dask_needs_is_named_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cde_app.machine.packages.find_spec", lambda name: None)
    with (
        pytest.raises(InstallError, match=r"--executor dask: expected Dask to be installed; .*'cde-app\[dask\]'$"),
        Execution("dask").open(1, bytes_per_worker=1),
    ):
        pass


def test_a_scheduler_contradicts_another_executor() -> None:
    with pytest.raises(UsageError, match=r"^--scheduler: expected with --executor dask; got 'a:1' with --executor ser"):
        Execution("serial", scheduler="a:1")
