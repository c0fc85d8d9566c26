"""`--gate 'crps_skill>0.1'`: a score that must be reached, for Makefiles and CI."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cde_app.cli.output import is_score
from cde_app.errors import GateError, UsageError
from cde_app.numerals import read_number
from cde_app.words import flatten, nearest

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


# The names of thresholds have signs of their own.
_KEY = r"thresholds\..*[^<>=\s]|[^<>=\s](?:[^<>=]*[^<>=\s])?"


@dataclass(frozen=True)
class Gate:
    """A condition on a score."""

    text: str
    key: str
    comparison: str
    bound: float


def parse_gates(texts: Sequence[str]) -> list[Gate]:
    """Read conditions of the form `key>number`, with one of > >= < <=; the number is finite.

    Raises:
        UsageError: one has another form.
    """
    gates, faults = [], []
    for text in texts:
        match = re.fullmatch(rf"\s*({_KEY})\s*(>=|<=|>|<)\s*([^<>=\s]+)\s*", text)
        bound = _number(match[3]) if match else math.nan
        if match and math.isfinite(bound):
            gates.append(Gate(text, match[1], match[2], bound))
        else:
            faults.append(f"--gate: expected KEY>NUMBER, with >, >=, < or <=; got {text!r}.")
    if faults:
        raise UsageError(*faults)
    return gates


def _number(text: str) -> float:
    """Read a number; NaN if the text is not one."""
    try:
        return read_number(text)
    except ValueError:
        return math.nan


def check_names(gates: Sequence[Gate], metrics: Mapping[str, Any], *, command: str = "cde evaluate RUN --json") -> None:
    """Check that every condition names an existing score, before anything is scored.

    Args:
        gates: the conditions.
        metrics: a mapping with the keys that the command will print; the numbers do not matter.
        command: how to see the keys.

    Raises:
        UsageError: a score does not exist.
    """
    names = [name for name, _ in _scores(metrics)]
    names += dict.fromkeys(f"{score}_skill" for scores in metrics.get("skill", {}).values() for score in scores)
    faults = []
    for key in (gate.key for gate in gates if gate.key not in names):
        near = nearest(key, names)
        advice = f"`{command}` shows the keys." if near is None else f"did you mean {near!r}?"
        faults.append(f"--gate: expected a score; got {key!r}; {advice}")
    if faults:
        raise UsageError(*dict.fromkeys(faults))


def check_gates(gates: Sequence[Gate], metrics: Mapping[str, Any], *, source: str) -> None:
    """Check every condition.

    Args:
        gates: the conditions, with names that `check_names` has accepted.
        metrics: what `cde evaluate --json` prints.
        source: what was evaluated, for the message.

    Raises:
        GateError: at least one condition does not hold; a score that could not be computed fulfils no condition.
    """
    failed = []
    for gate in gates:
        value = find_score(metrics, gate.key)
        if value is None or not COMPARISONS[gate.comparison](value, gate.bound):
            got = "no value" if value is None else f"{value:.6g}{_against(metrics, gate.key, value)}"
            failed.append(f"{source}: --gate: expected {gate.key} {gate.comparison} {gate.bound:g}; got {got}.")
    if failed:
        raise GateError(*failed)


def find_score(metrics: Mapping[str, Any], key: str) -> float | None:
    """Find a score by its dotted key, such as `nlpd`, `crps.se`, `coverage.0.9` or `baselines.climatology.crps`.

    `<score>_skill` is the skill against the best baseline, that is, the smallest of the skills.

    Returns:
        The number; None if it could not be computed.
    """
    scores = dict(_scores(metrics))
    if key in scores or not key.endswith("_skill"):
        return scores.get(key)
    skills = [scores.get(f"skill.{name}.{key.removesuffix('_skill')}") for name in metrics.get("skill") or {}]
    return None if None in skills else min((value for value in skills if value is not None), default=None)


def _against(metrics: Mapping[str, Any], key: str, value: float) -> str:
    """Name the baseline that a skill against the best one refers to."""
    scores = dict(_scores(metrics))
    names = [n for n in metrics.get("skill") or {} if scores.get(f"skill.{n}.{key.removesuffix('_skill')}") == value]
    return f" against {names[0]}" if names and key.endswith("_skill") and key not in scores else ""


def _scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield every number by its dotted key; `crps` is short for `crps.value`."""
    for key, leaf in flatten(metrics, is_leaf=is_score):
        if isinstance(leaf, Mapping):
            yield key, leaf.get("value")
            for part, value in leaf.items():
                if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                    yield f"{key}.{part}", value
                elif isinstance(value, Mapping):
                    yield from ((f"{key}.{part}.{name}", inner) for name, inner in _scores(value))
        elif leaf is None or (isinstance(leaf, int | float) and not isinstance(leaf, bool)):
            yield key, leaf
