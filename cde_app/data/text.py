"""The meaning of a cell's text: the grammar of gaps, numbers and dates, the same for training and prediction.

Arrow processes whole columns at a time; blanks around a gap, a number or a date are ignored.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cde_app.arrays import Array, BoolArray
from cde_app.config import TableFormat

BLANKS = " \t\r\n"
_THOUSANDS = {" ": "[ \u00a0\u202f]", "'": "['\u2019]", ".": r"\.", ",": ",", "": ""}
_OFFSET = "(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_CLOCK = rf"[0-9]{{2}}(?::?[0-9]{{2}}(?::?[0-9]{{2}}(?:\.[0-9]+)?)?)?{_OFFSET}?"
_ISO_DATE = rf"[0-9]{{4}}(?:-[0-9]{{2}})?|(?:[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|[0-9]{{8}})(?:[T ]{_CLOCK})?"
_OTHER_DATE = "|".join(rf"[0-9]{{1,2}}{mark}[0-9]{{1,2}}{mark}[0-9]{{4}}" for mark in (r"\.", "/", "-"))
_REORDERED = {"day_first": r"\3-\2-\1", "month_first": r"\3-\1-\2"}
_MICROSECONDS_PER_DAY = 86_400e6
_KNOWN_TO_TIMEZONES = pd.Timestamp("1700-01-01"), pd.Timestamp("9998-12-31")  # beyond, the offset of that end is used
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}


class Days(NamedTuple):
    """A column read as dates."""

    values: Array
    """[N], days since 1970-01-01 UTC; NaN where the cell is empty or not a date."""
    is_other: BoolArray
    """[N], whether the cell holds anything but a date."""
    has_offset: BoolArray
    """[N], whether the date has an offset from UTC."""
    is_unclear: BoolArray
    """[N], whether the local time does not exist, or occurs twice, in its time zone."""


def is_text(column: pd.Series) -> bool:
    """Return whether the cells of a column are text."""
    return bool(pd.api.types.is_string_dtype(column) and not pd.api.types.is_object_dtype(column))


def to_text(column: pd.Series) -> Any:
    """Return a column of text, [N], as an Arrow array without the blanks around it."""
    text = pa.array(column, from_pandas=True)
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    return pc.utf8_trim(text.cast(pa.large_string()), BLANKS)


def text_gaps(text: Any, form: TableFormat) -> BoolArray:
    """Return which cells of a column, [N], are empty or hold a word for a gap."""
    gaps = pc.is_in(text, pa.array(["", *form.gaps], pa.large_string()))
    return _mask(pc.or_(gaps, pc.is_null(text)))


def text_numbers(text: Any, form: TableFormat) -> tuple[Array, BoolArray]:
    """Read numbers as the nearest floats; `true` and `false` in any case are 1 and 0.

    Returns:
        [N] numbers, NaN where the cell is not one; [N] whether it is one.
    """
    is_number = _mask(pc.match_substring_regex(text, f"^(?:{number_pattern(form)})$"))
    if not is_number.all():
        low = pc.utf8_lower(text)
        for word, digit in (("true", "1"), ("false", "0")):
            found = pc.fill_null(pc.equal(low, word), False)
            text, is_number = pc.if_else(found, digit, text), is_number | _mask(found)
        text = pc.if_else(pa.array(is_number), text, pa.scalar(None, pa.large_string()))
    if form.thousands:
        text = pc.replace_substring_regex(text, _THOUSANDS[form.thousands], "")
    if form.decimal != ".":
        text = pc.replace_substring(text, form.decimal, ".")
    return np.asarray(pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64), is_number


def number_pattern(form: TableFormat) -> str:
    """Return the regular expression of a number: sign, digits with the marks of the format, exponent."""
    whole = "[0-9]+"
    if form.thousands:
        whole = f"(?:[1-9][0-9]{{0,2}}(?:{_THOUSANDS[form.thousands]}[0-9]{{3}})+|[0-9]+)"
    mark = re.escape(form.decimal)
    return rf"[-+]?(?:(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][-+]?[0-9]+)?|(?i:inf(?:inity)?))"


def text_days(text: Any, form: TableFormat, timezone: str) -> Days:
    """Read dates: ISO 8601 years, months, days or times, and dates in the given format; to the microsecond.

    Years are those from 1 to 9999.

    Args:
        text: [N].
        form: the format of its dates.
        timezone: the time zone of times without an offset; empty for UTC.
    """
    if form.dates != "iso":
        text = _to_iso(text, form)
    is_date = _mask(pc.match_substring_regex(text, f"^(?:{_ISO_DATE})$")) & ~_mask(pc.starts_with(text, "0000"))
    has_offset = is_date & _mask(pc.match_substring_regex(text, f"[0-9][T ][0-9:.]+{_OFFSET}$"))
    text = pc.replace_substring_regex(text, r"(\.[0-9]{6})[0-9]+", r"\1")
    cells = pd.Series(text.to_numpy(zero_copy_only=False), dtype=object).where(is_date)
    times = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce")
    return time_days(times, has_offset, timezone)._replace(is_other=~_mask(pc.is_null(text)) & times.isna().to_numpy())


def time_days(times: pd.Series, has_offset: BoolArray, timezone: str) -> Days:
    """Turn points in time in UTC into days; those without an offset are local times of the time zone."""
    if times.dt.unit == "ns":
        times = times.dt.as_unit("us")
    absent = times.isna().to_numpy(dtype=bool)
    unclear, beyond = np.zeros(len(times), dtype=bool), np.zeros(len(times))
    if timezone:
        local = times.dt.tz_localize(None)
        known = local.clip(*_KNOWN_TO_TIMEZONES)
        beyond = np.where(has_offset, 0.0, (local - known) / pd.Timedelta(days=1))
        zoned = known.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT")
        times = zoned.dt.tz_convert("UTC").where(~has_offset, times)
        unclear = times.isna().to_numpy(dtype=bool) & ~absent
    counts = times.astype("int64").to_numpy(dtype=np.float64)  # floats, because years may be too far off
    microseconds = counts * _MICROSECONDS[times.dt.unit]
    values = np.where(absent | unclear, np.nan, microseconds / _MICROSECONDS_PER_DAY + beyond)
    return Days(values, np.zeros(len(times), dtype=bool), has_offset & ~absent, unclear)


def _to_iso(text: Any, form: TableFormat) -> Any:
    """Rewrite dates that begin with the day or the month as ISO dates."""
    is_other = pc.match_substring_regex(text, f"^(?:{_OTHER_DATE})(?:[T ]{_CLOCK})?$")
    mark = "[./-]"
    iso = pc.replace_substring_regex(text, f"^([0-9]{mark})", r"0\1")
    iso = pc.replace_substring_regex(
        iso, f"^([0-9]{{2}}{mark})([0-9]{mark})", r"\10\2"
    )  # RE2 knows one digit: group 1, then 0
    parts = f"^([0-9]{{2}}){mark}([0-9]{{2}}){mark}([0-9]{{4}})"
    return pc.if_else(is_other, pc.replace_substring_regex(iso, parts, _REORDERED[form.dates]), text)


def _mask(values: Any) -> BoolArray:
    """Turn truth values of Arrow into NumPy's; a null is False."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=bool)
