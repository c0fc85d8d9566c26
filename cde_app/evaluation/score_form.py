"""The form of stored scores; a run may come from anyone, so they are checked before they are shown."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

Fault = str | None
Check = Callable[[Any, str], Fault]
"""Given a value and its place, say what is wrong with it; None if nothing is."""


def fault_of_scores(metrics: Any) -> Fault:
    """Return what is wrong with scores that `TrainedModel.judge` is said to have returned, first where.

    Scores of earlier versions have fewer names; all that are there have the form of today's.
    """
    return _summary(metrics, "")


def _expected(what: str, place: str, value: Any) -> str:
    got = textwrap.shorten(repr(value), 60, placeholder=" ...")
    return f"{place}: expected {what}; got {got}" if place else f"expected {what}; got {got}"


def _number(value: Any, place: str) -> Fault:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_finite = is_number and abs(value) <= sys.float_info.max  # which an integer may exceed
    return None if value is None or is_finite else _expected("a number or null", place, value)


def _count(value: Any, place: str) -> Fault:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return None if is_count else _expected("a count", place, value)


def _text(value: Any, place: str) -> Fault:
    return None if isinstance(value, str) else _expected("text", place, value)


def _texts(value: Any, place: str) -> Fault:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if is_list else _expected("a list of texts", place, value)


def _each(check: Check) -> Check:
    """Return the check of a mapping from any names to values of one form."""
    return lambda value, place: _parts(value, place, {}, check)


def _parts(value: Any, place: str, checks: Mapping[str, Check], others: Check, needs: tuple[str, ...] = ()) -> Fault:
    """Check a mapping, in which some names have forms of their own."""
    if not isinstance(value, dict):
        return _expected("an object", place, value)
    for name in needs:
        if name not in value:
            return _expected(f"an object with {name!r}", place, value)
    faults = (checks.get(name, others)(item, f"{place}.{name}" if place else name) for name, item in value.items())
    return next((fault for fault in faults if fault), None)


def _score(value: Any, place: str) -> Fault:
    checks: dict[str, Check] = {"num_infinite": _count, "per_target": _each(_score)}
    return _parts(value, place, checks, _number, needs=("value", "se"))


def _local(value: Any, place: str) -> Fault:
    """Of where the densities are wrong, only the sentences are read; nothing is there if the rows are too few."""
    return _parts(value, place, {"sentences": _texts}, lambda _, __: None, needs=("sentences",) if value else ())


def _summary(value: Any, place: str) -> Fault:
    checks: dict[str, Check] = {
        "num_rows": _count,
        "drawn_from": _count,
        "coverage": _each(_score),
        "hpd_coverage": _each(_score),
        "baselines": _each(_summary),
        "skill": _each(_each(_score)),
        "local": _local,
        "verdict": _text,
        "reasons": _texts,
        "worth": _text,
        "standard_errors": _text,
    }
    return _parts(value, place, checks, _score, needs=("num_rows",))
