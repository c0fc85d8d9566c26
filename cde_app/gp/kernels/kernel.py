"""The base class of all kernels, and the base class of those that are not sums or products.

Letters: n points, M inducing inputs, D inputs of a kernel, d inputs of a leaf, R parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from cde_app.arrays import Array

Pullback = Callable[[Array], tuple[Array, Array, Array]]
"""Maps the gradient with respect to k(X, Z), [n, M], to those with respect to log parameters [R], X and Z."""


@dataclass(frozen=True)
class Kernel(ABC):
    """A kernel of D inputs, with the gradient for the warm start, for which a compiled graph would not pay off.

    The parameters are positive and are given by their logarithms, leaf by leaf, in the order of the leaf's fields.
    GPflow trains the same parameters.
    """

    kind: ClassVar[str]
    """The name in the settings and in stored runs."""

    def covariance(self, X: Array, Z: Array) -> Array:
        """Return k(X, Z); [n, D] and [M, D] to [n, M]."""
        return self.to(Z)(X)

    def log_parameters(self) -> Array:
        """Return the logarithms of the parameters, [R]."""
        values = [value for leaf in self.leaves() for value in leaf.parameters().values()]
        return np.log(np.concatenate([np.atleast_1d(value) for value in values]))

    @abstractmethod
    def with_log_parameters(self, logs: Array) -> Self:
        """Return the kernel with other parameters, [R]; the inverse of `log_parameters`."""

    @abstractmethod
    def leaves(self) -> list[Leaf]:
        """Return the kernels that are not sums or products, in order."""

    @abstractmethod
    def to(self, Z: Array) -> Callable[[Array], Array]:
        """Return X -> k(X, Z), with everything that depends only on Z computed once; Z [M, D], X [n, D] to [n, M]."""

    @abstractmethod
    def with_pullback(self, X: Array, Z: Array) -> tuple[Array, Pullback]:
        """Return k(X, Z) and its gradient; [n, D] and [M, D] to [n, M]."""

    @abstractmethod
    def diagonal(self, X: Array) -> Array:
        """Return k(x, x) of each point; [n, D] to [n]."""

    @abstractmethod
    def diagonal_gradient(self, X: Array, upstream: Array) -> Array:
        """Return the gradient of sum_n upstream_n k(x_n, x_n) with respect to the log parameters, [R]."""


@dataclass(frozen=True)
class Leaf(Kernel):
    """A kernel that acts on d of the D inputs; all its fields but `columns` are parameters.

    A subclass implements it as a function of its d inputs.
    """

    variance: float | Array
    """k(x, x), or the contribution of each input to it."""
    columns: tuple[int, ...] | None = field(default=None, kw_only=True)
    """The d inputs; None for all."""

    @classmethod
    @abstractmethod
    def start(
        cls, settings: Any, *, variance: float, lengthscales: Array, scales: Array, columns: tuple[int, ...] | None
    ) -> Self:
        """Return the kernel before training.

        Args:
            settings: the settings of this kind.
            variance: k(x, x), averaged over standardised inputs.
            lengthscales: [d], positive.
            scales: [d], the length of one standardised unit [units of the input].
            columns: the d inputs; None for all.
        """

    @abstractmethod
    def _to(self, z: Array) -> Callable[[Array], Array]:
        """Return x -> k(x, z); z [M, d], x [n, d] to [n, M]."""

    @abstractmethod
    def _with_pullback(self, x: Array, z: Array) -> tuple[Array, Pullback]:
        """Return k(x, z) and its gradient; [n, d] and [M, d] to [n, M]."""

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Return the names of the parameters, in order."""
        return [each.name for each in fields(cls) if each.name != "columns"]

    def parameters(self) -> dict[str, float | Array]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def with_log_parameters(self, logs: Array) -> Self:
        """Return the kernel with other parameters, [R]; the inverse of `log_parameters`."""
        values, start = np.exp(logs), 0
        changed: dict[str, Any] = {}
        for name, value in self.parameters().items():
            stop = start + np.size(value)
            changed[name] = float(values[start]) if np.ndim(value) == 0 else values[start:stop]
            start = stop
        return replace(self, **changed)

    def leaves(self) -> list[Leaf]:
        """Return this kernel."""
        return [self]

    def inputs(self, X: Array) -> Array:
        """Return the inputs that the kernel acts on; [n, D] to [n, d]."""
        return X if self.columns is None else X[:, list(self.columns)]

    def to(self, Z: Array) -> Callable[[Array], Array]:
        """Return X -> k(X, Z), with everything that depends only on Z computed once; Z [M, D], X [n, D] to [n, M]."""
        covariance = self._to(self.inputs(Z))
        return lambda X: covariance(self.inputs(X))

    def with_pullback(self, X: Array, Z: Array) -> tuple[Array, Pullback]:
        """Return k(X, Z) and its gradient; [n, D] and [M, D] to [n, M]."""
        covariance, pull = self._with_pullback(self.inputs(X), self.inputs(Z))

        def pullback(upstream: Array) -> tuple[Array, Array, Array]:
            to_logs, to_x, to_z = pull(upstream)
            return to_logs, self._widened(to_x, X.shape), self._widened(to_z, Z.shape)

        return covariance, pullback

    def diagonal(self, X: Array) -> Array:
        """Return k(x, x) of each point, the variance; [n, D] to [n]."""
        return np.full(len(X), self.variance)

    def diagonal_gradient(self, X: Array, upstream: Array) -> Array:
        """Return the gradient of sum_n upstream_n k(x_n, x_n) with respect to the log parameters, [R]."""
        gradient = np.zeros(len(self.log_parameters()))  # nonzero only for the variance, which comes first
        gradient[0] = upstream @ self.diagonal(X)
        return gradient

    def _widened(self, to_inputs: Array, shape: tuple[int, ...]) -> Array:
        """Expand a gradient with respect to the kernel's inputs to all inputs; [n, d] to [n, D]."""
        if self.columns is None:
            return to_inputs
        to_all = np.zeros(shape)
        to_all[:, list(self.columns)] = to_inputs
        return to_all
