"""What commands print."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from cde_app.cli.output import align, emit_json, emit_scores, emit_values


def test_json_has_no_nan_and_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"größe": float("nan"), "b": (1, float("inf"))})
    text = capsys.readouterr().out
    assert json.loads(text) == {"größe": None, "b": [1, None]}
    assert "größe" in text


def test_columns_are_aligned_without_trailing_blanks() -> None:
    assert align([["a", "b"], ["ccc", "d"], ["e", ""]]) == "a    b\nccc  d\ne"


def test_scores_stand_beside_those_of_the_baselines_with_standard_errors(capsys: pytest.CaptureFixture[str]) -> None:
    baseline = {"nlpd": {"value": 5.25, "se": 0.25}, "coverage": {"0.9": {"value": 1.0, "se": None}}}
    emit_scores(
        {
            "num_rows": 14,
            "nlpd": {"value": 4.0, "se": 0.125},
            "coverage": {"0.9": {"value": 0.93, "se": 0.07}},
            "rmse": {"value": None, "se": None, "num_infinite": 3},
            "baselines": {"climatology": baseline},
            "skill": {"climatology": {"nlpd": {"value": 1.25, "se": 0.1}}},
            "verdict": "Too few to tell.",
        },
        everything=True,
    )
    assert capsys.readouterr().out.splitlines() == [
        "Too few to tell.",
        "rows: 14",
        "score         model               climatology",
        "nlpd          4 ± 0.12            5.25 ± 0.25",
        "rmse          infinite in 3 rows  -",
        "coverage 0.9  0.93 ± 0.07         1",
        "skill (above 0: better than the baseline; nlpd and cde_loss: the difference)",
        "score  climatology",
        "nlpd   1.25 ± 0.1",
    ]


def test_what_matters_most_is_shown_first_and_the_rest_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    def scores(names: list[str], num_targets: int) -> dict[str, Any]:
        each = {f"y{p}": {"value": 1.0, "se": 0.1} for p in range(num_targets)}
        return {name: {"value": 1.0, "se": 0.1, "per_target": each} for name in names}

    names = ["nlpd", "crps", "energy_score", "cde_loss", "mae", "rmse", "width", "pit_ks"]
    for num_targets, shown in ((1, "nlpd crps mae pit_ks"), (2, "nlpd crps energy_score mae pit_ks")):
        metrics: dict[str, Any] = {"num_rows": 14, **scores(names, num_targets)}
        metrics["coverage"] = metrics["hpd_coverage"] = scores(["0.5", "0.9"], num_targets)
        metrics["skill"] = {"climatology": scores(["crps", "interval_score", "nlpd"], num_targets)}
        emit_scores(metrics, everything=False)
        first = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
        joint = ["hpd_coverage 0.9"] if num_targets > 1 else []
        assert first[:-1] == [
            *("rows: 14", "score", *shown.split(), "coverage 0.9", *joint),
            *("skill (above 0: better than the baseline; nlpd and cde_loss: the difference)", "score", "crps", "nlpd"),
        ]
        assert first[-1] == "more scores: cde evaluate --all, or --json"
        emit_scores(metrics, everything=True)
        everything = capsys.readouterr().out
        assert all(f"\n{name} " in everything for name in [*names, "interval_score", "coverage 0.5"])
        assert "--all" not in everything


def test_nested_values_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    emit_values({"a": {"b": 1, "c": [1.5, "x"]}, "d": None})
    assert capsys.readouterr().out == "a.b  1\na.c  1.5, x\nd    -\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys, time; from cde_app.cli.output import emit; time.sleep(0.3); emit('x' * 100000); emit('y')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
