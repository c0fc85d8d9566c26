"""The trained model as arrays; it turns standardised inputs into a `Mixture` per row.

Letters: N rows, D features, P targets, Dw latent variables, C nodes, Q inner GPs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtr

from cde_app.arrays import Array, IndexArray
from cde_app.gp.compositor import Compositor
from cde_app.gp.likelihood import Noise, NormalNoise
from cde_app.gp.mean_function import MeanFunction
from cde_app.gp.sparse_gp import SparseGP
from cde_app.machine.blocks import work_in_blocks
from cde_app.predictive.defence import Defence
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.surface import Surface, surface_through
from cde_app.targets import TargetTransform

Function = tuple[Array, ...]
"""A draw of all GPs of a posterior, the inner layers first: for each of them the [M, Q] of `SparseGP.draw`."""


class Moments(NamedTuple):
    """The moments of components, standardised."""

    means: Array
    """[N, C, P]."""
    variances: Array
    """[N, C, P]."""
    covariances: Array | None
    """[N, C, P, P] if the targets depend on each other within a component."""


@dataclass(frozen=True)
class InnerLayer:
    """x <- m(x) + f(.) P, where f consists of Q independent GPs, drawn once per node."""

    gp: SparseGP
    mean: MeanFunction
    """m, [D] to [D']."""
    projection: Array
    """P, [Q, D']."""
    compositor: Compositor | None
    """Joins x and w for f; None if f sees only x."""

    def propagate(self, X: Array, W: Array, noise: Array, drawn: Array | None = None) -> Array:
        """Draw the layer's outputs at every node; X [N, 1 or C, D], W [C, Dw], noise [C, Q] to [N, C, D'].

        W and noise may also be [N, 1, ...], with a separate node for every row. `drawn` is a draw of f's GP, if there
        is one; the noise is then for what it leaves open.
        """
        mean, variance = _moments(self.gp, self.compositor, X, W, drawn)
        draws = mean + np.sqrt(variance) * noise
        return self.mean(X) + draws @ self.projection


@dataclass(frozen=True)
class Posterior:
    """Everything that prediction needs: q(u) of the GP layers, the noise, the nodes and the target transforms."""

    inner_layers: tuple[InnerLayer, ...]
    output_terms: tuple[SparseGP, ...]
    """The output layer f is the sum of these GPs."""
    compositor: Compositor
    """Joins x and w for the terms that see both."""
    noise: Noise
    """Noise of the standardised targets."""
    latent_nodes: Array
    """W, [C, Dw]: the prior's quantiles at the points of a randomised Sobol sequence, computed when training ends."""
    node_weights: Array
    """[C], weights of the nodes, which sum to one."""
    inner_noise: Array
    """[C, sum of Q]: standard normal nodes for the inner layers."""
    defence: Defence | None
    transforms: tuple[TargetTransform, ...]
    output_mean: MeanFunction
    """Added to the terms; a function of the output of the inner layers, [D'] to [P]."""
    noise_factors: Array | None = None
    """[C, P], factors on the noise at each node (`Noise.factors`); None if it has no coordinates."""
    input_projection: Array | None = None
    """A, [D, D']: every layer sees x A; None if they see x."""
    mixing: Array | None = None
    """P, [Q, P]: the targets are f P plus noise; None if they are f plus noise."""
    spread: float = 1.0
    """Factor on the standard deviations at the nodes, fitted to rows that the training did not see."""

    @property
    def latent_dim(self) -> int:
        """Dw."""
        return self.latent_nodes.shape[1]

    def predict(self, X: Array) -> Mixture:
        """Return the predictive mixture of each row.

        p(y | x) = sum_c pi_c N(y; m(x, node_c), v(x, node_c) + noise): the average of the exact Gaussian output layer
        over the nodes (Dutordoir et al. 2018, section 3.3, with a low-discrepancy sequence instead of random draws).

        Args:
            X: [N, D], standardised features.

        Returns:
            The mixture of N rows, with C components and the defensive ones.
        """
        return average_mixture((self,), X)

    def draw_functions(self, num_draws: int, random: np.random.Generator) -> list[Function]:
        """Draw the function that all rows share, from q(u) of every GP.

        A component of a row, averaged over the draws, has the moments that it has in `predict`. The spread therefore
        multiplies the deviations of the output terms, as it does their standard deviations.
        """
        scales = [1.0] * len(self.inner_layers) + [self.spread] * len(self.output_terms)
        gps = (*(layer.gp for layer in self.inner_layers), *self.output_terms)
        draws = [
            gp.draw(random.standard_normal((num_draws, *gp.q_mu.shape)), scale=scale)
            for gp, scale in zip(gps, scales, strict=True)
        ]
        return list(zip(*draws, strict=True))

    def moments_at(self, X: Array, component: IndexArray, function: Function | None = None) -> tuple[Array, Array]:
        """Return the moments of one component per row.

        Args:
            X: [n, D], standardised features.
            component: [n], indices of components of `predict`.
            function: a draw from `draw_functions`, if the moments are to be those given it.

        Returns:
            Its means and variances, two [n, P], standardised.
        """
        means, variances = np.empty((len(X), len(self.transforms))), np.empty((len(X), len(self.transforms)))
        num_nodes = len(self.latent_nodes)

        def fill(rows: slice) -> None:
            is_node = component[rows] < num_nodes
            own = rows.start + np.flatnonzero(is_node)
            mean, variance, _ = self._node_moments(X[own], component[own], function)
            means[own], variances[own] = mean[:, 0], variance[:, 0]
            if self.defence is not None and len(own) < len(is_node):
                wide = rows.start + np.flatnonzero(~is_node)
                mean, variance = self.defence.components(X[wide])
                chosen = np.arange(len(wide)), component[wide] - num_nodes
                means[wide], variances[wide] = mean[chosen], variance[chosen]

        work_in_blocks(fill, len(X), self._width(X))
        return means, variances

    def gp_inputs(self, X: Array) -> list[tuple[SparseGP, Array]]:
        """Return every GP with the points that it sees at the nodes of some rows, those of the inner layers first.

        Args:
            X: [n, D], standardised features.

        Returns:
            Per GP its points, [n or n C, its inputs].
        """
        features, start, found = (X if self.input_projection is None else X @ self.input_projection)[:, None, :], 0, []

        def points(gp: SparseGP, compositor: Compositor | None) -> Array:
            seen = compositor.compose(features, self.latent_nodes[None]) if gp.sees_latent and compositor else features
            return seen.reshape(-1, seen.shape[-1])

        for layer in self.inner_layers:
            found.append((layer.gp, points(layer.gp, layer.compositor)))
            stop = start + layer.gp.num_gps
            features, start = layer.propagate(features, self.latent_nodes, self.inner_noise[:, start:stop]), stop
        return [*found, *((term, points(term, self.compositor)) for term in self.output_terms)]

    def latent_moments(self, X: Array, targets: Array) -> tuple[Array, Array]:
        """Return the mean and the standard deviation of p(w | x, y) by `responsibilities`, two [N, Dw]."""
        responsibility = self.responsibilities(X, targets)
        mean = responsibility @ self.latent_nodes
        second = responsibility @ self.latent_nodes**2
        return mean, np.sqrt(np.maximum(second - mean**2, 0.0))

    def responsibilities(self, X: Array, targets: Array) -> Array:
        """Return p(node | x, y): the nodes' weights times their likelihoods, normalised.

        Args:
            X: [N, D], standardised features.
            targets: [N, P], the user's units.

        Returns:
            [N, C].

        Raises:
            ValueError: a target is outside the domain of its transform, so that no w explains it.
        """
        Y = np.stack([transform.forward(targets[:, p]) for p, transform in enumerate(self.transforms)], axis=-1)
        if not np.isfinite(Y).all():
            raise ValueError("targets must lie in the range of their transforms")
        num_nodes = len(self.latent_nodes)
        mixture = self.predict(X)
        means, variances = mixture.means[:, :num_nodes], mixture.variances[:, :num_nodes]
        covariances = None if mixture.covariances is None else mixture.covariances[:, :num_nodes]
        log_likelihood = np.log(self.node_weights) + _log_normal(Y[:, None] - means, variances, covariances)
        found: Array = np.exp(log_likelihood - logsumexp(log_likelihood, axis=1, keepdims=True))
        return found

    def latent_prior_band(self) -> Array:
        """Return the ends of the prior's central 68 % for each latent variable, -1 and 1 for a standard normal."""
        order = np.argsort(self.latent_nodes, axis=0)
        levels = np.cumsum(self.node_weights[order], axis=0) - 0.5 * self.node_weights[order]
        columns = zip(levels.T, np.take_along_axis(self.latent_nodes, order, axis=0).T, strict=True)
        return np.stack([np.interp(ndtr([-1.0, 1.0]), level, nodes) for level, nodes in columns], axis=1)

    def noise_at(self, X: Array, node: IndexArray | None = None) -> Array:
        """Return the noise variances at every node, or at one node per row; [N, D] to [N or 1, C or 1, P]."""
        noise = self.noise.at(X)[:, None, :]
        if self.noise_factors is None:
            return noise
        return noise * (self.noise_factors if node is None else self.noise_factors[node, None])

    @property
    def weights(self) -> Array:
        """[C], the components' weights: nodes first, then the defensive ones."""
        defensive = np.empty(0) if self.defence is None else self.defence.weights
        return np.concatenate([(1.0 - defensive.sum()) * self.node_weights, defensive])

    def _width(self, X: Array) -> int:
        """Return the approximate number of values held per component of a row, without the GPs' kernels."""
        return X.shape[1] + self.latent_dim + self.compositor.num_intermediate + 4 * len(self.transforms)

    def _components(self, X: Array) -> Moments:
        """Return the moments of all components."""
        nodes = self._node_moments(X)
        if self.defence is None:
            return nodes
        wide_means, wide = self.defence.components(X)
        covariances = nodes.covariances
        if covariances is not None:
            covariances = np.concatenate([covariances, wide[..., None] * np.eye(len(self.transforms))], axis=1)
        return Moments(
            np.concatenate([nodes.means, wide_means], axis=1),
            np.concatenate([nodes.variances, wide], axis=1),
            covariances,
        )

    def _node_moments(self, X: Array, node: IndexArray | None = None, function: Function | None = None) -> Moments:
        """Return the moments at every node, or at one node per row, [N]; then C = 1."""
        drawn = iter(function or ())  # none for every GP without a draw
        W, inner_noise = self.latent_nodes, self.inner_noise
        if node is not None:
            W, inner_noise = W[node, None], inner_noise[node, None]
        features, start = (X if self.input_projection is None else X @ self.input_projection)[:, None, :], 0
        for layer in self.inner_layers:
            noise = inner_noise[..., start : start + layer.gp.num_gps]
            features = layer.propagate(features, W, noise, next(drawn, None))
            start += layer.gp.num_gps
        noise = self.noise_at(X, node)
        if node is None:
            moments = self._term_moments(features, noise)
        else:
            moments = [_moments(term, self.compositor, features, W, next(drawn, None)) for term in self.output_terms]
        shape = (len(X), W.shape[-2], len(self.transforms))
        mean, variance = sum(m for m, _ in moments), sum(v for _, v in moments)
        if self.mixing is None:
            return Moments(
                np.broadcast_to(mean + self.output_mean(features), shape),
                np.broadcast_to(self.spread**2 * (variance + noise), shape),
                None,
            )
        covariance = np.einsum("ncq,qp,qr->ncpr", variance, self.mixing, self.mixing, optimize=True)
        covariance = self.spread**2 * (covariance + noise[..., None] * np.eye(shape[2]))
        covariance = np.broadcast_to(covariance, (*shape, shape[2]))
        variance = np.diagonal(covariance, axis1=-2, axis2=-1)
        mean = mean @ self.mixing + self.output_mean(features)
        return Moments(np.broadcast_to(mean, shape), variance, covariance)

    @cached_property
    def _surface(self) -> Surface | None:
        """Interpolates between the nodes of a row what depends on nothing but the noise of the inner layers."""
        sees_latent = any(layer.gp.sees_latent for layer in self.inner_layers)
        return None if sees_latent else surface_through(self.inner_noise)

    def _term_moments(self, features: Array, noise: Array) -> list[tuple[Array, Array]]:
        """Return the moments of the output terms at every node, for each of them two [N, 1 or C, Q].

        Those of a term that does not see w are interpolated in the rows in which this is accurate.

        Args:
            features: [N, 1 or C, D'], the output of the inner layers.
            noise: the noise variances, [N or 1, 1 or C, P].
        """
        moments = {}
        rest = np.zeros(1) if self.mixing is not None else noise  # with a mixing matrix it is not on the terms' scale
        for k, term in sorted(enumerate(self.output_terms), key=lambda pair: not pair[1].sees_latent):
            surface = None if term.sees_latent or features.shape[1] == 1 else self._surface
            if surface is None:
                moments[k] = _moments(term, self.compositor, features, self.latent_nodes, None)
            else:

                def evaluate(points: Array, term: SparseGP = term) -> tuple[Array, Array]:
                    return _moments(term, None, points, self.latent_nodes, None)

                moments[k] = surface.moments(evaluate, features, rest)
            rest = rest + moments[k][1]
        return [moments[k] for k in sorted(moments)]


def warm_start_of(posterior: Posterior) -> Posterior:
    """Return the sparse GP with constant normal noise from which a training started, as a posterior with one component.

    Args:
        posterior: with a defence, which has stored it.
    """
    defence = posterior.defence
    if defence is None:
        raise ValueError("expected a posterior with a defence; got none")
    return Posterior(
        inner_layers=(),
        output_terms=(defence.gp,),
        compositor=posterior.compositor,  # not used: the GP does not see w
        noise=NormalNoise(defence.noise),
        latent_nodes=np.empty((1, 0)),
        node_weights=np.ones(1),
        inner_noise=np.empty((1, 0)),
        defence=None,
        transforms=posterior.transforms,
        output_mean=defence.mean,
    )


def average_mixture(members: Sequence[Posterior], X: Array) -> Mixture:
    """Return the average of the posteriors' mixtures as one mixture with all their components.

    Args:
        members: posteriors of the same targets, all or none of them with a mixing matrix.
        X: [N, D], standardised features.
    """
    first, weights = members[0], np.concatenate([member.weights for member in members]) / len(members)
    shape = (len(X), len(weights), len(first.transforms))
    means, variances = np.empty(shape), np.empty(shape)
    covariances = None if first.mixing is None else np.empty((*shape, shape[2]))

    def fill(rows: slice) -> None:
        start = 0
        for member in members:
            moments = member._components(X[rows])
            stop = start + moments.means.shape[1]
            means[rows, start:stop], variances[rows, start:stop] = moments.means, moments.variances
            if covariances is not None:
                covariances[rows, start:stop] = moments.covariances
            start = stop

    work_in_blocks(fill, len(X), max(len(member.latent_nodes) * member._width(X) for member in members))
    return Mixture(weights, means, variances, first.transforms, covariances)


def _log_normal(deviations: Array, variances: Array, covariances: Array | None) -> Array:
    """Return log N(deviations; 0, covariances or variances) up to a constant, [N, C, P] to [N, C]."""
    if covariances is None:
        return -0.5 * (deviations**2 / variances + np.log(variances)).sum(-1)
    factors = np.linalg.cholesky(covariances)
    whitened = np.linalg.solve(factors, deviations[..., None])[..., 0]
    return -(0.5 * whitened**2 + np.log(np.diagonal(factors, axis1=-2, axis2=-1))).sum(-1)


def _moments(
    gp: SparseGP, compositor: Compositor | None, X: Array, W: Array, drawn: Array | None
) -> tuple[Array, Array]:
    """Return the moments of a GP at every node, two [N, 1 or C, Q]; X [N, 1 or C, D], W [C, Dw] or [N, 1, Dw]."""
    if gp.sees_latent and compositor is not None:
        X = compositor.compose(X, W if W.ndim == 3 else W[None])
    mean, variance = gp.moments(X.reshape(-1, X.shape[-1]), drawn)
    shape = (*X.shape[:2], gp.num_gps)
    return mean.reshape(shape), variance.reshape(shape)
