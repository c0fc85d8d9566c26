"""What is fuzzed, by random inputs: a few in every run of the tests, many in the slow ones; see `fuzz.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import TrainedTiny
from tests.fuzz.targets import SEEDS, TARGETS, RunTarget, changed

EXACT = settings(deadline=None, derandomize=True, database=None)
FEW, MANY = settings(EXACT, max_examples=12), settings(EXACT, max_examples=500)


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Any bytes, and the seeds of a target with changes and continuations."""
    seeds = st.sampled_from(SEEDS[name])
    edited = st.builds(changed, seeds, st.binary(max_size=12))
    return st.one_of(st.binary(max_size=60), edited, st.builds(bytes.__add__, edited, st.binary(max_size=8)))


def attack(target: Callable[[bytes], None], strategy: st.SearchStrategy[bytes], amount: settings) -> None:
    """Call a target with many inputs; whatever it raises is a fault."""
    amount(given(strategy)(lambda data: target(data)))()


@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_with_a_message_escape(name: str) -> None:
    attack(TARGETS[name], inputs(name), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_with_a_message_escape_from_many(name: str) -> None:
    attack(TARGETS[name], inputs(name), MANY)


def test_a_changed_run_is_loaded_or_refused(tiny_run: TrainedTiny, tmp_path: Path) -> None:
    attack(RunTarget(tiny_run.run, tmp_path), st.binary(min_size=1, max_size=10), FEW)


@pytest.mark.slow
def test_many_changed_runs_are_loaded_or_refused(tiny_run: TrainedTiny, tmp_path: Path) -> None:
    attack(RunTarget(tiny_run.run, tmp_path), st.binary(min_size=1, max_size=10), MANY)


def test_a_target_that_raises_is_found() -> None:
    """The control."""

    def target(data: bytes) -> None:
        if len(data) > 3:
            raise KeyError(data)

    with pytest.raises(KeyError):
        attack(target, st.binary(), MANY)
