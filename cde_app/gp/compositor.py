"""How x and w are joined for a GP that sees both: one class per kind, with everything that NumPy needs.

Letters: N rows, D features, Dw latent variables, J steps of a warp.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtri

from cde_app.arrays import Array
from cde_app.gp.directions import principal_directions

ADDED_LENGTH = 2.0
"""How far a latent variable of one moves x if it is added to x [standard deviations of x]."""


@dataclass(frozen=True)
class Compositor(ABC):
    """c(x, w)."""

    kind: ClassVar[str]
    """The name in the settings and in stored runs."""
    widens: ClassVar[bool] = False
    """Whether w has inputs of its own, after those of x."""

    @classmethod
    def start(
        cls, settings: Any, features: Array, *, quantiles: Callable[[Array], Array], latent_dim: int
    ) -> Compositor:
        """Return the compositor before training.

        Args:
            settings: the settings of this kind.
            features: [N, D].
            quantiles: maps standard normal scores to the prior's quantiles at the same levels, [..., Dw] to [..., Dw].
            latent_dim: Dw.
        """
        return cls()

    @abstractmethod
    def compose(self, X: Array, W: Array) -> Array:
        """Return c(x, w); X [..., D] and W [..., Dw], whose leading dimensions broadcast."""

    @property
    def num_intermediate(self) -> int:
        """How many numbers `compose` holds per point besides x, w and c(x, w)."""
        return 0


@dataclass(frozen=True)
class Concatenation(Compositor):
    """[x, w]."""

    kind = "concatenate"
    widens = True

    def compose(self, X: Array, W: Array) -> Array:
        """Return c(x, w); X [..., D] and W [..., Dw] to [..., D + Dw]."""
        leading = np.broadcast_shapes(X.shape[:-1], W.shape[:-1])
        parts = [np.broadcast_to(part, (*leading, part.shape[-1])) for part in (X, W)]
        return np.concatenate(parts, axis=-1)


@dataclass(frozen=True)
class Warp(Concatenation):
    """[x, w + r sum_j s_j tanh(c_j (w / r - b_j - x B_j))], for each latent variable; increasing in w.

    A GP is smooth in w, and modes are separated by a step. As a compositor and not a layer, the warp leaves kernels,
    inducing inputs, export and GPflux's classes unchanged.

    Source: Snelson et al. (2004), who warp the targets of a GP by such a sum; here it warps w, with steps that depend
    on x.
    """

    kind = "warp"
    spread: Array
    """r, [Dw], the spread of the prior: the unit of the other parameters."""
    size: Array
    """s, [J, Dw], positive."""
    steepness: Array
    """c, [J, Dw], positive."""
    centre: Array
    """b, [J, Dw]."""
    slope: Array
    """B, [D, J, Dw], slopes in the standardised features."""

    @classmethod
    def start(
        cls, settings: Any, features: Array, *, quantiles: Callable[[Array], Array], latent_dim: int
    ) -> Compositor:
        """Return a gentle warp: its steps divide the prior into equal shares; width and total height are the spread."""
        num_steps = settings.resolved(len(features)).num_steps
        low, high = central_ends(quantiles, latent_dim)
        spread, shape = 0.5 * (high - low), (num_steps, latent_dim)
        shares = np.arange(1, num_steps + 1)[:, None] / (num_steps + 1)
        centre = quantiles(np.broadcast_to(ndtri(shares), shape)) / spread
        return cls(spread, np.full(shape, 1 / num_steps), np.ones(shape), centre, np.zeros((features.shape[1], *shape)))

    def compose(self, X: Array, W: Array) -> Array:
        """Return c(x, w); X [..., D] and W [..., Dw] to [..., D + Dw]."""
        return super().compose(X, self.warped(X, W))

    def warped(self, X: Array, W: Array) -> Array:
        """Warp w; X [..., D] and W [..., Dw], whose leading dimensions broadcast, to [..., Dw]."""
        centre = self.centre + np.tensordot(X, self.slope, axes=1)
        steps = self.size * np.tanh(self.steepness * ((W / self.spread)[..., None, :] - centre))
        return np.asarray(W + self.spread * steps.sum(-2))

    @property
    def num_intermediate(self) -> int:
        """The steps and their centres."""
        return 2 * self.size.size


@dataclass(frozen=True)
class Projected(Compositor):
    """x and w B, combined element by element."""

    projection: Array | None = None
    """B, [Dw, D], learned; None for w itself, which must have the width of x."""

    combine: ClassVar[Callable[[Any, Any], Any]]
    """The operator."""

    @classmethod
    def start(
        cls, settings: Any, features: Array, *, quantiles: Callable[[Array], Array], latent_dim: int
    ) -> Compositor:
        """Return the compositor before training, without B if w is as wide as x."""
        return cls(None if latent_dim == features.shape[1] else cls._start_projection(features, latent_dim))

    @classmethod
    def _start_projection(cls, features: Array, latent_dim: int) -> Array:
        """Return a B that assigns the features to the latent variables in turn."""
        num_features = features.shape[1]
        w, x = np.ogrid[:latent_dim, :num_features]
        takes_turns = (x % latent_dim == w) | (w % num_features == x)
        return takes_turns.astype(float)

    def compose(self, X: Array, W: Array) -> Array:
        """Return c(x, w); X [..., D] and W [..., Dw] to [..., D]."""
        return type(self).combine(X, W if self.projection is None else W @ self.projection)


@dataclass(frozen=True)
class Addition(Projected):
    """x + w B."""

    kind = "add"
    combine = operator.add

    @classmethod
    def _start_projection(cls, features: Array, latent_dim: int) -> Array:
        """Return a B that moves x in the directions of least variance, where the effect of w is clearest."""
        num_features = features.shape[1]
        if latent_dim > num_features:
            return super()._start_projection(features, latent_dim)
        return ADDED_LENGTH * principal_directions(features, num_features)[:, ::-1][:, :latent_dim].T


@dataclass(frozen=True)
class Multiplication(Projected):
    """x * (w B)."""

    kind = "multiply"
    combine = operator.mul


COMPOSITORS: dict[str, type[Compositor]] = {
    compositor.kind: compositor for compositor in (Concatenation, Warp, Addition, Multiplication)
}


def central_ends(quantiles: Callable[[Array], Array], latent_dim: int) -> Array:
    """Return the ends of the prior's central 68 %, [2, Dw], -1 and 1 for a normal; `quantiles` as in `start`."""
    return quantiles(np.array([[-1.0], [1.0]]) * np.ones(latent_dim))
