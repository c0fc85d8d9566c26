"""`cde selftest` and `cde doctor --check`: what they refuse, and that they can tell a good training from a bad one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cde_app.cli.doctor import _check
from cde_app.errors import UsageError
from cde_app.simulators import SIMULATORS
from cde_app.workflow.selftest import QUICK, expected_minutes, kinds_to_test, run_selftest
from tests.conftest import needs_tensorflow


def test_the_default_is_a_part_of_all_kinds_that_have_a_density() -> None:
    assert kinds_to_test(None, everything=False) == list(QUICK)
    assert kinds_to_test(None, everything=True) == [kind for kind in SIMULATORS if kind != "censored"]
    assert kinds_to_test(["ring"], everything=True) == ["ring"]
    assert expected_minutes(["ring"], everything=False) == "1 min"


def test_kinds_that_cannot_be_learned_or_do_not_exist_are_refused_at_once(cde: Callable[..., Any]) -> None:
    with pytest.raises(UsageError) as caught:
        kinds_to_test(["censored", "bimodl", "ring"], everything=False)
    assert [fault.partition("got ")[2].partition(".")[0] for fault in caught.value.faults] == [
        "'censored', where single values have probabilities of their own",
        "'bimodl'; did you mean 'bimodal'?",
    ]
    refused = cde("selftest", "--kinds", "censored,bimodl")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 2


def test_without_tensorflow_the_check_is_skipped_with_a_line() -> None:
    assert list(_check(can_train=False)) == ["skipped"]


@needs_tensorflow
@pytest.mark.slow
def test_a_default_training_passes_where_a_straight_line_would_not() -> None:
    (result,) = run_selftest(["heteroscedastic"], everything=False)
    assert result["passed"]
    assert result["linear_gaussian_gap"]["value"] > 2 * result["bar"]


@needs_tensorflow
@pytest.mark.slow
def test_doctor_prints_what_its_check_has_found(cde: Callable[..., Any]) -> None:
    done = cde("doctor", "--check", "--json")
    assert done.code == 0
    assert json.loads(done.out)["check"]["passed"] is True
