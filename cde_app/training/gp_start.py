"""The starting point of one sparse GP: its kernel, its inducing inputs, and q(v) if it is fitted to values.

Letters: N rows, D features, M inducing inputs, Q GPs that share a kernel.
"""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.spatial.distance import cdist

from cde_app import config
from cde_app.arrays import Array, IndexArray
from cde_app.gp.kernels import COMBINATIONS, LEAVES, Constant, Kernel, Stationary
from cde_app.gp.sparse_gp import cholesky
from cde_app.machine.streams import Stream, generator
from cde_app.model.start import GPStart
from cde_app.training.features import Axis, Features

MAX_ROWS = 20_000
"""Largest number of rows, drawn at random, from which inducing inputs are chosen."""
NEGLIGIBLE = 1e-10
"""Share of the largest variance below which a conditional variance is rounding error."""


def start_prior(
    kernel: config.Kernel,
    inducing: config.Inducing,
    num_inducing: int,
    features: Features,
    *,
    variance: float,
    lengthscales: Array | None = None,
    seed: int,
) -> tuple[Kernel, Array]:
    """Return the kernel and the inducing inputs with which a GP starts.

    Args:
        kernel: its settings.
        inducing: how the inducing inputs are chosen.
        num_inducing: largest number of inducing inputs.
        features: what the GP sees.
        variance: amplitude of the kernel.
        lengthscales: [D]; sqrt(D) each if None.
        seed: for k-means.
    """
    if lengthscales is None:
        lengthscales = np.full(features.num_features, np.sqrt(features.num_features))
    start = start_kernel(kernel, axes=features.axes, variance=variance, lengthscales=lengthscales)
    return start, choose_inducing(inducing, start, features.X, num_inducing, seed=seed)


def start_kernel(settings: config.Kernel, *, axes: tuple[Axis, ...], variance: float, lengthscales: Array) -> Kernel:
    """Return the configured kernel with k(x, x) = `variance`; for a linear kernel this holds on average.

    A sum divides the variance equally; in a product the first factor has it and the others 1. The inputs are
    standardised, so d of them with variances v / d make a linear kernel of variance v. A leaf with none of the axes
    among its columns is constant: a kernel of w in the regression on x alone, of a target in a chain's factors up to
    its own, or of the nearest rows if the screening left them out.

    Args:
        settings: the kernel.
        axes: [D], what the features are.
        variance: amplitude of the whole kernel.
        lengthscales: [D]; in a leaf with its own columns, at most the square root of their number.
    """
    if isinstance(settings, config.CombinedKernel):
        combination = COMBINATIONS[settings.kind]
        shares = zip(settings.kernels, combination.shares(variance, len(settings.kernels)), strict=True)
        return combination(
            tuple(start_kernel(part, axes=axes, variance=share, lengthscales=lengthscales) for part, share in shares)
        )
    columns, scales = None, np.array([axis.scale for axis in axes])
    if isinstance(settings, config.LeafKernel) and settings.columns:
        columns = tuple(index for index, axis in enumerate(axes) if axis.column in settings.columns)
        if not columns:
            return Constant(variance)
        lengthscales, scales = np.minimum(lengthscales[list(columns)], np.sqrt(len(columns))), scales[list(columns)]
    return LEAVES[settings.kind].start(
        settings, variance=variance, lengthscales=lengthscales, scales=scales, columns=columns
    )


def lengthscales_of(kernel: Kernel, num_features: int) -> Array:
    """Return each feature's lengthscale in the first stationary kernel that acts on it, sqrt(D) if none does."""
    lengthscales = np.full(num_features, np.sqrt(num_features))
    for leaf in reversed(kernel.leaves()):
        if isinstance(leaf, Stationary):
            lengthscales[slice(None) if leaf.columns is None else list(leaf.columns)] = leaf.lengthscales
    return lengthscales


def choose_inducing(settings: config.Inducing, kernel: Kernel, X: Array, num_inducing: int, *, seed: int) -> Array:
    """Return at most `num_inducing` inducing inputs: rows, or centres of rows, of X [N, D]; at most 20,000 are used."""
    if len(X) > MAX_ROWS:
        X = X[np.sort(generator(seed, Stream.INDUCING_ROWS).permutation(len(X))[:MAX_ROWS])]
    match settings.kind:
        case "kmeans":
            return cluster_centres(X, num_inducing, seed=seed)
        case "greedy_variance":
            return X[greedy_variance(kernel, X, num_inducing)]


def cluster_centres(X: Array, num_inducing: int, *, seed: int) -> Array:
    """Return `num_inducing` k-means centres of the distinct rows of X, or those rows if there are fewer.

    An empty cluster is replaced by a row, so that the number of centres does not depend on the seed.
    """
    distinct = np.unique(X, axis=0)
    if len(distinct) <= num_inducing:
        return distinct
    random = generator(seed, Stream.CLUSTERS)
    centres, labels = kmeans2(distinct, first_centres(distinct, num_inducing, random), minit="matrix")
    empty = np.setdiff1d(np.arange(num_inducing), labels)
    centres[empty] = distinct[random.choice(len(distinct), len(empty), replace=False)]
    return centres


def first_centres(X: Array, num_centres: int, random: np.random.Generator) -> Array:
    """Return rows of X [N, D] from which k-means begins.

    Each is drawn in proportion to its squared distance to the nearest one before it. The draws are those of SciPy's
    `kmeans2(minit="++")`, which measures the distances to all earlier centres again for each new one, so that its time
    grows with the square of their number.

    Source: Arthur and Vassilvitskii (2007), "k-means++", section 2.2.
    """
    chosen, nearest = [int(random.integers(len(X)))], np.full(len(X), np.inf)
    while len(chosen) < num_centres:
        nearest = np.minimum(nearest, cdist(X[chosen[-1:]], X, metric="sqeuclidean")[0])
        place = np.searchsorted((nearest / nearest.sum()).cumsum(), random.uniform())
        chosen.append(min(int(place), len(X) - 1))  # the sum may end below one
    return X[chosen]


def greedy_variance(kernel: Kernel, X: Array, num_inducing: int) -> IndexArray:
    """Return at most M of N rows, each with the largest variance given those before it.

    This is the pivoted Cholesky factorisation of k(X, X), and the greedy search for the mode of the M-DPP with that
    kernel, in O(N M^2). It stops early if only rounding error is left.

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


def fitted_gp(prior: tuple[Kernel, Array], X: Array, values: Array, noise: Array, *, sees_latent: bool) -> GPStart:
    """Return the GP whose q(v) is the regression of values [N, Q], with noise variances [Q], on X [N, D]."""
    kernel, Z = prior
    factor = cholesky(kernel.covariance(Z, Z))
    A = solve_triangular(factor, kernel.covariance(Z, X), lower=True)
    q_mu, q_sqrt = posterior_of_whitened(A @ A.T, A @ values, noise)
    return GPStart(kernel, Z, q_mu, q_sqrt, sees_latent)


def posterior_of_whitened(gram: Array, moment: Array, noise: Array) -> tuple[Array, Array]:
    """Return q(v) of v ~ N(0, I) given y = A' v + e; gram = A A' [M, M], moment = A y [M, Q], noise [Q]."""
    identity = np.eye(len(gram))
    means, factors = [], []
    for target, variance in enumerate(noise):
        precision = cho_factor(identity + gram / variance, lower=True)
        means.append(cho_solve(precision, moment[:, target] / variance))
        covariance = cho_solve(precision, identity)
        factors.append(np.linalg.cholesky(0.5 * (covariance + covariance.T)))
    return np.stack(means, axis=1), np.stack(factors)


def unexplained_variance(gp: GPStart, X: Array, values: Array) -> Array:
    """Return the mean squared difference between values [N, Q] and the GP's mean at X [N, D]; [Q]."""
    factor = cholesky(gp.kernel.covariance(gp.inducing_inputs, gp.inducing_inputs))
    weights = solve_triangular(factor.T, gp.q_mu, lower=False)
    residual: Array = values - gp.kernel.covariance(X, gp.inducing_inputs) @ weights
    return (residual**2).mean(0)
