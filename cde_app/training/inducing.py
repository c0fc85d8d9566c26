"""Where the inducing inputs of a GP start.

Letters: N rows, D inputs, M inducing inputs.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.predictive.kernels import Kernel
from cde_app.rows import Stream, generator

MAX_ROWS = 20_000
NEGLIGIBLE = 1e-10
"""A conditional variance below this share of the largest variance is rounding."""


def choose_inducing(settings: config.Inducing, kernel: Kernel, X: Array, num_inducing: int, *, seed: int) -> Array:
    """Return at most `num_inducing` inducing inputs among or between rows of X [N, D], at most 20,000 drawn ones."""
    if len(X) > MAX_ROWS:
        X = X[np.sort(generator(seed, Stream.INDUCING_ROWS).permutation(len(X))[:MAX_ROWS])]
    match settings.kind:
        case "kmeans":
            return cluster_centres(X, num_inducing, seed=seed)
        case "greedy_variance":
            return X[greedy_variance(kernel, X, num_inducing)]


def cluster_centres(X: Array, num_inducing: int, *, seed: int) -> Array:
    """Return `num_inducing` k-means centres of the different rows of X, or those rows if they are fewer.

    A cluster that has lost its rows is replaced by a row, so that the number of centres does not depend on the seed.
    """
    different = np.unique(X, axis=0)
    if len(different) <= num_inducing:
        return different
    random = generator(seed, Stream.CLUSTERS)
    centres, labels = kmeans2(different, num_inducing, minit="++", rng=random)
    empty = np.setdiff1d(np.arange(num_inducing), labels)
    centres[empty] = different[random.choice(len(different), len(empty), replace=False)]
    return centres


def greedy_variance(kernel: Kernel, X: Array, num_inducing: int) -> IndexArray:
    """Return the rows, one after another, whose variance given those before is largest; at most M of N.

    This is the pivoted Cholesky factorisation of k(X, X), and the greedy search for the mode of the M-DPP with that
    kernel, in O(N M^2). It ends early where nothing but rounding is left.

    Source: Burt, Rasmussen and van der Wilk (2020); `ConditionalVariance` in `init_methods/methods.py` of RobustGP.
    """
    residual = kernel.diagonal(X)
    negligible = NEGLIGIBLE * residual.max()
    factor = np.empty((min(num_inducing, len(X)), len(X)))
    chosen: list[int] = []
    while len(chosen) < len(factor):
        row = int(np.argmax(residual))
        if residual[row] <= negligible:
            break
        step, done = len(chosen), factor[: len(chosen)]
        covariance = kernel.covariance(X[[row]], X)[0]
        factor[step] = (covariance - done[:, row] @ done) / np.sqrt(residual[row])
        residual = residual - factor[step] ** 2
        residual[row] = 0.0
        chosen.append(row)
    return np.array(chosen, np.intp)
