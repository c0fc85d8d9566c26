"""The unconditional density of some values: a sum of Gaussian kernels, where neighbouring kernels are merged.

Letters: N values, P targets, C components.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cde_app.arrays import Array

SMALLEST_SD = 1e-3
"""Smallest standard deviation of a kernel, in standard deviations of the target."""


class KernelDensity(NamedTuple):
    """A Gaussian mixture in the units of the values."""

    weights: Array
    """[C]."""
    means: Array
    """[C, P]."""
    variances: Array
    """[C, P]."""


def kernel_density(Y: Array, *, merge_depth: int, least_variance: Array | float) -> KernelDensity:
    """Fit a Gaussian kernel density with at most 2^merge_depth kernels; neighbouring kernels are merged.

    The bandwidth is 0.9 min(sd, IQR / 1.349) N^(-1/5) for one target, and for several
    h_p = (4 / (P + 2))^(1 / (P + 4)) N^(-1 / (P + 4)) sd_p. If there are more rows than kernels, the rows are halved
    repeatedly at the median of their widest target. Each resulting group becomes one component with the mean of its
    rows and the variance h^2 + the variance of the group, so that mean and variances of the density equal those of the
    full sum. One more component, a normal with twice the standard deviation, has weight 2 / (N + 1): the probability
    that a new value is outside the range of N exchangeable ones.

    Args:
        Y: [N, P].
        merge_depth: how often the rows are halved.
        least_variance: [P], smallest variance of a kernel: that of the rounding if a target is rounded, because
            narrower kernels on its few distinct values would make the density unbounded.

    Source: Silverman (1986), "Density estimation", eq. 3.31; Scott (1992), "Multivariate density estimation", eq. 6.41.
    """
    num_rows, num_targets = Y.shape
    sd = np.std(Y, axis=0)
    if num_targets == 1:
        quartiles = np.quantile(Y[:, 0], [0.25, 0.75])
        robust_sd = float(quartiles[1] - quartiles[0]) / 1.349
        bandwidth = 0.9 * (np.minimum(sd, robust_sd) if robust_sd > 0 else sd) * num_rows**-0.2
    else:
        power = 1.0 / (num_targets + 4)
        bandwidth = (4.0 / (num_targets + 2)) ** power * sd * num_rows**-power
    bandwidth = np.maximum(bandwidth, SMALLEST_SD * np.where(sd > 0, sd, 1.0))
    groups = _nearby_groups(Y, merge_depth)
    outside = 2.0 / (num_rows + 1) if num_rows > 1 else 0.5
    return KernelDensity(
        weights=np.array([(1 - outside) * len(group) / num_rows for group in groups] + [outside]),
        means=np.array([group.mean(axis=0) for group in groups] + [Y.mean(axis=0)]),
        variances=np.array(
            [np.maximum(bandwidth**2 + group.var(axis=0), least_variance) for group in groups]
            + [4.0 * np.where(sd > 0, sd, 1.0) ** 2]
        ),
    )


def _nearby_groups(points: Array, merge_depth: int) -> list[Array]:
    """Halve the rows [N, P] repeatedly at the median of their widest column; do not halve them if N is small."""
    if len(points) <= 2**merge_depth:
        return [points[n : n + 1] for n in range(len(points))]
    groups = [points]
    for _ in range(merge_depth):
        ordered = [group[np.argsort(group[:, int(np.argmax(group.var(axis=0)))], kind="stable")] for group in groups]
        groups = [half for group in ordered for half in (group[: len(group) // 2], group[len(group) // 2 :])]
    return groups
