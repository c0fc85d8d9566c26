"""Sums and products of kernels.

Letters: n points, M inducing inputs, D inputs of a kernel, R parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, Self

import numpy as np

from cde_app.arrays import Array
from cde_app.gp.kernels.kernel import Kernel, Leaf, Pullback


@dataclass(frozen=True)
class Combination(Kernel):
    """A kernel that combines several kernels."""

    combine: ClassVar[np.ufunc]
    """The operation on two parts."""
    parts: tuple[Kernel, ...]

    @staticmethod
    @abstractmethod
    def shares(variance: float, num_parts: int) -> list[float]:
        """Return the variances of the parts before training."""

    @staticmethod
    @abstractmethod
    def slopes(values: Sequence[Array]) -> Sequence[Array | None]:
        """Return the derivative of the combination with respect to each part, given their values; None means 1."""

    def with_log_parameters(self, logs: Array) -> Self:
        """Return the kernel with other parameters, [R]; the inverse of `log_parameters`."""
        ends = np.cumsum([len(part.log_parameters()) for part in self.parts])
        parts = zip(self.parts, np.split(logs, ends[:-1]), strict=True)
        return replace(self, parts=tuple(part.with_log_parameters(share) for part, share in parts))

    def leaves(self) -> list[Leaf]:
        """Return the kernels that are not sums or products, in order."""
        return [leaf for part in self.parts for leaf in part.leaves()]

    def to(self, Z: Array) -> Callable[[Array], Array]:
        """Return X -> k(X, Z); the parts that depend only on Z are computed once; Z [M, D], X [n, D] to [n, M]."""
        first, *rest = [part.to(Z) for part in self.parts]

        def combined(X: Array) -> Array:
            covariance = first(X)
            for part in rest:
                self.combine(covariance, part(X), out=covariance)
            return covariance

        return combined

    def with_pullback(self, X: Array, Z: Array) -> tuple[Array, Pullback]:
        """Return k(X, Z) and its gradient; [n, D] and [M, D] to [n, M]."""
        covariances, pullbacks = zip(*[part.with_pullback(X, Z) for part in self.parts], strict=True)

        def pullback(upstream: Array) -> tuple[Array, Array, Array]:
            to_parts = self._upstreams(upstream, covariances)
            to_logs, to_X, to_Z = zip(
                *[pull(to_part) for pull, to_part in zip(pullbacks, to_parts, strict=True)], strict=True
            )
            return np.concatenate(to_logs), sum(to_X), sum(to_Z)

        return reduce(self.combine, covariances), pullback

    def diagonal(self, X: Array) -> Array:
        """Return k(x, x) of each point; [n, D] to [n]."""
        return self.combine.reduce([part.diagonal(X) for part in self.parts], axis=0)

    def diagonal_gradient(self, X: Array, upstream: Array) -> Array:
        """Return the gradient of sum_n upstream_n k(x_n, x_n) with respect to the log parameters, [R]."""
        to_parts = self._upstreams(upstream, [part.diagonal(X) for part in self.parts])
        parts = zip(self.parts, to_parts, strict=True)
        return np.concatenate([part.diagonal_gradient(X, to_part) for part, to_part in parts])

    def _upstreams(self, upstream: Array, values: Sequence[Array]) -> Iterator[Array]:
        """Yield the gradient with respect to each part, given that with respect to their combination."""
        for slope in self.slopes(values):
            yield upstream if slope is None else upstream * slope


@dataclass(frozen=True)
class Sum(Combination):
    """A sum of kernels: the function is a sum of functions."""

    kind = "sum"
    combine = np.add

    @staticmethod
    def shares(variance: float, num_parts: int) -> list[float]:
        """Divide the variance equally."""
        return [variance / num_parts] * num_parts

    @staticmethod
    def slopes(values: Sequence[Array]) -> list[None]:
        """Return None for every part: all derivatives are 1."""
        return [None] * len(values)


@dataclass(frozen=True)
class Product(Combination):
    """A product of kernels: two points are similar only if all factors say so."""

    kind = "product"
    combine = np.multiply

    @staticmethod
    def shares(variance: float, num_parts: int) -> list[float]:
        """Give all of the variance to the first factor, and 1 to the others."""
        return [variance] + [1.0] * (num_parts - 1)

    @staticmethod
    def slopes(values: Sequence[Array]) -> Sequence[Array | None]:
        """Return the product of the other parts for each part."""
        if len(values) == 1:
            return [None]
        others = [[value for other, value in enumerate(values) if other != part] for part in range(len(values))]
        return [reduce(np.multiply, each) for each in others]
