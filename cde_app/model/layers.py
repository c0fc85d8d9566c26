"""GP layers: kernels, GPflux `GPLayer`s, the inner and the output layer.

Letters: n points, D inputs, M inducing inputs, Q GPs of a layer, P targets.
"""

from __future__ import annotations

from typing import Any

import gpflow
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from gpflow.utilities import positive
from gpflux.layers import GPLayer
from numpy.typing import NDArray

from cde_app.model.compositor import build_compositor
from cde_app.model.start import GPStart, InnerStart, MeanStart
from cde_app.predictive.mean_function import MeanFunction
from cde_app.predictive.sparse_gp import Kernel, combined

Array = NDArray[np.float64]

COMBINATIONS = {"sum": gpflow.kernels.Sum, "product": gpflow.kernels.Product}
STATIONARY_KERNELS = {
    "squared_exponential": gpflow.kernels.SquaredExponential,
    "matern12": gpflow.kernels.Matern12,
    "matern32": gpflow.kernels.Matern32,
    "matern52": gpflow.kernels.Matern52,
    "rational_quadratic": gpflow.kernels.RationalQuadratic,
}


def positive_parameter(value: Any, *, lower: float | None = None) -> gpflow.Parameter:
    """Return a positive parameter that is optimised on the log scale."""
    return gpflow.Parameter(value, transform=positive(lower, base="exp"), dtype=gpflow.default_float())


def build_kernel(start: Kernel) -> gpflow.kernels.Kernel:
    """Return the GPflow kernel with the same hyperparameters."""
    if start.kind in COMBINATIONS:
        return COMBINATIONS[start.kind]([build_kernel(part) for part in start.parts])
    active_dims = None if start.columns is None else list(start.columns)
    match start.kind:
        case "constant":
            kernel = gpflow.kernels.Constant(active_dims=active_dims)
        case "linear":
            kernel = gpflow.kernels.Linear(variance=start.variance, active_dims=active_dims)
        case "periodic":
            base = gpflow.kernels.SquaredExponential(lengthscales=start.lengthscales, active_dims=active_dims)
            base.variance = positive_parameter(start.variance)
            base.lengthscales = positive_parameter(start.lengthscales)
            kernel = gpflow.kernels.Periodic(base, period=start.period)
            kernel.period = positive_parameter(start.period)
            return kernel
        case _:
            kernel = STATIONARY_KERNELS[start.kind](lengthscales=start.lengthscales, active_dims=active_dims)
            kernel.lengthscales = positive_parameter(start.lengthscales)
    kernel.variance = positive_parameter(start.variance)
    if start.kind == "rational_quadratic":
        kernel.alpha = positive_parameter(start.alpha)
    return kernel


def read_kernel(kernel: gpflow.kernels.Kernel) -> Kernel:
    """Undo `build_kernel`: return the kernel as plain arrays; a sum of sums is one sum, as GPflow makes it."""
    for kind, combination in COMBINATIONS.items():
        if type(kernel) is combination:
            return combined(kind, tuple(read_kernel(part) for part in kernel.kernels))
    dims = kernel.active_dims
    columns = None if isinstance(dims, slice) else tuple(int(dim) for dim in dims)
    match kernel:
        case gpflow.kernels.Constant():
            return Kernel("constant", float(kernel.variance.numpy()), np.empty(0), columns=columns)
        case gpflow.kernels.Linear():
            return Kernel("linear", kernel.variance.numpy(), np.empty(0), columns=columns)
        case gpflow.kernels.Periodic():
            base, period = kernel.base_kernel, kernel.period.numpy()
            variance, lengthscales = float(base.variance.numpy()), base.lengthscales.numpy()
            return Kernel("periodic", variance, lengthscales, columns=columns, period=period)
    kind = next(kind for kind, kernel_class in STATIONARY_KERNELS.items() if type(kernel) is kernel_class)
    alpha = float(kernel.alpha.numpy()) if kind == "rational_quadratic" else 1.0
    return Kernel(kind, float(kernel.variance.numpy()), kernel.lengthscales.numpy(), columns=columns, alpha=alpha)


def build_gp(start: GPStart, *, num_data: int, name: str) -> GPLayer:
    """Return a GPflux `GPLayer` of independent GPs that share the kernel and the inducing inputs."""
    layer = GPLayer(
        gpflow.kernels.SharedIndependent(build_kernel(start.kernel), output_dim=start.num_gps),
        gpflow.inducing_variables.SharedIndependentInducingVariables(
            gpflow.inducing_variables.InducingPoints(start.inducing_inputs)
        ),
        num_data=num_data,
        mean_function=gpflow.mean_functions.Zero(output_dim=start.num_gps),
        name=name,
        verbose=False,
    )
    layer.q_mu.assign(start.q_mu)
    gpflow.set_trainable(layer.q_sqrt, False)  # Keras goes on tracking a parameter that is overwritten
    layer._trainable_weights = [v for v in layer._trainable_weights if v.trainable]
    if start.q_sqrt.ndim == 2:
        layer.q_sqrt = positive_parameter(start.q_sqrt)
    else:
        layer.q_sqrt = gpflow.Parameter(start.q_sqrt, transform=LowerTriangle(), dtype=gpflow.default_float())
    return layer


class LowerTriangle(tfp.bijectors.Bijector):
    """The lower triangle of a square matrix, stored as the matrix.

    GPflow packs a triangle into a vector, which takes several passes over it, and as many for the gradient, in every
    step.
    """

    def __init__(self) -> None:
        super().__init__(forward_min_event_ndims=2, is_constant_jacobian=True, name="lower_triangle")

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.linalg.band_part(x, -1, 0)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return y


class Stream(tf.Module):
    """Seeds for a layer that is called without one: (seed, 0), (seed, 1), ..., those that `Trainer` gives its steps."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="stream")
        self.place = tf.Variable([seed, 0], dtype=tf.int64, trainable=False)

    def next_seed(self) -> tf.Tensor:
        """Return the next seed, [2]."""
        seed = self.place.read_value()
        self.place.assign_add([0, 1])
        return seed


class InputProjection(tf_keras.layers.Layer):
    """[x, w] -> [x A, w], A [D, D'] learned, before every GP layer.

    Source: Dutordoir et al. (2018), whose model has such an A; here it is a point estimate.
    """

    def __init__(self, start: Array, *, latent_dim: int) -> None:
        super().__init__(name="input_projection", dtype=gpflow.default_float())
        self.projection = tf.Variable(start, name="projection")
        self.latent_dim = latent_dim

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Project x and hand w on."""
        X, W = split_latent(inputs, self.latent_dim)
        return tf.concat([X @ self.projection, W], axis=-1)


class MeanLayer(tf_keras.layers.Layer):
    """m(x) = x A + b; A and b are variables where the start says that they train."""

    def __init__(self, start: MeanStart) -> None:
        super().__init__(name="mean", dtype=gpflow.default_float())
        slope, offset = start.function.slope, start.function.offset
        self.slope = None if slope is None else tf.Variable(slope, trainable=start.trains_slope)
        self.offset = None if offset is None else tf.Variable(offset, trainable=start.trains_offset)

    def call(self, X: tf.Tensor) -> tf.Tensor:
        """Return m(X); [..., D] to [..., D']."""
        values = X if self.slope is None else X @ self.slope
        return values if self.offset is None else values + self.offset

    def read(self) -> MeanFunction:
        """Return the mean function as plain arrays."""
        slope, offset = (None if part is None else part.numpy() for part in (self.slope, self.offset))
        return MeanFunction(slope, offset)


class InnerGPLayer(tf_keras.layers.Layer):
    """An inner layer [x, w] -> [m(x) + f(.) P, w], f a GPflux `GPLayer` on x or on c(x, w).

    Called as a Keras layer it returns one draw of f at every point, independent between points, as GPflux does.
    """

    def __init__(self, start: InnerStart, *, place: int, latent_dim: int, num_data: int, seed: int) -> None:
        """Start where the arrays say.

        Args:
            start: where.
            place: which of the inner layers this is, from 0; it has a name and draws of its own by it.
            latent_dim: Dw.
            num_data: training rows.
            seed: of the draws for which the caller gives no seed.
        """
        name = f"inner_{place}"
        super().__init__(name=name, dtype=gpflow.default_float())
        self.gp = build_gp(start.gp, num_data=num_data, name=f"{name}_gp")
        self.place = place
        self.sees_latent = start.gp.sees_latent
        self.latent_dim = latent_dim
        self.mean = MeanLayer(start.mean)
        self.projection = tf.Variable(start.projection, trainable=False)
        self.compositor = build_compositor(start.compositor)
        self.stream = Stream(seed)

    def carry(self, X: tf.Tensor) -> tf.Tensor:
        """Return m(x)."""
        return self.mean(X)

    def noise(self, shape: Any, seed: tf.Tensor) -> tf.Tensor:
        """Draw the standard normal numbers of f; the seed is that of the step, which all layers share."""
        own_seed = tf.random.experimental.stateless_fold_in(seed, self.place)
        return tf.random.stateless_normal(shape, own_seed, dtype=gpflow.default_float())

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Draw the outputs; the GP adds its KL to the losses when training."""
        X, W = split_latent(inputs, self.latent_dim)
        seen = self.compositor([X, W]) if self.sees_latent else X
        is_frozen = not self.gp.kernel.trainable_parameters
        f = self.gp(seen, training=training and not is_frozen)
        if training and is_frozen:  # GPflux sums the log priors of the kernel's parameters, and fails without any
            self.add_loss(self.gp.prior_kl() / self.gp.num_data)
        if training:
            draws = f.loc + f.scale.diag * self.noise(tf.shape(f.loc), self.stream.next_seed())
        else:
            draws = tf.convert_to_tensor(f)
        return tf.concat([self.carry(X) + draws @ self.projection, W], axis=-1)


class OutputGPLayer(tfp.layers.DistributionLambda):
    """The output layer f = m(x) + a sum of GPflux `GPLayer`s, each on x or on c(x, w), independent under q.

    One term on c(x, w) is the papers' output layer; g(x) + h(c(x, w)) is the additive one. Its compositor is the latent
    layer's. With a mixing P [Q, P], learned, each term has Q GPs and P mixes their sum before m(x) is added.
    """

    def __init__(
        self,
        starts: tuple[GPStart, ...],
        mean: MeanStart,
        compositor: tf_keras.layers.Layer,
        mixing: Array | None,
        *,
        latent_dim: int,
        num_data: int,
        name: str,
    ) -> None:
        super().__init__(make_distribution_fn=self._distribution, name=name, dtype=gpflow.default_float())
        self.terms = [build_gp(start, num_data=num_data, name=f"{name}_{i}") for i, start in enumerate(starts)]
        self.sees_latent = [start.sees_latent for start in starts]
        self.mean = MeanLayer(mean)
        self.compositor = compositor
        self.mixing = None if mixing is None else tf.Variable(mixing, name="mixing")
        self.latent_dim = latent_dim
        self.num_data = num_data

    def mix(self, mean: tf.Tensor, variance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the marginal means and variances of f P from those of f; two [..., Q] to two [..., P]."""
        if self.mixing is None:
            return mean, variance
        return mean @ self.mixing, variance @ tf.square(self.mixing)

    def predict(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the marginal means and variances of the outputs; [n, D + Dw] to two [n, P]."""
        X, W = split_latent(inputs, self.latent_dim)
        moments = [
            term.predict(self.compositor([X, W]) if sees_latent else X)
            for term, sees_latent in zip(self.terms, self.sees_latent, strict=True)
        ]
        mean, variance = self.mix(
            tf.add_n([mean for mean, _ in moments]), tf.add_n([variance for _, variance in moments])
        )
        return mean + self.mean(X), variance

    def prior_kl(self) -> tf.Tensor:
        """Return KL[q(u) || p(u)], the sum over the terms."""
        return tf.add_n([term.prior_kl() for term in self.terms])

    def call(self, inputs: tf.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return q(f) as a distribution; the KL per row joins the losses when training."""
        outputs = super().call(inputs, *args, **kwargs)
        kl = self.prior_kl() / self.num_data if kwargs.get("training") else tf.zeros([], gpflow.default_float())
        self.add_loss(kl)
        self.add_metric(kl, name=f"{self.name}_prior_kl", aggregation="mean")
        return outputs

    def _distribution(self, inputs: tf.Tensor) -> tfp.distributions.Distribution:
        # Of its marginals alone even where P mixes: GPflux's likelihood layer asks for no more, nor does the ELBO.
        mean, variance = self.predict(inputs)
        return tfp.distributions.MultivariateNormalDiag(loc=mean, scale_diag=tf.sqrt(variance))


def split_latent(inputs: tf.Tensor, latent_dim: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Split [x, w] into x and w along the last axis."""
    num_features = inputs.shape[-1] - latent_dim
    return inputs[..., :num_features], inputs[..., num_features:]
