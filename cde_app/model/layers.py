"""GP layers: GPflux `GPLayer`s, the inner and the output layer.

Letters: n points, D inputs, M inducing inputs, Q GPs of a layer, P targets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gpflow
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from gpflux.layers import GPLayer

from cde_app.arrays import Array
from cde_app.gp.mean_function import MeanFunction
from cde_app.model.compositor import build_compositor
from cde_app.model.kernels import build_kernel
from cde_app.model.parameter import positive_parameter, triangular_parameter
from cde_app.model.start import GPStart, InnerStart


def build_gp(start: GPStart, *, num_data: int, name: str) -> GPLayer:
    """Return a GPflux `GPLayer` of independent GPs that share the kernel and the inducing inputs.

    Its `jitter`, on the diagonal of k(Z, Z), is a variable, which a training that fails raises.
    """
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
    layer.jitter = tf.Variable(gpflow.default_jitter(), trainable=False, dtype=gpflow.default_float())
    layer.q_mu.assign(start.q_mu)
    gpflow.set_trainable(layer.q_sqrt, False)  # Keras would keep tracking a parameter that is replaced
    layer._trainable_weights = [v for v in layer._trainable_weights if v.trainable]
    is_diagonal = start.q_sqrt.ndim == 2
    layer.q_sqrt = positive_parameter(start.q_sqrt) if is_diagonal else triangular_parameter(start.q_sqrt)
    return layer


class StepSeeds(tf.Module):
    """Seeds for a layer that is called without one: (seed, 0), (seed, 1), ..., the same as `Trainer` uses for steps."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="step_seeds")
        self.state = tf.Variable([seed, 0], dtype=tf.int64, trainable=False)

    def next_seed(self) -> tf.Tensor:
        """Return the next seed, [2]."""
        seed = self.state.read_value()
        self.state.assign_add([0, 1])
        return seed


class InputProjection(tf_keras.layers.Layer):
    """[x, w] -> [x A, w], with A [D, D'] learned, before all GP layers.

    Source: Dutordoir et al. (2018), whose model has such an A; here it is a point estimate.
    """

    def __init__(self, start: Array, *, latent_dim: int) -> None:
        super().__init__(name="input_projection", dtype=gpflow.default_float())
        self.projection = tf.Variable(start, name="projection")
        self.latent_dim = latent_dim

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Project x and pass w on."""
        X, W = split_latent(inputs, self.latent_dim)
        return tf.concat([X @ self.projection, W], axis=-1)


class MeanLayer(tf_keras.layers.Layer):
    """A mean function m whose arrays are variables; if the layer is trained, so are those that its kind trains."""

    def __init__(self, start: MeanFunction, *, is_trained: bool) -> None:
        super().__init__(name="mean", dtype=gpflow.default_float())
        self.start = start
        self.names = tuple(name for name, value in vars(start).items() if value is not None)
        for name in self.names:
            setattr(self, name, tf.Variable(getattr(start, name), trainable=is_trained and name in start.trained))

    def call(self, X: tf.Tensor) -> tf.Tensor:
        """Return m(X); [..., D] to [..., D']."""
        return replace(self.start, **{name: getattr(self, name) for name in self.names})(X)

    def read(self) -> MeanFunction:
        """Return the mean function as plain arrays."""
        return replace(self.start, **{name: getattr(self, name).numpy() for name in self.names})


class InnerGPLayer(tf_keras.layers.Layer):
    """An inner layer [x, w] -> [m(x) + f(.) P, w], where f is a GPflux `GPLayer` on x or on c(x, w).

    Called as a Keras layer, it returns one draw of f at every point, independent between points, as in GPflux.
    """

    def __init__(self, start: InnerStart, *, index: int, latent_dim: int, num_data: int, seed: int) -> None:
        """Build the layer at its starting point.

        Args:
            start: the starting point.
            index: which of the inner layers this is, from 0; name and draws of the layer depend on it.
            latent_dim: Dw.
            num_data: training rows.
            seed: seed of draws for which the caller gives none.
        """
        name = f"inner_{index}"
        super().__init__(name=name, dtype=gpflow.default_float())
        self.gp = build_gp(start.gp, num_data=num_data, name=f"{name}_gp")
        self.index = index
        self.sees_latent = start.gp.sees_latent
        self.latent_dim = latent_dim
        self.mean = MeanLayer(start.mean, is_trained=True)
        self.projection = tf.Variable(start.projection, trainable=False)
        self.compositor = build_compositor(start.compositor)
        self.step_seeds = StepSeeds(seed)

    def carry(self, X: tf.Tensor) -> tf.Tensor:
        """Return m(x)."""
        return self.mean(X)

    def noise(self, shape: Any, seed: tf.Tensor) -> tf.Tensor:
        """Draw the standard normal numbers for f; the seed is the step's, which all layers share."""
        own_seed = tf.random.experimental.stateless_fold_in(seed, self.index)
        return tf.random.stateless_normal(shape, own_seed, dtype=gpflow.default_float())

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Draw the outputs; in training, the GP adds its KL to the losses."""
        X, W = split_latent(inputs, self.latent_dim)
        seen = self.compositor([X, W]) if self.sees_latent else X
        is_frozen = not self.gp.kernel.trainable_parameters
        f = self.gp(seen, training=training and not is_frozen)
        if training and is_frozen:  # GPflux sums the log priors of the kernel's parameters and fails if there are none
            self.add_loss(self.gp.prior_kl() / self.gp.num_data)
        if training:
            draws = f.loc + f.scale.diag * self.noise(tf.shape(f.loc), self.step_seeds.next_seed())
        else:
            draws = tf.convert_to_tensor(f)
        return tf.concat([self.carry(X) + draws @ self.projection, W], axis=-1)


class OutputGPLayer(tfp.layers.DistributionLambda):
    """The output layer f = m(x) + a sum of GPflux `GPLayer`s, each on x or on c(x, w), independent under q.

    One term on c(x, w) is the output layer of the papers; g(x) + h(c(x, w)) is the additive one. The compositor is the
    latent layer's. With a learned mixing P [Q, P], each term has Q GPs, and P mixes their sum before m(x) is added.
    """

    def __init__(
        self,
        starts: tuple[GPStart, ...],
        mean: MeanFunction,
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
        self.mean = MeanLayer(mean, is_trained=True)
        self.compositor = compositor
        self.mixing = None if mixing is None else tf.Variable(mixing, name="mixing")
        self.latent_dim = latent_dim
        self.num_data = num_data

    def mix(self, mean: tf.Tensor, variance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Turn marginal means and variances of f into those of f P; two [..., Q] to two [..., P]."""
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
        """Return KL[q(u) || p(u)], summed over the terms."""
        return tf.add_n([term.prior_kl() for term in self.terms])

    def call(self, inputs: tf.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return q(f) as a distribution; in training, the KL per row is added to the losses."""
        outputs = super().call(inputs, *args, **kwargs)
        kl = self.prior_kl() / self.num_data if kwargs.get("training") else tf.zeros([], gpflow.default_float())
        self.add_loss(kl)
        self.add_metric(kl, name=f"{self.name}_prior_kl", aggregation="mean")
        return outputs

    def _distribution(self, inputs: tf.Tensor) -> tfp.distributions.Distribution:
        # Only the marginals, even if P mixes: GPflux's likelihood layer and the ELBO need nothing else.
        mean, variance = self.predict(inputs)
        return tfp.distributions.MultivariateNormalDiag(loc=mean, scale_diag=tf.sqrt(variance))


def split_latent(inputs: tf.Tensor, latent_dim: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Split [x, w] into x and w along the last axis."""
    num_features = inputs.shape[-1] - latent_dim
    return inputs[..., :num_features], inputs[..., num_features:]
