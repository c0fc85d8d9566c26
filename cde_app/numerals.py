"""Numbers that a user has written in an option or a setting: digits, and nothing else that Python would read.

`float` and `int` also read `1_0` as 10, the digits of other scripts, and blanks around a number. What the cells of a
table mean is decided by `data.text`.
"""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def is_number(text: str) -> bool:
    """Return whether a text is a number to a human reader, `1e-3` included; it may be larger than a float can be."""
    return _NUMBER.fullmatch(text) is not None


def read_number(text: str) -> float:
    """Read a number; an infinity if it is too large for a float.

    Raises:
        ValueError: the text is none.
    """
    if not is_number(text):
        raise ValueError(f"expected a number; got {text!r}.")
    return float(text)


def read_whole(text: str) -> int:
    """Read a whole number.

    Raises:
        ValueError: the text is none, or has more digits than Python reads.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"expected a whole number; got {text!r}.")
    return int(text)
