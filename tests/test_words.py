"""How numbers and dates are written in sentences."""

from __future__ import annotations

import pytest

from cde_app.config import TableFormat
from cde_app.data.encoding import ColumnContract
from cde_app.data.features import InputEncoding
from cde_app.words import percent, points, written_date
from cde_app.workflow.report import describe_columns


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0.0, "1970-01-01T00:00:00"),
        (19_000.25, "2022-01-08T06:00:00"),
        (-719_529.0, "-001-12-31T00:00:00"),
        (4e6, "12921-08-18T00:00:00"),  # the calendar repeats itself every 146,097 days: 2121-08-18 and 10,800 years
        (1e13, "1e+13 days after 1970-01-01"),
        (float("inf"), "inf days after 1970-01-01"),
    ],
)
def test_dates_are_written_however_far_away_they_are(days: float, text: str) -> None:
    assert written_date(days) == text


def test_the_report_describes_a_column_with_a_wild_date() -> None:
    column = InputEncoding("when", "datetime", (), had_gaps=False, minimum=19_000.5, maximum=4e6)
    contract = ColumnContract((column,), ("y",), ("",), "error", TableFormat())
    assert describe_columns(contract)[0]["range"] == "2022-01-08 to 12921-08-18"


def test_small_shares_keep_a_digit_more() -> None:
    assert [percent(share) for share in (0.0, 0.004, 0.05, 0.126, 1.0)] == ["0 %", "0.4 %", "5 %", "13 %", "100 %"]
    assert points(0.0512, digits=0) == "5 percentage points"
    assert points(0.0512, digits=1) == "5.1 percentage points"
