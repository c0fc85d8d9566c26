"""The prior p(w) of the latent variables, and the family that q(w | x, y) shares with it.

Letters: Dw latent variables, K draws per row, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import NDArray
from scipy.special import ndtr

from cde_app import config
from cde_app.config_file.schema import listed, nearest
from cde_app.errors import SettingError

Array = NDArray[np.float64]

LATENT = ("model", "latent")
FAMILY, PARAMETERS = (*LATENT, "prior", "family"), (*LATENT, "prior", "parameters")
EMPIRICAL_DRAWS = 1 << 18
"""Seeded draws whose quantiles stand for those of a family that has none in TFP."""
CHANGE = 0.5
"""How far a parameter is moved, on its unconstrained scale, to see whether the support moves with it."""


@dataclass(frozen=True)
class Prior:
    """p(w), fully factorised, and the parameters that q(w | x, y), of the same family, is free to learn."""

    distribution: tfp.distributions.Distribution
    """A vector of Dw independent normals, or a batch of Dw scalar distributions."""
    bijectors: Mapping[str, tfp.bijectors.Bijector]
    """The free parameters, each with the bijector from the real line; the others would move the support."""

    @property
    def is_normal(self) -> bool:
        """Whether it is N(0, I), one event of Dw dimensions."""
        return bool(self.distribution.event_shape.rank)

    @property
    def starts_from_residual(self) -> bool:
        """Whether q(w | x, y) has a location and a scale, and may start where the warm start's residual says."""
        return self.is_normal or {"loc", "scale"} <= set(self.bijectors)

    def member(self, parameters: Sequence[tf.Tensor]) -> tfp.distributions.Distribution:
        """Return the distribution of the family with these free parameters, each [..., Dw]."""
        names = dict(zip(self.bijectors, parameters, strict=True))
        fixed = {} if self.is_normal else self._given
        return type(self.distribution)(**(fixed | names), allow_nan_stats=False)

    def without_gradient(self, posterior: tfp.distributions.Distribution) -> tfp.distributions.Distribution:
        """Return the same distribution, its parameters constants."""
        return self.member([tf.stop_gradient(posterior.parameters[name]) for name in self.bijectors])

    def log_prob(self, distribution: tfp.distributions.Distribution, W: tf.Tensor) -> tf.Tensor:
        """Return the log density of w, all latent variables together; [..., Dw] to [...]."""
        log_prob = distribution.log_prob(W)
        return log_prob if self.is_normal else tf.reduce_sum(log_prob, axis=-1)

    def kl(self, posterior: tfp.distributions.Distribution, W: tf.Tensor) -> tf.Tensor:
        """Return KL[q(w) || p(w)], summed over the latent variables, [B].

        In closed form where TFP has one, else the mean of log q(w) - log p(w) over draws W [K, B, Dw] from q.
        """
        if not self._has_closed_form:
            log_ratio = self.log_prob(posterior, W) - self.log_prob(self.distribution, W)
            return tf.reduce_mean(log_ratio, axis=0)
        kl = posterior.kl_divergence(self.distribution)
        return kl if self.is_normal else tf.reduce_sum(kl, axis=-1)

    def from_normal_scores(self, scores: Array) -> Array:
        """Return the prior's quantiles at the levels Phi(z), [n, Dw]: for normal scores, draws from the prior.

        Where TFP has no quantile function for the family, those of 2^18 seeded draws.
        """
        if self.is_normal:
            return scores
        levels = ndtr(scores)
        levels = np.where(levels == 0.5, 0.5 + 1e-12, levels)  # TFP's quantile of the beta is wrong at one half itself
        try:
            quantiles: Array = self.distribution.quantile(tf.constant(levels)).numpy()
        except NotImplementedError:  # TFP's word for a family without one
            draws = self.distribution.sample(EMPIRICAL_DRAWS, seed=tf.constant([0, 0])).numpy()
            columns = [np.quantile(draws[:, j], levels[:, j]) for j in range(levels.shape[1])]
            quantiles = np.stack(columns, axis=-1)
        return quantiles

    @property
    def _given(self) -> dict[str, Any]:
        parameters = self.distribution.parameters
        names = type(self.distribution).parameter_properties(dtype=gpflow.default_float())
        return {name: parameters[name] for name in names if parameters.get(name) is not None}

    @cached_property
    def _has_closed_form(self) -> bool:
        """Asked with other parameters than the prior's: TFP has a KL between some distributions and themselves only."""
        try:
            self.member(_moved(self.distribution, self.bijectors, CHANGE)).kl_divergence(self.distribution)
        except NotImplementedError:  # TFP's word for a pair of distributions that nobody has registered
            return False
        return True


def build_prior(settings: config.Latent) -> Prior:
    """Return p(w).

    Raises:
        SettingError: the family or its parameters cannot be a prior.
    """
    if settings.prior.kind == "normal":
        zeros = tf.zeros([settings.dim], gpflow.default_float())
        normal = tfp.distributions.MultivariateNormalDiag(loc=zeros, scale_diag=tf.ones_like(zeros))
        names = {"loc": tfp.bijectors.Identity(), "scale_diag": tfp.bijectors.Exp()}
        return Prior(normal, names)
    family = _family(settings.prior.family)
    properties = _parameter_properties(settings.prior.family, family)
    parameters = _parameters(settings.prior, properties, latent_dim=settings.dim)
    try:
        distribution = family(**parameters, allow_nan_stats=False)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise SettingError(
            PARAMETERS,
            f"expected what the family {settings.prior.family!r} needs, of {listed(properties)}; "
            f"got {listed(parameters)}. {_first_line(error)}",
        ) from None
    _check_distribution(settings.prior.family, distribution)
    bijectors = {name: b for name in parameters if (b := _bijector(properties[name])) is not None}
    for name, bijector in bijectors.items():
        _check_domain(name, settings.prior.parameters[name], parameters[name], bijector)
    if not _is_proper(distribution):
        raise SettingError(
            PARAMETERS,
            f"expected a proper density; got {settings.prior.parameters!r}. Choose them inside the family's domain.",
        )
    free = {name: b for name, b in bijectors.items() if not _moves_support(distribution, name, b)}
    if not free:
        raise SettingError(
            FAMILY,
            f"expected a family whose density may change on a fixed support; got {settings.prior.family!r}. "
            "Choose another, such as 'Beta' or 'Kumaraswamy' for a bounded w.",
        )
    encoder = settings.encoder
    prior = Prior(distribution, free)
    if encoder.kind == "mlp" and encoder.initial_width is not None and not prior.starts_from_residual:
        raise SettingError(
            (*LATENT, "encoder", "initial_width"),
            f"expected null, as the family {settings.prior.family!r} has no location and scale; got "
            f"{encoder.initial_width!r}. Remove the key.",
        )
    return prior


def _family(name: str) -> type[tfp.distributions.Distribution]:
    """Return the TFP class of that name."""
    distribution = tfp.distributions.Distribution
    known = {
        key: value
        for key, value in vars(tfp.distributions).items()
        if isinstance(value, type) and issubclass(value, distribution) and value is not distribution
    }
    if name not in known:
        near = nearest(name, known)
        advice = f"Did you mean {near!r}?" if near else "Choose one such as 'Laplace', 'StudentT' or 'Gamma'."
        raise SettingError(FAMILY, f"expected a family of TensorFlow Probability; got {name!r}. {advice}")
    return known[name]


def _parameter_properties(name: str, family: type[tfp.distributions.Distribution]) -> Mapping[str, Any]:
    """Return the properties of the family's numerical parameters."""
    try:
        properties: Mapping[str, Any] = family.parameter_properties(dtype=gpflow.default_float())
    except NotImplementedError:  # a family made of other distributions has no parameters of its own
        properties = {}
    if not properties or any(np.any(value.event_ndims != 0) for value in properties.values()):
        raise _not_a_prior(name)
    return properties


def _parameters(settings: config.TFPPrior, properties: Mapping[str, Any], *, latent_dim: int) -> dict[str, tf.Tensor]:
    """Return the configured parameters, [Dw] each."""
    for name, value in settings.parameters.items():
        if name not in properties:
            near = nearest(name, properties)
            advice = f"did you mean {near!r}?" if near else f"the parameters are {listed(properties)}. Remove it."
            raise SettingError((*PARAMETERS, name), f"unknown key; {advice}")
        if isinstance(value, list) and len(value) != latent_dim:
            raise SettingError(
                (*PARAMETERS, name),
                f"expected a number, or a list of model.latent.dim = {latent_dim}; got {value!r}. Correct the list.",
            )
    return {
        name: tf.constant(np.broadcast_to(np.asarray(value, float), [latent_dim]))
        for name, value in settings.parameters.items()
    }


def _check_distribution(name: str, distribution: tfp.distributions.Distribution) -> None:
    fully = tfp.distributions.FULLY_REPARAMETERIZED
    if distribution.event_shape.rank != 0 or distribution.reparameterization_type != fully:
        raise _not_a_prior(name)
    if distribution.dtype != gpflow.default_float():
        raise _not_a_prior(name)


def _not_a_prior(name: str) -> SettingError:
    return SettingError(
        FAMILY,
        f"expected a fully reparameterisable family of continuous scalars; got {name!r}. "
        "Choose one such as 'Laplace', 'StudentT' or 'Gamma'.",
    )


def _bijector(properties: Any) -> tfp.bijectors.Bijector | None:
    """Return the constraining bijector; None where TFP has none, as for a bound that depends on another parameter."""
    try:
        bijector: tfp.bijectors.Bijector = properties.default_constraining_bijector_fn()
    except NotImplementedError:  # TFP's word for a parameter without one
        return None
    return bijector


def _check_domain(name: str, configured: Any, value: tf.Tensor, bijector: tfp.bijectors.Bijector) -> None:
    if not np.isfinite(bijector.inverse(value)).all():
        raise SettingError(
            (*PARAMETERS, name),
            f"expected a value in the parameter's domain; got {configured!r}. Correct the value.",
        )


def _is_proper(distribution: tfp.distributions.Distribution) -> bool:
    return bool(np.isfinite(distribution.log_prob(distribution.sample(64, seed=tf.constant([0, 0])))).all())


def _moves_support(distribution: tfp.distributions.Distribution, name: str, bijector: tfp.bijectors.Bijector) -> bool:
    """Say whether the support changes with a parameter, so that q(w) and p(w) would not share theirs."""
    points = tf.constant(np.linspace(-12.0, 12.0, 25))[:, None]
    for change in (-CHANGE, CHANGE):
        moved = dict(distribution.parameters) | {name: _moved(distribution, {name: bijector}, change)[0]}
        other = type(distribution)(**moved)
        for left, right in ((distribution, other), (other, distribution)):
            inside = left.experimental_default_event_space_bijector().forward(points)
            if not np.isfinite(right.log_prob(inside)).all():
                return True
    return False


def _moved(
    distribution: tfp.distributions.Distribution, bijectors: Mapping[str, tfp.bijectors.Bijector], change: float
) -> list[tf.Tensor]:
    """Return parameters, each moved on its unconstrained scale."""
    parameters = distribution.parameters
    return [b.forward(b.inverse(parameters[name]) + change) for name, b in bijectors.items()]


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", error)).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith(".") else f"{line}."
