"""Gates on scores."""

from __future__ import annotations

import pytest

from cde_app.cli.gates import check_gates, find_score, parse_gates
from cde_app.errors import GateError, UsageError

METRICS = {
    "num_rows": 20,
    "nlpd": {"value": 1.5, "se": 0.1},
    "crps": {"value": 0.4, "se": None, "per_target": {"accel": {"value": 0.3, "se": 0.01}}},
    "coverage": {"0.5": {"value": 0.45, "se": 0.1}, "0.9": {"value": 0.88, "se": 0.1}},
    "rmse": {"value": None, "se": None, "num_infinite": 2},
    "baselines": {"climatology": {"crps": {"value": 0.8, "se": 0.1}}},
    "skill": {
        "climatology": {"crps": {"value": 0.5, "se": 0.1}, "nlpd": {"value": 2.0, "se": 0.1}},
        "linear_gaussian": {"crps": {"value": 0.2, "se": 0.1}, "nlpd": {"value": None, "se": None}},
    },
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nlpd", 1.5),
        ("nlpd.value", 1.5),
        ("nlpd.se", 0.1),
        ("num_rows", 20),
        ("coverage.0.9", 0.88),
        ("crps.per_target.accel", 0.3),
        ("baselines.climatology.crps", 0.8),
        ("skill.climatology.crps", 0.5),
        ("crps_skill", 0.2),
        ("nlpd_skill", None),
        ("rmse", None),
    ],
)
def test_a_score_is_found_by_its_key_and_a_skill_is_the_one_against_the_best_baseline(
    key: str, value: float | None
) -> None:
    assert find_score(METRICS, key) == value


def test_an_unknown_score_is_a_usage_error_with_the_nearest_key() -> None:
    with pytest.raises(UsageError, match=r"--gate: expected a score; got 'nlpdd'; did you mean 'nlpd'\?"):
        find_score(METRICS, "nlpdd")
    with pytest.raises(UsageError, match="got 'zzz_skill'"):
        find_score(METRICS, "zzz_skill")


@pytest.mark.parametrize(
    "text", ["crps_skill>0.1", "nlpd < 2", "coverage.0.9>=0.88", "coverage.0.9<=0.88", "nlpd>-1e3"]
)
def test_a_condition_that_holds_passes(text: str) -> None:
    check_gates(parse_gates([text]), METRICS, source="runs/a")


def test_every_condition_that_fails_is_named_with_what_was_found() -> None:
    gates = parse_gates(["crps_skill>0.3", "nlpd<2", "rmse<1", "coverage.0.9>0.88"])
    with pytest.raises(GateError) as caught:
        check_gates(gates, METRICS, source="runs/a")
    assert caught.value.faults == (
        "runs/a: --gate: expected crps_skill > 0.3; got 0.2.",
        "runs/a: --gate: expected rmse < 1; got no value.",
        "runs/a: --gate: expected coverage.0.9 > 0.88; got 0.88.",
    )


@pytest.mark.parametrize("text", ["", "nlpd", "nlpd=1", "nlpd>x", "nlpd>1e", ">1", "nlpd>1>2", "nlpd=>1"])
def test_a_condition_of_another_form_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--gate: expected KEY>NUMBER"):
        parse_gates([text])
