"""How x and w are joined where a GP sees both: arrays and arithmetic in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Compositor:
    """c(x, w) = [x, w], x + w B or x * (w B), element by element."""

    kind: str
    """concatenate | add | multiply."""
    projection: Array | None
    """B, [Dw, D]; None for w itself, which must be as wide as x unless they are concatenated."""

    def compose(self, X: Array, W: Array) -> Array:
        """Return c(x, w); X [..., D] and W [..., Dw], whose leading dimensions broadcast."""
        W = W if self.projection is None else W @ self.projection
        match self.kind:
            case "concatenate":
                leading = np.broadcast_shapes(X.shape[:-1], W.shape[:-1])
                parts = [np.broadcast_to(part, (*leading, part.shape[-1])) for part in (X, W)]
                return np.concatenate(parts, axis=-1)
            case "add":
                return X + W
            case "multiply":
                return X * W
            case _:
                raise ValueError(f"compositor kind must be one of concatenate, add, multiply; got {self.kind!r}")

    def to_tree(self) -> dict[str, Any]:
        """Return plain values and arrays; `from_tree` reads them."""
        return {"kind": self.kind, "projection": self.projection}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Compositor:
        """Rebuild what `to_tree` returned."""
        return cls(**tree)
