"""The mean function of a GP layer as arrays.

Letters: n points, D inputs, Q outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class MeanFunction:
    """m(x) = x A + b."""

    slope: Array | None
    """A, [D, Q]; None for A = I."""
    offset: Array | None = None
    """b, [Q]; None for b = 0."""

    def __call__(self, X: Array) -> Array:
        """Return m(X); [..., D] to [..., Q]."""
        values = X if self.slope is None else X @ self.slope
        return values if self.offset is None else values + self.offset

    def to_tree(self) -> dict[str, Any]:
        """Return plain values and arrays; `from_tree` reads them."""
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> MeanFunction:
        """Rebuild what `to_tree` returned."""
        return cls(**tree)


def zero_mean(num_inputs: int, num_outputs: int) -> MeanFunction:
    """Return m(x) = 0."""
    return MeanFunction(np.zeros((num_inputs, num_outputs)))
