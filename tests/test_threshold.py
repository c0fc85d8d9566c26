"""Thresholds as text."""

from __future__ import annotations

import math

import pytest

from cde_app.config.threshold import Threshold, parse_threshold

TARGETS = ("y", "wind speed", "1e3", "y > 1", "a<b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y>100", Threshold("y>100", "y", 100.0)),
        (" y >= -1.5e2 ", Threshold("y>=-1.5e2", "y", -150.0)),
        ("y<@limit", Threshold("y<@limit", "y", -math.inf, "limit")),
        ("100 < y", Threshold("100<y", "y", 100.0)),
        ("@a b >y", Threshold("@a b>y", "y", -math.inf, "a b")),
        ("1<wind speed<=2", Threshold("1<wind speed<=2", "wind speed", 1.0, 2.0)),
        ("2>=y>1", Threshold("2>=y>1", "y", 1.0, 2.0)),
        ("@low<y<@high", Threshold("@low<y<@high", "y", "low", "high")),
        ("1e3>5", Threshold("1e3>5", "1e3", 5.0)),
        ("y > 1 > 2", Threshold("y > 1>2", "y > 1", 2.0)),
        ("0 < a<b < @c", Threshold("0<a<b<@c", "a<b", 0.0, "c")),
    ],
)
def test_a_threshold_is_an_interval_of_a_target(text: str, expected: Threshold) -> None:
    assert parse_threshold(text, TARGETS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "y",
        "y>",
        ">1",
        "y=1",
        "y>1>0<2",
        "y>x",
        "y>inf",
        "y>nan",
        "y>@",
        "z>1",
        "1<2",
        "y<1<2",
        "1<y>2",
        "2<y<1",
        "y>y",
    ],
)
def test_another_text_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected .+; got .+\. ?\S.+[.?]$|^expected .+; got .+[.?]$"):
        parse_threshold(text, TARGETS)
