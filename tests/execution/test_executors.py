"""The contract of the executors, fulfilled by all of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cde_app.errors import DataError, WorkerError
from cde_app.execution.executor import MAX_ATTEMPTS, Executor, Serial
from cde_app.execution.processes import MOST_AHEAD, Processes
from tests.execution.units import Counts, Dies, Fails, Looks, MakesOnce, Square, Unreadable

KINDS: dict[str, Callable[[], Executor]] = {"serial": Serial, "processes": lambda: Processes(2)}
APART = ["processes", "dask"]
"""The executors whose units run in other processes."""


def dask_cluster() -> Executor:
    pytest.importorskip("distributed")
    from cde_app.execution.dask import DaskCluster

    return DaskCluster(None, num_workers=2)


@pytest.fixture(scope="module")
def executors() -> Iterator[Callable[[str], Executor]]:
    """Open an executor of a kind, once for all tests."""
    opened: dict[str, Executor] = {}

    def open_one(kind: str) -> Executor:
        if kind not in opened:
            opened[kind] = (KINDS | {"dask": dask_cluster})[kind]().__enter__()
        return opened[kind]

    yield open_one
    for executor in opened.values():
        executor.__exit__(None, None, None)


@pytest.fixture(params=[*KINDS, "dask"])
def executor(request: pytest.FixtureRequest, executors: Callable[[str], Executor]) -> Executor:
    return executors(request.param)


@pytest.fixture(params=APART)
def apart(request: pytest.FixtureRequest, executors: Callable[[str], Executor]) -> Executor:
    return executors(request.param)


def test_every_unit_has_one_outcome_with_its_own_result(executor: Executor) -> None:
    outcomes = sorted(executor.run([Square(n) for n in range(9)]), key=lambda outcome: outcome.index)
    assert [outcome.result() for outcome in outcomes] == [n**2 for n in range(9)]
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert list(executor.run([])) == []


def test_results_come_in_order_and_an_error_in_its_turn(executor: Executor) -> None:
    assert list(executor.run_in_order(Square(n) for n in range(9))) == [n**2 for n in range(9)]
    results = executor.run_in_order([Square(2), Square(3), Fails(), Square(4)])
    assert [next(results), next(results)] == [4, 9]
    with pytest.raises(DataError, match="one"):
        next(results)


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_taken_when_a_worker_is_about_to_be_free(
    kind: str, executors: Callable[[str], Executor], tmp_path: Path
) -> None:
    taken = list[int]()

    def units() -> Iterator[Square | Dies]:
        for number in range(200):
            taken.append(number)
            dies = number == 50 and kind in APART
            yield Dies(tmp_path, 1) if dies else Square(number, seconds=0.3 if number in (0, 100) else 0.0)

    for number, result in enumerate(executors(kind).run_in_order(units())):
        assert result == (number**2 if number != 50 or kind not in APART else "done")
        assert len(taken) <= number + 2 * (MOST_AHEAD + 1), "the results of others wait for one that is slow"
    assert taken == list(range(200))


def test_an_error_keeps_its_kind_and_its_faults_and_spares_the_other_units(executor: Executor) -> None:
    first, second = sorted(executor.run([Fails(), Square(3)]), key=lambda outcome: outcome.index)
    assert isinstance(first.error, DataError)
    assert first.error.faults == ("a.csv: one", "a.csv: two")
    with pytest.raises(DataError, match="one"):
        first.result()
    assert second.value == 9


def test_an_error_that_cannot_be_sent_is_sent_as_text_with_its_traceback(apart: Executor) -> None:
    (outcome,) = apart.run([Fails(can_be_sent=False)])
    assert "cannot be sent" in str(outcome.error)
    assert "units.py" in "".join(outcome.error.__notes__)  # type: ignore[union-attr]


def test_messages_arrive_in_order_and_before_the_outcome(executor: Executor) -> None:
    got: list[tuple[int, Any]] = []
    units = [Square(n, num_messages=5) for n in range(4)]
    for outcome in executor.run(
        units,
        on_event=lambda index, event: got.append((index, ("event", event[0]))),
        on_state=lambda index, state: got.append((index, ("state", state))),
    ):
        got.append((outcome.index, "ended"))  # noqa: PERF401  # among the messages
    each = [(kind, n) for n in range(5) for kind in ("event", "state")]
    for index in range(4):
        assert [message for i, message in got if i == index] == [*each, "ended"]


def test_messages_of_some_megabytes_arrive(executor: Executor) -> None:
    sizes: list[int] = []
    (outcome,) = executor.run(
        [Square(2, num_messages=3, bytes_each=4 << 20)], on_event=lambda _, event: sizes.append(len(event[1]))
    )
    assert outcome.value == 4
    assert sizes == [4 << 20] * 3


def test_a_worker_that_dies_once_is_replaced_and_its_unit_repeated(apart: Executor, tmp_path: Path) -> None:
    outcomes = sorted(apart.run([Dies(tmp_path, 1), Square(3)]), key=lambda outcome: outcome.index)
    assert [(outcome.value, outcome.attempts) for outcome in outcomes] == [("done", 2), (9, 1)]


def test_a_unit_whose_workers_always_die_fails_and_spares_the_others(apart: Executor, tmp_path: Path) -> None:
    outcomes = {outcome.index: outcome for outcome in apart.run([Dies(tmp_path, 99), Square(3), Square(4)])}
    assert isinstance(outcomes[0].error, WorkerError)
    assert outcomes[0].attempts == MAX_ATTEMPTS == len(list(tmp_path.iterdir()))
    assert str(outcomes[0].error).startswith("dies: expected its ")
    assert "lower --workers" in str(outcomes[0].error)
    assert [outcomes[1].value, outcomes[2].value] == [9, 16]
    assert next(iter(apart.run([Square(5)]))).value == 25


def test_a_unit_that_no_worker_can_read_fails_and_spares_the_others(apart: Executor) -> None:
    outcomes = {outcome.index: outcome for outcome in apart.run([Unreadable(), Square(3)])}
    assert outcomes[0].error is not None
    assert outcomes[1].value == 9


class StoppedError(Exception):
    """What a callback raises."""


@pytest.mark.parametrize("error", [StoppedError, KeyboardInterrupt])
def test_a_callback_that_raises_stops_the_units_and_still_hears_what_they_have_done(
    apart: Executor, error: type[BaseException], tmp_path: Path
) -> None:
    kept: list[Any] = []
    heard: list[int] = []

    def stop(index: int, event: int) -> None:
        heard.append(event)
        if event >= 5:  # and each time that it is called while the units stop
            raise error

    with pytest.raises(error):
        list(apart.run([Counts(tmp_path)], on_event=stop, on_state=lambda _, state: kept.append(state)))
    ((word, reached),) = kept
    assert word == "stopped"
    assert reached >= 5
    assert heard == list(range(reached + 1))  # it is stopped when it reports
    assert next(iter(apart.run([Square(5)]))).value == 25


def test_in_this_process_a_callback_that_raises_is_no_fault_of_the_unit() -> None:
    def stop(index: int, event: Any) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        list(Serial().run([Square(1, num_messages=1)], on_event=stop))


def test_units_stop_when_the_caller_stops_iterating(apart: Executor, tmp_path: Path) -> None:
    kept: list[Any] = []
    outcomes = apart.run([Counts(tmp_path), Square(3)], on_state=lambda index, state: kept.append((index, state)))
    assert next(outcomes).value == 9
    time.sleep(1.0)  # the other unit has begun
    outcomes.close()
    assert [index for index, _ in kept] == [0]
    assert (tmp_path / "stopped").exists()


def test_what_a_worker_makes_once_is_made_once_in_each_process(executor: Executor) -> None:
    made: dict[tuple[int, Any], set[int]] = {}
    for outcome in executor.run([MakesOnce("a") for _ in range(8)]):
        process, key, made_id = outcome.result()
        made.setdefault((process, key), set()).add(made_id)
    assert len(made) <= 2
    assert all(len(ids) == 1 for ids in made.values())
    (other,) = executor.run([MakesOnce("b")])
    assert other.result()[1] == "b"


def test_a_worker_uses_one_thread_and_loads_no_tensorflow(apart: Executor) -> None:
    (outcome,) = apart.run([Looks()])
    found = outcome.result()
    assert found["threads"] == 1
    assert set(found["blas"]) <= {1}
    assert not found["tensorflow"]


def test_workers_import_a_module_early(apart: Executor) -> None:
    apart.import_early("json")
    apart.import_early("no_such_module")
    assert next(iter(apart.run([Square(5)]))).value == 25


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, project: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(project)!r})\n"
        "from cde_app.execution.processes import Processes\n"
        "from tests.execution.units import Square\n"
        "print('main')\n"
        "with Processes(2) as executor:\n"
        "    print(sorted(outcome.value for outcome in executor.run([Square(2), Square(3)])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "main\n[4, 9]\n", done.stderr
