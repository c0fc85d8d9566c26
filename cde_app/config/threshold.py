"""A question such as `y > 100`, `y <= @limit` or `1 < y < 2`: between which limits is a target?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cde_app.errors import UsageError
from cde_app.words import list_names, nearest

_FORM = "TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER"


@dataclass(frozen=True)
class Threshold:
    """An interval of a target. A density has no mass at a point, so that `<` and `<=` are the same."""

    text: str
    """As the user wrote it, without spaces around the signs."""
    target: str
    above: float | str = -math.inf
    """A number, or the name of the column that has one for each row."""
    below: float | str = math.inf

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
        targets: the names of the targets.

    Raises:
        ValueError: the text has another form, names no target, or its limits are in the wrong order; the message is
            `expected ...; got .... <what to do>`.
    """
    parts = [part.strip() for part in re.split(r"(<=|>=|<|>)", text)]
    terms, signs = parts[::2], parts[1::2]
    if len(terms) not in (2, 3) or not all(terms) or len({sign[0] for sign in signs}) > 1:
        raise ValueError(f"expected {_FORM}; got {text!r}. Correct the text.")
    place = next((k for k, term in enumerate(terms) if term in targets), None)
    if place is None or (len(terms) == 3 and place != 1):
        words = [term for term in terms if not term.startswith("@") and _number(term) is None]
        near = nearest(words[0], targets) if words else None
        advice = f"Did you mean {near!r}?" if near else "Name a target."
        raise ValueError(f"expected {_FORM} with one of the targets {list_names(targets)}; got {text!r}. {advice}")
    limits = {k: _limit(term, text) for k, term in enumerate(terms) if k != place}
    smaller = {k: limit for k, limit in limits.items() if (k < place) == signs[0].startswith("<")}
    larger = {k: limit for k, limit in limits.items() if k not in smaller}
    above, below = next(iter(smaller.values()), -math.inf), next(iter(larger.values()), math.inf)
    if isinstance(above, float) and isinstance(below, float) and above >= below:
        raise ValueError(f"expected limits of which the first is below the second; got {text!r}. Exchange them.")
    return Threshold("".join(parts), terms[place], above, below)


def columns_of(thresholds: Sequence[Threshold]) -> list[str]:
    """Return the columns that thresholds name, each once."""
    return list(dict.fromkeys(name for threshold in thresholds for name in threshold.columns))


def _limit(term: str, text: str) -> float | str:
    """Read a limit: a number, or the column after `@`."""
    if term.startswith("@") and len(term) > 1:
        return term[1:]
    number = _number(term)
    if number is None:
        raise ValueError(f"expected {_FORM}; got {text!r}, in which {term!r} is no number. Write @{term} for a column.")
    return number


def _number(term: str) -> float | None:
    """Read a finite number; None if the text is none."""
    try:
        number = float(term)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
