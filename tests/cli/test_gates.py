"""Gates on scores."""

from __future__ import annotations

import pytest

from cde_app.cli.gates import check_gates, check_names, find_score, parse_gates
from cde_app.errors import GateError, UsageError
from cde_app.evaluation.metrics import blank_metrics

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


def test_unknown_scores_are_usage_errors_with_the_nearest_names() -> None:
    texts = ["nlpdd>1", "crps_skil>0", "crps.per_target.acel<1", "qqqqq>1", "se_skill>1", "nlpd>1"]
    with pytest.raises(UsageError) as caught:
        check_names(parse_gates(texts), METRICS)
    assert caught.value.faults == (
        "--gate: expected a score; got 'nlpdd'; did you mean 'nlpd'?",
        "--gate: expected a score; got 'crps_skil'; did you mean 'crps_skill'?",
        "--gate: expected a score; got 'crps.per_target.acel'; did you mean 'crps.per_target.accel'?",
        "--gate: expected a score; got 'qqqqq'; `cde evaluate RUN --json` shows the keys.",
        "--gate: expected a score; got 'se_skill'; did you mean 'crps_skill'?",
    )


def test_every_name_that_a_table_may_be_scored_by_is_known_before() -> None:
    texts = ["crps_skill>0", "energy_score_skill>0", "nlpd.se<1", "num_rows>1", "drawn_from>1", "coverage.0.95>0"]
    texts += ["crps.per_target.wind speed [m/s]<1", "baselines.linear_gaussian.pit_ks<1", "skill.climatology.nlpd>0"]
    texts += ["coverage.0.9.per_target.a.b.se<1"]
    check_names(parse_gates(texts), blank_metrics(["a.b", "wind speed [m/s]"]))


def test_a_score_that_the_rows_do_not_give_holds_no_condition() -> None:
    with pytest.raises(GateError, match=r"runs/a: --gate: expected crps_skill > 0; got no value\."):
        check_gates(parse_gates(["crps_skill>0"]), {"num_rows": 0}, source="runs/a")


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
        "runs/a: --gate: expected crps_skill > 0.3; got 0.2 against linear_gaussian.",
        "runs/a: --gate: expected rmse < 1; got no value.",
        "runs/a: --gate: expected coverage.0.9 > 0.88; got 0.88.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nlpd",
        "nlpd=1",
        "nlpd>x",
        "nlpd>1e",
        ">1",
        "nlpd>1>2",
        "nlpd=>1",
        "nlpd==1",
        "nlpd>nan",
        "nlpd>1_0",
        "nlpd>１",
        "nlpd<inf",
        "nlpd<1e999",
        "nlpd>1,5",
        "nlpd>1 2",
    ],
)
def test_a_condition_of_another_form_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--gate: expected KEY>NUMBER"):
        parse_gates([text])
