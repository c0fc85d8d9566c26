"""Features and the columns they come from, which kernels choose by name.

Letters: N rows, D features, Dw latent variables, P targets.
"""

from __future__ import annotations

from dataclasses import dataclass

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.gp.compositor import Compositor


@dataclass(frozen=True)
class Axis:
    """One feature."""

    column: str
    """The table's column that it comes from, an input or an earlier target of a chain; `neighbours` for a feature
    of the nearest rows, `latent` for a latent variable, empty for a mixture of columns."""
    scale: float = 1.0
    """Length of one standardised unit [units of an input column]; 1 for anything else."""


@dataclass(frozen=True)
class Features:
    """The features of some rows, as a layer sees them."""

    X: Array
    """[N, D], standardised."""
    axes: tuple[Axis, ...]
    """[D]."""

    def __len__(self) -> int:
        """N."""
        return len(self.X)

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.axes)

    def select(self, rows: IndexArray) -> Features:
        """Return the features of some rows."""
        return Features(self.X[rows], self.axes)

    def extended(self, X: Array, axes: tuple[Axis, ...]) -> Features:
        """Return the features with more axes; X [N, D + n] holds the old columns, then the new ones."""
        return Features(X, self.axes + axes)

    def with_latent(self, W: Array, compositor: Compositor) -> Features:
        """Return c(x, w), W [N, Dw]; if w is added to x or multiplies it, the features keep their names."""
        axes = (Axis(config.LATENT_COLUMN),) * W.shape[1] if compositor.widens else ()
        return Features(compositor.compose(self.X, W), self.axes + axes)


def mixed_features(X: Array) -> Features:
    """Return features that are mixtures of columns and so have no column name."""
    return Features(X, (Axis(""),) * X.shape[1])


def neighbour_axes(num_targets: int) -> tuple[Axis, ...]:
    """Return the axes of the P + 1 features of the nearest rows."""
    return (Axis(config.NEIGHBOURS_COLUMN),) * (num_targets + 1)
