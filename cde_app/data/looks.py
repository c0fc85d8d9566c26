"""What a cell that is not a number or date looks like, so that a message can say what to do about it."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from cde_app.config import TableFormat
from cde_app.data.text import number_pattern

_NUMBER = r"[-+]?[0-9]+(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]+)?"


class Look(NamedTuple):
    """What a cell looks like."""

    words: str
    """Such as `a number with a decimal comma`."""
    setting: str = ""
    """The setting of `data.format` that reads it; empty if none does."""
    is_sure: bool = True
    """Whether a label is unlikely to look like this."""

    @property
    def advice(self) -> str:
        """What to do if the configuration can be changed."""
        return f"It looks like {self.words}; {self.setting or 'write plain digits, such as 1234.5'}."


_DECIMAL_COMMA = "set data.format.decimal to ','"
_NUMBERS = (
    (
        r"[-+]?[0-9]{1,3},[0-9]{3}",
        Look("a number with a decimal comma or with commas between thousands", "set data.format.decimal or .thousands"),
    ),
    (r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?", Look("a number with a decimal comma", _DECIMAL_COMMA)),
    (
        r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?",
        Look("a number with commas between thousands", "set data.format.thousands to ','"),
    ),
    (
        r"[-+]?[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?",
        Look(
            "a number with points between thousands",
            "set data.format.decimal to ',' and data.format.thousands to '.'",
        ),
    ),
    (
        "[-+]?[0-9]{1,3}(?:[ \u00a0\u202f][0-9]{3})+(?:[.,][0-9]*)?",
        Look("a number with blanks between thousands", "set data.format.thousands to ' '"),
    ),
    (
        "[-+]?[0-9]{1,3}(?:['\u2019][0-9]{3})+(?:[.,][0-9]*)?",
        Look("a number with apostrophes between thousands", 'set data.format.thousands to "\'"'),
    ),
    (rf"{_NUMBER}\s*%", Look("a percentage")),
    (rf"[$€£¥]\s*{_NUMBER}|{_NUMBER}\s*[$€£¥]", Look("an amount of money")),
    (r"[-+]?0[xX][0-9a-fA-F]+", Look("a hexadecimal number")),
    (r"[-+]?[0-9]+(?:_[0-9]+)+", Look("a number with underscores")),
    (r"[-+]?[0-9]+\.[0-9]+", Look("a number with a decimal point", "set data.format.decimal to '.'")),
    (rf"{_NUMBER}\s?[A-Za-zµ°/²³]{{1,5}}", Look("a number with a unit", is_sure=False)),
)
_DATE = re.compile(r"[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{4}(?:[T ][0-9:.]+(?:Z|[+-][0-9:]+)?)?")
_FAR_DATE = re.compile(r"(?:-[0-9]+|[0-9]{5,}|0000)-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]+)?(?:Z|[+-][0-9:]+)?")
_FAR = Look("a date outside the years 1 to 9999", "leave the cell empty if it means that there is none")
_OTHER_ORDER = Look("a date that begins with the day or the month", "set data.format.dates to day_first or month_first")


def look_of_number(cell: str, form: TableFormat) -> Look | None:
    """Say what kind of number a cell looks like; None if the format reads it, or it does not look like one."""
    cell = cell.strip()
    if re.fullmatch(number_pattern(form), cell):
        return None
    for pattern, look in _NUMBERS:
        if re.fullmatch(pattern, cell):
            return look
    plain = "".join(_plain_digit(mark) for mark in cell)
    if plain != cell and re.fullmatch(_NUMBER, plain):
        return Look("a number with characters other than + - . and 0 to 9")
    return None


def look_of_date(cell: str, form: TableFormat) -> Look | None:
    """Say that a cell looks like a date of another year or order than the format reads; None if it does not."""
    if _FAR_DATE.fullmatch(cell.strip()):
        return _FAR
    return _OTHER_ORDER if _DATE.fullmatch(cell.strip()) and form.dates == "iso" else None


def look_of(cell: str, form: TableFormat) -> Look | None:
    """Say what kind of number or date a cell looks like; None if it looks like neither."""
    return look_of_number(cell, form) or look_of_date(cell, form)


def _plain_digit(mark: str) -> str:
    """Return the ASCII digit or sign that a character stands for, else the character itself."""
    if mark == "\u2212":
        return "-"
    value = unicodedata.numeric(mark, -1.0)
    return str(int(value)) if value >= 0 and value.is_integer() else ("0" if value > 0 else mark)
