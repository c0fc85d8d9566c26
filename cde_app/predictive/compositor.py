"""How x and w are joined where a GP sees both: arrays and arithmetic in NumPy.

Letters: D features, Dw latent variables, J steps of a warp.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Warp:
    """w -> w + r sum_j s_j tanh(c_j (w / r - b_j - x B_j)), for each latent variable; it grows with w.

    Source: Snelson et al. (2004), who warp the targets of a GP by such a sum; here it is w, and the places depend on x.
    """

    spread: Array
    """r, [Dw], the prior's: the unit of all that follows."""
    size: Array
    """s, [J, Dw], positive."""
    steepness: Array
    """c, [J, Dw], positive."""
    centre: Array
    """b, [J, Dw]."""
    slope: Array
    """B, [D, J, Dw], of standardised features."""

    def __call__(self, X: Array, W: Array) -> Array:
        """Warp w; X [..., D] and W [..., Dw], whose leading dimensions broadcast, to [..., Dw]."""
        centre = self.centre + np.tensordot(X, self.slope, axes=1)
        steps = self.size * np.tanh(self.steepness * ((W / self.spread)[..., None, :] - centre))
        return np.asarray(W + self.spread * steps.sum(-2))


@dataclass(frozen=True)
class Compositor:
    """c(x, w) = [x, w], [x, w warped], x + w B or x * (w B), element by element."""

    kind: str
    """concatenate | add | multiply."""
    projection: Array | None = None
    """B, [Dw, D]; None for w itself, which must be as wide as x where it is added or multiplies."""
    warp: Warp | None = None
    """What w goes through before it is concatenated; None for nothing."""

    @property
    def widens(self) -> bool:
        """Whether w has inputs of its own, beside those of x."""
        return self.kind == "concatenate"

    def compose(self, X: Array, W: Array) -> Array:
        """Return c(x, w); X [..., D] and W [..., Dw], whose leading dimensions broadcast."""
        W = W if self.projection is None else W @ self.projection
        match self.kind:
            case "concatenate":
                W = W if self.warp is None else self.warp(X, W)
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
        warp = None if self.warp is None else {f.name: getattr(self.warp, f.name) for f in fields(Warp)}
        return {"kind": self.kind, "projection": self.projection, "warp": warp}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Compositor:
        """Rebuild what `to_tree` returned."""
        warp = tree.get("warp")  # which runs of older versions have not
        return cls(tree["kind"], tree["projection"], None if warp is None else Warp(**warp))
