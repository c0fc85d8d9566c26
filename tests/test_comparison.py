"""Why the scores of runs cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cde_app.evaluation.scores import score_units
from cde_app.workflow.compare import Scored, comparison_warnings

RUN = Scored(("a", "b"), ("m", ""), ("t.csv",), "hash", "rows", 20, (1.0, 2.0))


def test_runs_that_differ_in_nothing_that_is_scored_are_comparable() -> None:
    assert comparison_warnings({"one": RUN}) == []
    assert comparison_warnings({"one": RUN, "two": replace(RUN, files=("copy.csv",))}) == []
    turned = replace(RUN, targets=("b", "a"), units=("", "m"), scales=(2.0, 1.0))
    assert comparison_warnings({"one": RUN, "two": turned}) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"targets": ("a", "c")},
            (
                "the runs have different targets (one, two: 'a', 'b'; three: 'a', 'c'); only coverage, pit_ks "
                "and skill can be compared."
            ),
        ),
        (
            {"units": ("cm", "")},
            (
                "the runs have different units (one, two: 'm', ''; three: 'cm', ''); scores in different units "
                "have lines of their own."
            ),
        ),
        (
            {"table": "other", "files": ("u1.csv", "u2.csv")},
            (
                "the runs were scored on different tables (one, two: 't.csv'; three: 'u1.csv', 'u2.csv'); a "
                "better score may mean easier rows."
            ),
        ),
        (
            {"table": "run", "files": ()},
            (
                "the runs were scored on different tables (one, two: 't.csv'; three: standard input); a better "
                "score may mean easier rows."
            ),
        ),
        (
            {"rows": "others", "num_rows": 30},
            (
                "the runs were scored on different rows of one table (one, two: 20; three: 30); a better score "
                "may mean easier rows."
            ),
        ),
        (
            {"scales": (1.0, 2.05)},
            (
                "scores in training sds use the sds of each run's own training rows, which differ by up to "
                "2.5 % (one, two, three)."
            ),
        ),
    ],
)
def test_what_stands_in_the_way_of_a_comparison_is_told(changes: dict[str, Any], expected: str) -> None:
    assert comparison_warnings({"one": RUN, "two": RUN, "three": replace(RUN, **changes)}) == [expected]


def test_the_units_of_the_scores_name_the_targets() -> None:
    assert score_units(["y"], ["kg"]) == {
        "nlpd": "nats, y in kg",
        "entropy": "nats, y in kg",
        "energy_score": "y in training sds",
        "variogram_score": "y in training sds",
        "cde_loss": "1 / y in kg",
        "crps": "y in kg",
        "mae": "y in kg",
        "interval_score": "y in kg",
        "width": "y in kg",
        "rmse": "y in kg",
    }
    assert score_units(["y"], [""])["crps"] == "y"
    assert score_units(["a", "b"], ["m", ""])["crps"] == "a, b in training sds"
