"""A question such as `y > 100`, `y <= @limit` or `1 < y < 2`: between which limits is a target?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cde_app.errors import UsageError
from cde_app.numerals import is_number, read_number
from cde_app.words import list_names, nearest

_SIGN = "<=|>=|<|>"
_FORM = "TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER"


@dataclass(frozen=True)
class Threshold:
    """An interval of a target.

    A density has no mass at a point, so that `<` and `<=` have the same probability; an observation may lie on a limit.
    """

    text: str
    """As the user wrote it, without spaces around the signs."""
    target: str
    above: float | str = -math.inf
    """A number, or the name of the column that has one for each row."""
    below: float | str = math.inf
    includes: tuple[bool, bool] = (False, False)
    """Whether the limits themselves are inside."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that have limits."""
        return tuple(limit for limit in (self.above, self.below) if isinstance(limit, str))


def parse_thresholds(texts: Sequence[str], targets: Sequence[str], *, option: str) -> tuple[Threshold, ...]:
    """Read thresholds, each once.

    Args:
        texts: the thresholds.
        targets: the names of the targets.
        option: what they were named by, for the message.

    Raises:
        UsageError: one names no target or has another form; all faults at once.
    """
    found, faults = dict[str, Threshold](), list[str]()
    for text in texts:
        try:
            threshold = parse_threshold(text, targets)
            found[threshold.text] = threshold
        except ValueError as error:
            faults.append(f"{option}: {error}")
    if faults:
        raise UsageError(*faults)
    return tuple(found.values())


def parse_threshold(text: str, targets: Sequence[str]) -> Threshold:
    """Read a threshold.

    Args:
        text: with one or two of the signs `<`, `<=`, `>` and `>=`; `@name` is a column.
        targets: the names of the targets, which may have signs too.

    Raises:
        ValueError: the text has another form, names no target, or its limits are in the wrong order; the message is
            `expected ...; got .... <what to do>`.
    """
    for target in sorted(targets, key=len, reverse=True):
        match = re.fullmatch(rf"(?:(.+?)\s*({_SIGN})\s*)?{re.escape(target)}(?:\s*({_SIGN})\s*(.+))?", text.strip())
        sides = [side for side in (match[1], match[4]) if side is not None] if match else []
        if match and sides and all(_limit(side) is not None for side in sides):
            return _threshold(target, *match.groups(), text=text)
    parts = [part.strip() for part in re.split(_SIGN, text)]
    words = [part for part in parts if part and _limit(part) is None]
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"expected {_FORM}; got {text!r}. Correct the text.")
    if any(word in targets for word in words):
        wrong = next((word for word in words if word not in targets), words[-1])
        advice = "Name the column after it." if wrong == "@" else f"Write @{wrong} for a column."
        fault, advice = ("is too large", "Lower it.") if is_number(wrong) else ("is no number", advice)
        raise ValueError(f"expected {_FORM}; got {text!r}, in which {wrong!r} {fault}. {advice}")
    near = nearest(words[0], targets) if words else None
    advice = f"Did you mean {near!r}?" if near else "Name a target."
    raise ValueError(f"expected {_FORM} with one of the targets {list_names(targets)}; got {text!r}. {advice}")


def fixed_thresholds(texts: Sequence[str], targets: Sequence[str], *, option: str) -> tuple[Threshold, ...]:
    """Read thresholds whose limits are the same for all rows.

    Raises:
        UsageError: one names no target, has another form, or has a column as a limit; all faults at once.
    """
    found = parse_thresholds(texts, targets, option=option)
    if faults := [
        f"{option}: expected numbers as limits, which are the same in every row; got {one.text!r}. Write a number."
        for one in found
        if one.columns
    ]:
        raise UsageError(*faults)
    return found


def _threshold(
    target: str, left: str | None, before: str | None, after: str | None, right: str | None, *, text: str
) -> Threshold:
    """Return `left before target after right` as an interval; one of the sides may be missing."""
    if before and after and before[0] != after[0]:
        raise ValueError(f"expected {_FORM}; got {text!r}, whose signs point in two directions. Correct the text.")
    ends: dict[bool, float | str] = {}
    includes = {True: False, False: False}
    for term, sign, is_left in ((left, before, True), (right, after, False)):
        limit = None if term is None else _limit(term)
        if limit is not None and sign is not None:
            is_lower = (sign[0] == "<") == is_left
            ends[is_lower], includes[is_lower] = limit, sign.endswith("=")
    above, below = ends.get(True, -math.inf), ends.get(False, math.inf)
    if isinstance(above, float) and isinstance(below, float) and above >= below:
        raise ValueError(f"expected a lower limit below the upper one; got {text!r}. Exchange them.")
    written = "".join(part for part in (left, before, target, after, right) if part)
    return Threshold(written, target, above, below, (includes[True], includes[False]))


def columns_of(thresholds: Sequence[Threshold]) -> list[str]:
    """Return the columns that thresholds name, each once."""
    return list(dict.fromkeys(name for threshold in thresholds for name in threshold.columns))


def _limit(term: str) -> float | str | None:
    """Read a limit, a finite number or the column after `@`; None if the term is neither."""
    term = term.strip()
    if term.startswith("@"):
        return term[1:].strip() or None
    try:
        number = read_number(term)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
