"""The mean functions of GP layers as arrays: one class per kind.

The values use only operators that also work on tensors: `model/layers.py: MeanLayer` takes them from here.

Letters: N rows, D inputs, P targets, Q outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from cde_app.arrays import Array


@dataclass(frozen=True)
class MeanFunction(ABC):
    """m(x) = x A + b; a kind determines which part of an initial plane it uses, and which part is trained."""

    slope: Array | None
    """A, [D, Q]; None for A = I."""
    offset: Array | None = None
    """b, [Q]; None for b = 0."""

    kind: ClassVar[str]
    """The name in the settings and in stored runs."""
    trained: ClassVar[tuple[str, ...]] = ()
    """The fields that are trained."""
    carries_x: ClassVar[bool] = True
    """Whether m passes information about x on; if not, only f does."""

    def __call__(self, X: Array) -> Array:
        """Return m(X); [..., D] to [..., Q]."""
        values = X if self.slope is None else X @ self.slope
        return values if self.offset is None else values + self.offset

    @classmethod
    def keeps_width(cls, num_inputs: int, num_gps: int) -> bool:
        """Return whether the mean function of an inner layer with `num_gps` GPs starts as m(x) = x."""
        return False

    @classmethod
    def along(cls, directions: Array) -> Self:
        """Return the initial mean of an inner layer; [D, Q], principal directions, or I if it keeps the width."""
        return cls._of(directions, np.zeros(directions.shape[1]))

    @classmethod
    def nearest(cls, X: Array, Y: Array) -> Self:
        """Return the initial mean of an output layer: the least-squares fit of least norm to Y [N, P] at X [N, D]."""
        centre, level, slope = X.mean(0), Y.mean(0), np.zeros((X.shape[1], Y.shape[1]))
        if "slope" in cls.trained:
            slope = np.linalg.lstsq(X - centre, Y - level, rcond=1e-6)[0]
        return cls._of(slope, level - centre @ slope)

    @classmethod
    @abstractmethod
    def _of(cls, slope: Array, offset: Array) -> Self:
        """Return the mean function with the part of a plane, [D, Q] and [Q], that the kind uses."""


@dataclass(frozen=True)
class ZeroMeanFunction(MeanFunction):
    """m(x) = 0."""

    kind = "zero"
    carries_x = False

    @classmethod
    def _of(cls, slope: Array, offset: Array) -> Self:
        return cls(np.zeros_like(slope))


@dataclass(frozen=True)
class IdentityMeanFunction(MeanFunction):
    """m(x) = x."""

    kind = "identity"

    @classmethod
    def keeps_width(cls, num_inputs: int, num_gps: int) -> bool:
        """Return True: it always keeps the width."""
        return True

    @classmethod
    def _of(cls, slope: Array, offset: Array) -> Self:
        return cls(None)


@dataclass(frozen=True)
class PCAMeanFunction(MeanFunction):
    """m(x) = x A, where A are the leading principal directions; only for inner layers."""

    kind = "pca"

    @classmethod
    def _of(cls, slope: Array, offset: Array) -> Self:
        return cls(slope)


@dataclass(frozen=True)
class ConstantMeanFunction(MeanFunction):
    """m(x) = b, trained."""

    kind = "constant"
    trained = ("offset",)
    carries_x = False

    @classmethod
    def _of(cls, slope: Array, offset: Array) -> Self:
        return cls(np.zeros_like(slope), offset)


@dataclass(frozen=True)
class LinearMeanFunction(MeanFunction):
    """m(x) = x A + b, trained."""

    kind = "linear"
    trained = ("slope", "offset")

    @classmethod
    def keeps_width(cls, num_inputs: int, num_gps: int) -> bool:
        """Return whether the numbers of inputs and GPs are equal."""
        return num_gps == num_inputs

    @classmethod
    def _of(cls, slope: Array, offset: Array) -> Self:
        return cls(slope, offset)


MEAN_FUNCTIONS: dict[str, type[MeanFunction]] = {
    mean.kind: mean
    for mean in (ZeroMeanFunction, IdentityMeanFunction, PCAMeanFunction, ConstantMeanFunction, LinearMeanFunction)
}
