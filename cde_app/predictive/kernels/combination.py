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
from cde_app.predictive.kernels.kernel import Kernel, Leaf, Pullback


@dataclass(frozen=True)
class Combination(Kernel):
    """A kernel of kernels."""

    combine: ClassVar[np.ufunc]
    """Of two parts."""
    parts: tuple[Kernel, ...]

    @staticmethod
    @abstractmethod
    def shares(variance: float, num_parts: int) -> list[float]:
        """Return the variances of the parts before training."""

    @staticmethod
    @abstractmethod
    def slopes(values: Sequence[Array]) -> Sequence[Array | None]:
        """Return the derivatives of the whole to each of its parts, given their values; None for one."""

    def with_log_parameters(self, logs: Array) -> Self:
        """Return the kernel with other parameters, [R]; the inverse of `log_parameters`."""
        ends = np.cumsum([len(part.log_parameters()) for part in self.parts])
        parts = zip(self.parts, np.split(logs, ends[:-1]), strict=True)
        return replace(self, parts=tuple(part.with_log_parameters(share) for part, share in parts))

    def leaves(self) -> list[Leaf]:
        """Return the kernels that are no sum and no product, in their order."""
        return [leaf for part in self.parts for leaf in part.leaves()]

    def to(self, Z: Array) -> Callable[[Array], Array]:
        """Return X -> k(X, Z), with what depends on Z alone computed once; Z [M, D], X [n, D] to [n, M]."""
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
        """Return the gradient to the log parameters, [R], of sum_n upstream_n k(x_n, x_n); [n, D] and [n]."""
        to_parts = self._upstreams(upstream, [part.diagonal(X) for part in self.parts])
        parts = zip(self.parts, to_parts, strict=True)
        return np.concatenate([part.diagonal_gradient(X, to_part) for part, to_part in parts])

    def _upstreams(self, upstream: Array, values: Sequence[Array]) -> Iterator[Array]:
        """Yield the gradients to the values of the parts, given that to their combination."""
        for slope in self.slopes(values):
            yield upstream if slope is None else upstream * slope


@dataclass(frozen=True)
class Sum(Combination):
    """The sum of kernels: a sum of functions."""

    kind = "sum"
    combine = np.add

    @staticmethod
    def shares(variance: float, num_parts: int) -> list[float]:
        """Share equally."""
        return [variance / num_parts] * num_parts

    @staticmethod
    def slopes(values: Sequence[Array]) -> list[None]:
        """Return None for one, of every part."""
        return [None] * len(values)


@dataclass(frozen=True)
class Product(Combination):
    """The product of kernels: a function that needs all of them to be near."""

    kind = "product"
    combine = np.multiply

    @staticmethod
    def shares(variance: float, num_parts: int) -> list[float]:
        """Give the first factor all, and the others 1."""
        return [variance] + [1.0] * (num_parts - 1)

    @staticmethod
    def slopes(values: Sequence[Array]) -> Sequence[Array | None]:
        """Return the products of the other parts."""
        if len(values) == 1:
            return [None]
        others = [[value for other, value in enumerate(values) if other != part] for part in range(len(values))]
        return [reduce(np.multiply, each) for each in others]
