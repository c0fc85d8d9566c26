"""The inputs of an explanation: columns of the table, or groups of them, and the features that belong to each.

Letters: N rows, D features, G points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cde_app.arrays import AnyArray, Array
from cde_app.errors import UsageError
from cde_app.words import list_names, nearest, written_date


@dataclass(frozen=True)
class Input:
    """One input, or several that are moved together."""

    name: str
    features: tuple[int, ...]
    """Indices of its features in X: all labels of a categorical column, sine and cosine of a cycle."""
    members: tuple[str, ...] = ()
    """The inputs of a group; empty if it is none."""


@dataclass(frozen=True)
class Axis:
    """Values of one input along which curves are drawn."""

    input: Input
    values: AnyArray
    """[G], numbers or days since 1970 in ascending order, or labels."""
    encoded: Array
    """[G, features of the input], standardised."""
    is_date: bool = False
    breaks: tuple[int, ...] = ()
    """Points after which the data has a gap."""

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers or dates, between which a line means something."""
        return self.values.dtype.kind == "f"

    @property
    def texts(self) -> list[str | float]:
        """[G], the values as files have them; dates in ISO form."""
        if self.is_date:
            return [written_date(float(value)) for value in self.values]
        return [float(value) for value in self.values] if self.is_numeric else [str(value) for value in self.values]


def grouped(inputs: Sequence[Input], groups: Mapping[str, Sequence[str]], *, option: str) -> list[Input]:
    """Return one input for each group.

    Args:
        inputs: of the run.
        groups: name -> inputs, at least two; no input is in two groups.
        option: what the groups were named by, for the message.

    Raises:
        UsageError: a group names no input, has fewer than two, shares one with another, or has the name of an input;
            all faults at once.
    """
    by_name, faults, found, taken = {one.name: one for one in inputs}, list[str](), list[Input](), dict[str, str]()
    for name, members in groups.items():
        unknown = [member for member in members if member not in by_name]
        for member in unknown:
            near = nearest(member, by_name)
            advice = f"Did you mean {near!r}?" if near else "Name inputs of the run."
            faults.append(
                f"{option}: expected inputs of the run, {list_names(list(by_name))}; got {member!r}. {advice}"
            )
        if name in by_name:
            faults.append(f"{option}: expected a name that no input has; got {name!r}. Choose another name.")
        if len(set(members)) < 2:
            faults.append(f"{option}: expected at least two inputs in the group {name!r}; got {len(set(members))}.")
        for member in members:
            if taken.setdefault(member, name) != name:
                faults.append(
                    f"{option}: expected each input in one group; got {member!r} in {taken[member]!r} and {name!r}."
                )
        if not unknown:
            features = tuple(feature for member in dict.fromkeys(members) for feature in by_name[member].features)
            found.append(Input(name, features, tuple(dict.fromkeys(members))))
    if faults:
        raise UsageError(*dict.fromkeys(faults))
    return found


def players(inputs: Sequence[Input], groups: Sequence[Input]) -> list[Input]:
    """Return the inputs that are in no group, and the groups: every feature is in exactly one of them."""
    members = {member for group in groups for member in group.members}
    return [*(one for one in inputs if one.name not in members), *groups]
