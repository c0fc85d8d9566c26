"""What a page needs to evaluate densities by itself: condensed mixtures and how their parameters vary with x.

Letters: N rows, D features, T sites, P targets, Q parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cde_app.arrays import Array
from cde_app.predictive.condensed import Condensation, condense
from cde_app.predictive.emulator import Emulator, fit_emulator
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.recalibrated import no_components

GROUPS, PAIR_GROUPS = 64, 24
"""Gaussians of each target, and of the joint map of two."""
BUMP = 0.3
"""The step of a feature that tells how much it matters [standard deviations]."""
BUMPED_PREDICTIONS, FEWEST_BUMPED = 600, 10
LEVELS = np.linspace(0.01, 0.99, 50)
"""The quantiles at which distribution functions are compared."""

Predict = Callable[[Array], Forecast]


@dataclass(frozen=True)
class PageModel:
    """The condensed mixtures of a model as functions of x."""

    parts: tuple[Condensation, ...]
    """One per target, and one of `closest_pair` if there are several."""
    emulator: Emulator

    def mixtures(self, X: Array, forecast: Forecast) -> tuple[Mixture, ...]:
        """Return what the page shows for some rows, [N, D]: one mixture per part; the transforms are the forecast's."""
        parameters, mixtures = self.emulator(X), []
        for part, exact, columns in zip(self.parts, exact_parts(forecast), self.columns, strict=True):
            mixtures.append(_mixture(part, parameters[:, columns], exact))
        return tuple(mixtures)

    @property
    def columns(self) -> tuple[slice, ...]:
        """Where the parameters of each part are among the Q."""
        ends = np.cumsum([_num_parameters(part, joint=p == self._joint) for p, part in enumerate(self.parts)])
        return tuple(slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    @property
    def _joint(self) -> int:
        """The index of the part of two targets; -1 if there is one target."""
        return len(self.parts) - 1 if len(self.parts) > 1 else -1

    def rounded(self) -> PageModel:
        """Return it in the single precision of the page."""
        emulator = self.emulator
        arrays = {name: _single(getattr(emulator, name)) for name in ("sites", "coefficients", "centre", "basis")}
        parts = tuple(replace(part, weights=_single(part.weights)) for part in self.parts)
        return PageModel(parts, replace(emulator, **arrays))


@dataclass(frozen=True)
class Differences:
    """How far the page is from the model in some rows."""

    probability: Array
    """[N], the largest difference of a probability P(y <= c) over all c and targets."""
    joint: Array
    """[n], for some of the rows half the integral of the difference of the joint densities; empty for one target."""


def fit_page_model(predict: Predict, sites: Array, bumped: Array) -> PageModel:
    """Condense the forecasts at the sites and interpolate between them.

    Args:
        predict: standardised rows -> forecast.
        sites: [T, D], distinct rows.
        bumped: [N, D], typical rows, some of which tell how much each feature matters.
    """
    exact = exact_parts(predict(sites))
    groups = [PAIR_GROUPS if part.num_targets == 2 else GROUPS for part in exact]
    parts = tuple(condense(part, num) for part, num in zip(exact, groups, strict=True))
    values = [part(mixture) for part, mixture in zip(parts, exact, strict=True)]
    units = np.concatenate([_units(part, own) for part, own in zip(parts, values, strict=True)])

    def parameters(X: Array) -> Array:
        return np.concatenate([part(own) for part, own in zip(parts, exact_parts(predict(X)), strict=True)], axis=1)

    num_features = sites.shape[1]
    count = int(np.clip(BUMPED_PREDICTIONS // num_features, FEWEST_BUMPED, len(bumped)))
    some = bumped[np.linspace(0, len(bumped) - 1, count).astype(int)]
    before, sensitivity = parameters(some), np.empty(num_features)
    for d in range(num_features):
        change = (parameters(some + BUMP * np.eye(num_features)[d]) - before) / units
        sensitivity[d] = np.sqrt(np.mean(np.sum(change**2, axis=1))) / BUMP
    return PageModel(parts, fit_emulator(sites, np.concatenate(values, axis=1), units, sensitivity)).rounded()


def differences(
    page: PageModel, predict: Predict, X: Array, *, num_joint: int, num_draws: int, seed: int
) -> Differences:
    """Compare the page with the model in some rows, [N, D], of which the first `num_joint` are compared jointly."""
    forecast = predict(X)
    shown, largest = page.mixtures(X, forecast), np.zeros(len(X))
    for exact, own in zip(forecast.marginals(), shown, strict=False):
        z = exact.transforms[0].forward(np.moveaxis(exact.quantile(LEVELS)[..., 0], 0, 1))
        largest = np.maximum(largest, np.abs(exact.cdf_along(z) - own.cdf_along(z)).max(axis=1))
    if forecast.num_targets == 1:
        return Differences(largest, np.empty(0))
    pair = pair_of(forecast[:num_joint])
    draws = pair.sample(num_draws, seed=seed)
    ratios = [np.exp(shown[-1][:num_joint].log_prob(draw) - pair.log_prob(draw)) for draw in draws]
    # int |p - q| / 2 = int max(p - q, 0) = E_p max(1 - q / p, 0)
    return Differences(largest, np.mean([np.maximum(1 - ratio, 0.0) for ratio in ratios], axis=0))


def exact_parts(forecast: Forecast) -> tuple[Mixture, ...]:
    """Return what the parts of a page stand for: a mixture of each target and, if there are several, of two jointly."""
    marginals = mixtures_of(forecast)
    return marginals if forecast.num_targets == 1 else (*marginals, pair_of(forecast).joint_components())


def mixtures_of(forecast: Forecast) -> tuple[Mixture, ...]:
    """Return the mixture of each target by itself.

    Raises:
        ValueError: the forecast is recalibrated.
    """
    mixtures = tuple(one for one in forecast.marginals() if isinstance(one, Mixture))
    if len(mixtures) < forecast.num_targets:
        raise no_components()
    return mixtures


def pair_of(forecast: Forecast) -> Forecast:
    """Return the joint forecast of two targets: both, or the `closest_pair` of more."""
    return forecast if forecast.num_targets == 2 else forecast.pair()


def _num_parameters(part: Condensation, *, joint: bool) -> int:
    return len(part.weights) * (5 if joint else 2)


def _units(part: Condensation, values: Array) -> Array:
    """Return for each parameter the size of an error that matters: the means' are standard deviations."""
    num_groups, root = len(part.weights), np.sqrt(part.weights)
    units = []
    for first in range(0, values.shape[1] // num_groups - 1, 2):
        log_sds = values[:, (first + 1) * num_groups : (first + 2) * num_groups]
        units += [np.exp(np.mean(log_sds @ part.weights)) / root, 1 / root]
    return np.concatenate([*units, 1 / root] if len(units) == 4 else units)


def _mixture(part: Condensation, values: Array, like: Mixture) -> Mixture:
    """Return the mixture of a part from its parameters, [N, Q]."""
    blocks = np.split(values, values.shape[1] // len(part.weights), axis=1)
    means: Array = np.stack(blocks[0:4:2], axis=-1)
    sds: Array = np.exp(np.stack(blocks[1:4:2], axis=-1))
    covariances = None
    if len(blocks) == 5:
        across = np.tanh(blocks[4]) * np.prod(sds, axis=-1)
        covariances = np.stack([sds[..., 0] ** 2, across, across, sds[..., 1] ** 2], axis=-1)
        covariances = covariances.reshape(*across.shape, 2, 2)
    weights = part.weights / part.weights.sum()
    return Mixture(weights, means, np.square(sds), like.transforms, covariances, names=like.names)


def _single(values: Sequence[float] | Array) -> Array:
    return np.asarray(values, np.float32).astype(float)
