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
        (" y >= -1.5e2 ", Threshold("y>=-1.5e2", "y", -150.0, includes=(True, False))),
        ("y<@ limit", Threshold("y<@ limit", "y", -math.inf, "limit")),
        ("y<@limit", Threshold("y<@limit", "y", -math.inf, "limit")),
        ("100 < y", Threshold("100<y", "y", 100.0)),
        ("@a b >y", Threshold("@a b>y", "y", -math.inf, "a b")),
        ("1<wind speed<=2", Threshold("1<wind speed<=2", "wind speed", 1.0, 2.0, (False, True))),
        ("2>=y>1", Threshold("2>=y>1", "y", 1.0, 2.0, (False, True))),
        ("@low<y<@high", Threshold("@low<y<@high", "y", "low", "high")),
        ("1e3>5", Threshold("1e3>5", "1e3", 5.0)),
        ("y > 1 > 2", Threshold("y > 1>2", "y > 1", 2.0)),
        ("0 < a<b < @c", Threshold("0<a<b<@c", "a<b", 0.0, "c")),
    ],
)
def test_a_threshold_is_an_interval_of_a_target(text: str, expected: Threshold) -> None:
    assert parse_threshold(text, TARGETS) == expected


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        *((text, "Correct the text.") for text in ("", "y", "y>", ">1", "y=1", "1<y>2", "y>1>0<2")),
        *((text, "is no number. Write @") for text in ("y>x", "y>1_0", "y>１", "y>y")),
        *((text, "is no number") for text in ("y>inf", "y>nan", "y>@", "y>1>0", "y<1<2")),
        ("y>1e400", "'1e400' is too large. Lower it."),
        *((text, "Name a target.") for text in ("1<2",)),
        ("z>1", "Did you mean|Name a target"),
        ("wind_speed>1", "Did you mean 'wind speed'?"),
        ("2<y<1", "Exchange them."),
    ],
)
def test_another_text_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match="^expected .+; got ") as caught:
        parse_threshold(text, TARGETS)
    assert any(part in str(caught.value) for part in advice.split("|")), caught.value
