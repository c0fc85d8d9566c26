"""What an explanation says, for a reader who knows the columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cde_app.explanation.importance import Importance
from cde_app.explanation.inputs import Input
from cde_app.explanation.quantities import JOINT, SCORES

SURE = 3.0
"""What is said exceeds its standard error by this factor."""
MATTERS, NEGLIGIBLE = 0.05, 0.01
"""Shares of a variance that are worth a name, and that are as good as none."""
SUBSTITUTED = 0.25
"""If the other inputs are alike, an input whose cost falls below this share of it can be replaced by them."""
MOST_NAMED = 3


def sentences(importance: Sequence[Importance], inputs: Sequence[Input], explained: Mapping[str, float]) -> list[str]:
    """Return what moves the mean, the spread and the probabilities, which inputs can be spared and which are alike.

    Args:
        importance: of all inputs.
        inputs: inputs and groups; a sentence about what moves a quantity names single inputs.
        explained: input -> share of its variance that the others explain.
    """
    single = [one.name for one in inputs if not one.members]
    own = [one for one in importance if one.input in single]
    costs = _costs(own)
    return [*_movers(own), *_dearest(costs), *_spared(own, single), *_replaced(costs, explained)]


def _movers(importance: Sequence[Importance]) -> Iterator[str]:
    """Say with which inputs each quantity of each target moves."""
    shares = [one for one in importance if one.measure == "share" and one.donors == "any"]
    for target in dict.fromkeys(one.target for one in shares):
        of_target = [one for one in shares if one.target == target]
        parts = []
        for quantity in dict.fromkeys(one.quantity for one in of_target):
            if quantity == "entropy":
                continue  # what it has to say about the spread, the width says in the target's unit
            what = {"mean": "its mean", "width": "the width of its 90 % interval"}.get(quantity, quantity)
            parts.append(f"{what} {_moves([one for one in of_target if one.quantity == quantity])}")
        if parts:
            yield f"{target}: {_and(parts)}."


def _moves(shares: Sequence[Importance]) -> str:
    """Say with which inputs one quantity moves, from the share of each; a large share may be uncertain."""
    known = sorted((one for one in shares if one.value is not None), key=lambda one: -(one.value or 0.0))
    if not known:
        return "is the same in all rows"
    named = [one for one in known if _is_sure(one, at_least=MATTERS)][:MOST_NAMED]
    sure = _and(f"{one.input!r} ({100 * (one.value or 0.0):.0f} %)" for one in named)
    # Where as many are named as may be, a smaller share would not be named if it were sure.
    smallest = (named[-1].value if len(named) == MOST_NAMED else None) or MATTERS
    unsure = _and(
        f"{one.input!r} ({100 * (one.value or 0.0):.0f} ± {100 * (one.se or 0.0):.0f} %)"
        for one in known
        if one not in named and (one.value or 0.0) > smallest
    )
    if not unsure:
        return f"moves with {sure}" if sure else "moves with no input by itself"
    return f"moves with {sure}, and perhaps with {unsure}" if sure else f"perhaps moves with {unsure}"


def _spared(importance: Sequence[Importance], names: Sequence[str]) -> Iterator[str]:
    """Name the inputs that move nothing."""
    moves = {
        one.input
        for one in importance
        if one.donors == "any"
        and one.value is not None
        and (
            (one.measure == "share" and not _is_below(one, NEGLIGIBLE))
            or (one.measure == "cost" and _is_sure(one, at_least=0.0))
        )
    }
    idle = [name for name in names if name not in moves]
    if idle and len(idle) < len(names):
        is_one = len(idle) == 1
        yield (
            f"{_and(map(repr, idle))} {'moves' if is_one else 'move'} nothing: the forecasts hardly change if "
            f"{'it is' if is_one else 'each is'} taken from another row."
        )


def _costs(importance: Sequence[Importance]) -> dict[tuple[str, str], Importance]:
    """Return (input, donors) -> its cost in NLPD, that of all targets together; none without observations."""
    main = JOINT if any(one.target == JOINT for one in importance) else None
    return {
        (one.input, one.donors): one
        for one in importance
        if one.quantity == SCORES[0] and (main is None or one.target == main)
    }


def _dearest(costs: Mapping[tuple[str, str], Importance]) -> Iterator[str]:
    """Name the inputs without which the densities lose most."""
    found = [one for (_, donors), one in costs.items() if donors == "any" and _is_sure(one, at_least=0.0)]
    found.sort(key=lambda one: -(one.value or 0.0))
    if found:
        named = _and(f"{one.input!r} ({one.value:.2g} ± {one.se:.1g})" for one in found[:MOST_NAMED])
        verb = "costs" if len(found) == 1 else "cost"
        yield f"Taken from another row, {named} {verb} most, in nats per row of log density."


def _replaced(costs: Mapping[tuple[str, str], Importance], explained: Mapping[str, float]) -> Iterator[str]:
    """Name the inputs whose information the others have."""
    for (name, donors), one in costs.items():
        given = costs.get((name, "alike"))
        if donors != "any" or given is None or given.value is None or one.value is None:
            continue
        if _is_sure(one, at_least=0.0) and given.value + 2 * (given.se or 0.0) < SUBSTITUTED * one.value:
            yield (
                f"{name!r} costs {one.value:.2g} nats per row if it is taken from any other row, but {given.value:.2g} "
                "from rows whose other inputs are alike: the others say much the same (they explain "
                f"{100 * explained.get(name, 0.0):.0f} % of it)."
            )


def _is_sure(one: Importance, *, at_least: float) -> bool:
    """Return whether a number is above a limit, and above zero by more than chance."""
    return one.value is not None and one.se is not None and one.value > max(at_least, SURE * one.se, 1e-12)


def _is_below(one: Importance, limit: float) -> bool:
    """Return whether a number is below a limit by more than chance."""
    return one.value is not None and one.se is not None and one.value + 2 * one.se < limit


def _and(parts: Iterable[str]) -> str:
    """Write parts as `a, b and c`."""
    *first, last = [*parts] or [""]
    return f"{', '.join(first)} and {last}" if first else last
