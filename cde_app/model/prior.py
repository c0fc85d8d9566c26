"""The prior p(w) of the latent variables, and the family that q(w | x, y) shares with it.

Letters: Dw latent variables, K draws per row, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import ndtr

from cde_app import config
from cde_app.arrays import Array
from cde_app.errors import SettingError
from cde_app.words import listed, nearest

LATENT = ("model", "latent")
FAMILY, PARAMETERS = (*LATENT, "prior", "family"), (*LATENT, "prior", "parameters")
NORMAL = "MultivariateNormalDiag"
# A test derives this table from all distributions of TensorFlow Probability.
FAMILIES: dict[str, tuple[str, ...]] = {
    NORMAL: ("loc", "scale_diag"),
    "Beta": ("concentration1", "concentration0"),
    "Cauchy": ("loc", "scale"),
    "Chi": ("df",),
    "Chi2": ("df",),
    "ExpGamma": ("concentration", "rate", "log_rate"),
    "ExpInverseGamma": ("concentration", "scale", "log_scale"),
    "Exponential": ("rate",),
    "ExponentiallyModifiedGaussian": ("loc", "scale", "rate"),
    "Gamma": ("concentration", "rate", "log_rate"),
    "GammaGamma": ("concentration", "mixing_concentration", "mixing_rate"),
    "GeneralizedNormal": ("loc", "scale", "power"),
    "Gumbel": ("loc", "scale"),
    "HalfCauchy": ("scale",),
    "HalfNormal": ("scale",),
    "HalfStudentT": ("df", "scale"),
    "InverseGamma": ("concentration", "scale"),
    "InverseGaussian": ("loc", "concentration"),
    "JohnsonSU": ("skewness", "tailweight", "loc", "scale"),
    "Kumaraswamy": ("concentration1", "concentration0"),
    "LambertWNormal": ("loc", "scale", "tailweight"),
    "Laplace": ("loc", "scale"),
    "LogLogistic": ("loc", "scale"),
    "LogNormal": ("loc", "scale"),
    "Logistic": ("loc", "scale"),
    "LogitNormal": ("loc", "scale"),
    "Moyal": ("loc", "scale"),
    "Normal": ("loc", "scale"),
    "NormalInverseGaussian": ("loc", "scale"),
    "PERT": ("temperature",),
    "Pareto": ("concentration",),
    "RelaxedBernoulli": ("temperature", "logits", "probs"),
    "SigmoidBeta": ("concentration1", "concentration0"),
    "SinhArcsinh": ("loc", "scale", "skewness", "tailweight"),
    "StudentT": ("df", "loc", "scale"),
    "TruncatedNormal": ("loc", "scale"),
    "TwoPieceNormal": ("loc", "scale", "skewness"),
    "TwoPieceStudentT": ("df", "loc", "scale", "skewness"),
    "VonMises": ("loc", "concentration"),
    "Weibull": ("concentration", "scale"),
}
"""Every family that can be a prior, with the parameters that q(w | x, y) may learn: they do not change the support, and
every value of TFP's constraining bijector is valid, whatever the other parameters are."""
REASONS = {
    "BetaQuotient": "whose density TensorFlow Probability does not know everywhere",
    "ContinuousBernoulli": "whose draws are in single precision",
    "Deterministic": "which has no density",
    "DoublesidedMaxwell": "which TensorFlow Probability draws in single precision only",
    "GeneralizedExtremeValue": "whose parameters move its support",
    "GeneralizedPareto": "whose parameters move its support",
    "Horseshoe": "whose density TensorFlow Probability approximates",
    "Triangular": "whose parameters move its support",
    "Uniform": "whose parameters move its support",
}
"""Why some families are not in the table although they seem similar."""
EMPIRICAL_DRAWS = 1 << 18
"""Seeded draws whose quantiles are used for a family without a quantile function in TFP."""
CHANGE = 0.5
"""By how much a parameter is changed, on its unconstrained scale, to test whether TFP has a KL in closed form."""


@dataclass(frozen=True)
class Prior:
    """p(w), fully factorised, and the free parameters of q(w | x, y), which is of the same family."""

    distribution: tfp.distributions.Distribution
    """A vector of Dw independent normals, or a batch of Dw scalar distributions."""
    bijectors: Mapping[str, tfp.bijectors.Bijector]
    """The free parameters, each with its bijector from the real line; the others would change the support."""

    @property
    def is_normal(self) -> bool:
        """Whether it is one event of Dw independent normals."""
        return bool(self.distribution.event_shape.rank)

    @property
    def loc_and_scale(self) -> tuple[Array, Array]:
        """The means and standard deviations of a normal prior, [Dw] each."""
        return self.distribution.parameters["loc"].numpy(), self.distribution.parameters["scale_diag"].numpy()

    @property
    def starts_from_residual(self) -> bool:
        """Whether q(w | x, y) has a location and a scale, which can be initialised from the warm start's residual."""
        return self.is_normal or {"loc", "scale"} <= set(self.bijectors)

    def member(self, parameters: Sequence[tf.Tensor]) -> tfp.distributions.Distribution:
        """Return the distribution of the family with these free parameters, each [..., Dw]."""
        names = dict(zip(self.bijectors, parameters, strict=True))
        fixed = {} if self.is_normal else self._given
        return type(self.distribution)(**(fixed | names), allow_nan_stats=False)

    def changed(self, changes: Sequence[Any]) -> tuple[tf.Tensor, ...]:
        """Return the prior's free parameters, each changed on its unconstrained scale; zeros leave them as they are."""
        starts = self.distribution.parameters
        bijectors = self.bijectors.items()
        return tuple(b.forward(b.inverse(starts[name]) + c) for (name, b), c in zip(bijectors, changes, strict=True))

    def without_gradient(self, posterior: tfp.distributions.Distribution) -> tfp.distributions.Distribution:
        """Return the same distribution with constant parameters."""
        return self.member([tf.stop_gradient(posterior.parameters[name]) for name in self.bijectors])

    def log_prob(self, distribution: tfp.distributions.Distribution, W: tf.Tensor) -> tf.Tensor:
        """Return the joint log density of all latent variables; [..., Dw] to [...]."""
        log_prob = distribution.log_prob(W)
        return log_prob if self.is_normal else tf.reduce_sum(log_prob, axis=-1)

    def kl(self, posterior: tfp.distributions.Distribution, W: tf.Tensor) -> tf.Tensor:
        """Return KL[q(w) || p(w)], summed over the latent variables, [B].

        The closed form if TFP has one, else the mean of log q(w) - log p(w) over draws W [K, B, Dw] from q.
        """
        if not self._has_closed_form:
            log_ratio = self.log_prob(posterior, W) - self.log_prob(self.distribution, W)
            return tf.reduce_mean(log_ratio, axis=0)
        kl = posterior.kl_divergence(self.distribution)
        return kl if self.is_normal else tf.reduce_sum(kl, axis=-1)

    def from_normal_scores(self, scores: Array) -> Array:
        """Return the prior's quantiles at the levels Phi(z), [n, Dw]; if z are normal draws, they are draws from it.

        If TFP has no quantile function for the family, the quantiles are those of 2^18 seeded draws.
        """
        if self.is_normal:
            loc, scale = self.loc_and_scale
            return loc + scale * scores
        levels = ndtr(scores)
        levels = np.where(levels == 0.5, 0.5 + 1e-12, levels)  # TFP's quantile of the beta is wrong at exactly 0.5
        try:
            quantiles: Array = self.distribution.quantile(tf.constant(levels)).numpy()
        except NotImplementedError:  # the family has no quantile function in TFP
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
        """Tested with changed parameters: for some families, TFP only has the KL between equal distributions."""
        try:
            self.member(self.changed([CHANGE] * len(self.bijectors))).kl_divergence(self.distribution)
        except NotImplementedError:  # no KL is registered in TFP for this pair
            return False
        return True


def build_prior(settings: config.Latent) -> Prior:
    """Return p(w).

    Raises:
        SettingError: the family or its parameters are invalid for a prior.
    """
    if settings.prior.kind == "normal":
        zeros = tf.zeros([settings.dim], gpflow.default_float())
        return _normal({"loc": zeros, "scale_diag": tf.ones_like(zeros)})
    name, given = settings.prior.family, settings.prior.parameters
    family = _family(name)
    properties: Mapping[str, Any] = family.parameter_properties(dtype=gpflow.default_float())
    parameters = _parameters(settings.prior, properties, latent_dim=settings.dim)
    needed = (
        f"expected values for what the family {name!r} needs, of {listed(properties)}; "
        f"got {listed(given) if given else 'none'}. "
    )
    try:
        family(**parameters)
    except Exception as error:  # the class depends on the family
        raise SettingError(PARAMETERS, needed + _first_line(error)) from None
    bijectors = {key: properties[key].default_constraining_bijector_fn() for key in parameters if key in FAMILIES[name]}
    for key, bijector in bijectors.items():
        _check_domain(key, given[key], parameters[key], bijector)
    _check_values(family, parameters, given)
    if not bijectors or (name == NORMAL and len(bijectors) < len(FAMILIES[name])):
        raise SettingError(PARAMETERS, needed + f"Write those that training learns: {listed(FAMILIES[name])}.")
    prior = _normal(parameters) if name == NORMAL else Prior(family(**parameters, allow_nan_stats=False), bijectors)
    encoder = settings.encoder
    if encoder.kind == "mlp" and encoder.initial_width is not None and not prior.starts_from_residual:
        raise SettingError(
            (*LATENT, "encoder", "initial_width"),
            f"expected null, as the family {name!r} has no location and scale; got {encoder.initial_width!r}. "
            "Remove the key.",
        )
    return prior


def _normal(parameters: Mapping[str, tf.Tensor]) -> Prior:
    bijectors = {"loc": tfp.bijectors.Identity(), "scale_diag": tfp.bijectors.Exp()}
    ordered = {name: parameters[name] for name in bijectors}
    return Prior(tfp.distributions.MultivariateNormalDiag(**ordered), bijectors)


def _family(name: str) -> type[tfp.distributions.Distribution]:
    """Return the TFP class of that name."""
    if name in FAMILIES:
        family: type[tfp.distributions.Distribution] = getattr(tfp.distributions, name)
        return family
    advice = "Choose one such as 'Laplace', 'StudentT' or 'Gamma'."
    found = getattr(tfp.distributions, name, None)
    if isinstance(found, type) and issubclass(found, tfp.distributions.Distribution):
        raise SettingError(
            FAMILY,
            "expected a fully reparameterisable family of continuous scalars with a fixed support; "
            f"got {name!r}{f', {REASONS[name]}' if name in REASONS else ''}. {advice}",
        )
    near = nearest(name, FAMILIES)
    advice = f"Did you mean {near!r}?" if near else advice
    raise SettingError(FAMILY, f"expected a family of TensorFlow Probability; got {name!r}. {advice}")


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


def _check_domain(name: str, configured: Any, value: tf.Tensor, bijector: tfp.bijectors.Bijector) -> None:
    if not np.isfinite(bijector.inverse(value)).all():
        raise SettingError(
            (*PARAMETERS, name),
            f"expected a value in the parameter's domain; got {configured!r}. Correct the value.",
        )


def _check_values(
    family: Callable[..., tfp.distributions.Distribution], parameters: Mapping[str, tf.Tensor], given: Mapping[str, Any]
) -> None:
    """Let TFP validate the values together, and check that the density is finite at some draws."""
    reason = "Choose them inside the family's domain."
    try:
        distribution = family(**parameters, validate_args=True)
        log_density = distribution.log_prob(distribution.sample(64, seed=tf.constant([0, 0])))
        if np.isfinite(log_density).all():
            return
    except Exception as error:  # the class depends on the family
        reason = _first_line(error)
    raise SettingError(PARAMETERS, f"expected a proper density; got {given!r}. {reason}")


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", error)).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith(".") else f"{line}."
