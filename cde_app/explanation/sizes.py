"""How much an explanation computes. It imports next to nothing, so that the command line can show the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cde_app.errors import UsageError

EXPLAINED_ROWS = 200
"""Rows drawn at random whose inputs are taken from other rows."""
REPEATS = 2
"""How often each input of each row is taken from another row."""
SHARED_ROWS = 12
"""Rows whose Shapley shares are computed."""


@dataclass(frozen=True)
class Sizes:
    """How much is computed for rows that have been drawn."""

    repeats: int
    """How often each input of each row is taken from another row."""
    shares: int
    """Rows whose Shapley shares are computed."""


def check_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Check that numbers, name -> (number, smallest), are large enough.

    Raises:
        UsageError: some are not; all faults at once.
    """
    too_small = {name: limits for name, limits in sizes.items() if limits[0] < limits[1]}
    if too_small:
        raise UsageError(
            *(
                f"{name}: expected at least {least}; got {size}. Write a larger number."
                for name, (size, least) in too_small.items()
            )
        )
