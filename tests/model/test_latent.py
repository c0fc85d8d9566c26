"""The latent layer: against GPflux's own, and every prior, encoder and compositor under one contract."""

from __future__ import annotations

from typing import Any, get_args

import gpflow
import gpflux
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from gpflow.keras import tf_keras
from scipy.integrate import quad
from scipy.special import logsumexp, ndtr, ndtri

from cde_app import config
from cde_app.errors import ConfigError
from cde_app.gp.compositor import COMPOSITORS, Compositor, Concatenation, Warp
from cde_app.model.compositor import LEARNED, STOCK, build_compositor, read_compositor
from cde_app.model.kernels import read_kernel
from cde_app.model.latent import LatentLayer, build_latent_layer, stratified_normal
from cde_app.model.objective import bound
from cde_app.model.prior import Prior, build_prior
from cde_app.model.start import EncoderStart
from cde_app.predictive.posterior import Posterior
from cde_app.training.start.latent import latent_lengthscales, start_compositor
from cde_app.trees import from_tree
from tests.model.test_objective import objective
from tests.small_models import NUM_FEATURES, NUM_ROWS, Small, perturb, small_model
from tests.storing import stored_and_read

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated class TrackableLayer")

STANDARD_ERRORS = 4.0
THIRD = ndtri(2 / 3)
"""A third of a standard normal w lies above it."""
FAMILIES: dict[str, dict[str, Any]] = {
    "Normal": {"loc": 0.3, "scale": 1.2},
    "Laplace": {"loc": 0, "scale": 1},
    "Logistic": {"loc": 0, "scale": 0.6},
    "StudentT": {"df": 5, "loc": 0, "scale": 1},
    "Gumbel": {"loc": 0, "scale": 1},
    "Gamma": {"concentration": 3, "rate": 2},
    "LogNormal": {"loc": 0, "scale": 0.5},
    "Beta": {"concentration1": 2, "concentration0": 3},
    "Kumaraswamy": {"concentration1": 2, "concentration0": 2},
    "Weibull": {"concentration": 2, "scale": 1},
    "TruncatedNormal": {"loc": 0, "scale": 1, "low": -2, "high": 2},
    "Pareto": {"concentration": 4, "scale": 1},
}

SUPPORTS = {
    "Gamma": (0.0, 40.0),
    "LogNormal": (0.0, 60.0),
    "Beta": (0.0, 1.0),
    "Kumaraswamy": (0.0, 1.0),
    "Weibull": (0.0, 12.0),
    "TruncatedNormal": (-2.0, 2.0),
    "Pareto": (1.0, 400.0),
}


def tfp_prior(family: str) -> dict[str, Any]:
    return {"kind": "tfp", "family": family, "parameters": FAMILIES[family]}


def prior_of(family: str, dim: int = 2) -> Prior:
    return build_prior(config.Latent.model_validate({"dim": dim, "prior": tfp_prior(family)}))


def member_beside(prior: Prior) -> tfp.distributions.Distribution:
    """Return a member of the family for one row, whose parameters differ from the prior's."""
    parameters = prior.distribution.parameters
    moved = [b.forward(b.inverse(parameters[name]) + 0.4)[None] for name, b in prior.bijectors.items()]
    return prior.member(moved)


# --- the layer against GPflux's own -------------------------------------------------------------------------------


def compositor_of(kind: str, *, projects: bool = True) -> Compositor:
    """Return a compositor of two latent variables (three where nothing projects them) beside three features."""
    random = np.random.default_rng(8)
    if kind == "warp":
        shape = (2, 2 if projects else 3)
        spread, (size, steepness) = np.arange(1.0, 1 + shape[1]), np.exp(random.standard_normal((2, *shape)))
        slope = random.standard_normal((NUM_FEATURES, *shape))
        return Warp(spread, size, steepness, random.standard_normal(shape), slope)
    if kind == "concatenate":
        return Concatenation()
    return COMPOSITORS[kind](random.standard_normal((2, 3)) if projects else None)


def layer_of(prior: dict[str, Any], compositor: str) -> LatentLayer:
    """Build the layer from YAML's values; two latent variables beside three features and one target."""
    settings = config.Latent.model_validate(
        {"dim": 2, "prior": prior, "compositor": {"kind": compositor}, "name": "causes"}
    )
    start = EncoderStart(None, np.array([[0.8, 0.1]]), np.array([0.5, 0.7]), np.zeros((NUM_ROWS, 2)))
    joins = build_compositor(compositor_of(compositor))
    return build_latent_layer(settings, start, joins, num_features=NUM_FEATURES, num_targets=1, seed=3)


def observations() -> list[tf.Tensor]:
    random = np.random.default_rng(0)
    return [tf.constant(random.standard_normal((NUM_ROWS, width))) for width in (NUM_FEATURES, 1)]


@pytest.mark.parametrize("compositor", COMPOSITORS)
@pytest.mark.parametrize("prior", [{"kind": "normal"}, tfp_prior("Laplace"), tfp_prior("Gamma")], ids=str)
def test_the_layer_from_yaml_does_what_gpflux_s_own_layer_does(prior: dict[str, Any], compositor: str) -> None:
    """But that it hands on [x, w], which its compositor joins, and sums the KL over the latent dimensions."""
    ours, data, seed = layer_of(prior, compositor), observations(), tf.constant([1, 2])
    theirs = gpflux.layers.LatentVariableLayer(ours.prior, ours.encoder, ours.compositor, name=ours.name)
    assert isinstance(ours, gpflux.layers.LatentVariableLayer)
    summed = 1 if prior["kind"] == "normal" else 2  # GPflux averages the KL of scalar families over the dimensions
    for training in (True, False):
        options = {"observations": data if training else None, "training": training, "seed": seed}
        carried = ours(data[0], **options)
        composed = ours.compositor([carried[:, :NUM_FEATURES], carried[:, NUM_FEATURES:]])
        expected = theirs(data[0], **options)
        if training and prior["kind"] == "normal":  # drawn by a quantile, not as TFP draws
            q = ours._inference_posteriors(data, training=True, seed=seed)
            w = q.loc + q.scale.diag * stratified_normal([NUM_ROWS, 2], 1, seed)[0]
            np.testing.assert_array_equal(carried, tf.concat([data[0], w], axis=-1))
            assert composed.shape == expected.shape
        else:
            np.testing.assert_allclose(composed, expected, rtol=1e-12)
        np.testing.assert_allclose(ours.losses[0], summed * theirs.losses[0], rtol=1e-12)
        assert (float(ours.losses[0]) == 0.0) is not training
    assert [metric.name for metric in ours.metrics] == ["causes_local_kl"]
    assert float(ours.metrics[0].result()) == pytest.approx(summed * float(theirs.metrics[0].result()))
    with pytest.raises(ValueError, match="requires observations when training"):
        ours(data[0], training=True)


@pytest.mark.parametrize("encoder_gradient", ["plain", "doubly_reparameterised"])
@pytest.mark.parametrize("prior", [{"kind": "normal"}, tfp_prior("Laplace"), tfp_prior("StudentT")], ids=str)
def test_several_draws_are_told_with_their_densities_and_the_loss_is_the_mean_of_their_kl(
    prior: dict[str, Any], encoder_gradient: str
) -> None:
    layer, data, seed = layer_of(prior, "add"), observations(), tf.constant([1, 2])
    options = {"num_samples": 7, "seed": seed, "encoder_gradient": encoder_gradient}
    draws = layer(data[0], observations=data, training=True, **options)
    q = layer._inference_posteriors(data)
    log_q, log_p = layer.family.log_prob(q, draws.W), layer.family.log_prob(layer.prior, draws.W)
    np.testing.assert_allclose(draws.log_ratio, log_p - log_q, rtol=1e-12)
    np.testing.assert_allclose(draws.kl, layer._local_kls(q, draws.W), rtol=1e-12)
    np.testing.assert_allclose(layer.losses, [np.mean(draws.kl)], rtol=1e-12)
    np.testing.assert_array_equal(layer.draw(data, **options).W, draws.W)
    one, loss = layer._inference_latent_samples_and_loss(data[0], data, seed=seed)
    alone = layer.draw(data, num_samples=1, seed=seed)
    np.testing.assert_array_equal(one, alone.W[0])
    np.testing.assert_array_equal(loss, tf.reduce_mean(alone.kl))


@pytest.mark.parametrize("seed", [3, tf.constant([3, 0]), None], ids=str)
def test_a_seed_makes_a_draw_reproducible_and_without_one_the_layer_has_its_own(seed: Any) -> None:
    layer, twin, data = layer_of({"kind": "normal"}, "add"), layer_of({"kind": "normal"}, "add"), observations()
    first, second = (layer(data[0], observations=data, training=True, seed=seed).numpy() for _ in range(2))
    assert np.array_equal(first, second) is (seed is not None)
    np.testing.assert_array_equal(twin(data[0], observations=data, training=True, seed=seed), first)


@pytest.mark.parametrize("family", ["StudentT", "TruncatedNormal", "Laplace"])
def test_the_local_kls_need_no_draws_at_hand(family: str) -> None:
    """GPflux's own signature; a KL in closed form is exact, another one that of a thousand draws."""
    layer, data = layer_of(tfp_prior(family), "add"), observations()
    q = layer._inference_posteriors(data)
    W = q.sample(20_000, seed=tf.constant([4, 4]))
    log_ratio = (layer.family.log_prob(q, W) - layer.family.log_prob(layer.prior, W)).numpy()
    error = log_ratio.std(0) * np.sqrt(1 / 20_000 + 1 / 1000)
    kls = layer._local_kls(q).numpy()
    assert kls.shape == (NUM_ROWS,)
    assert (np.abs(kls - log_ratio.mean(0)) < 5 * error).all()


def test_a_normal_prior_of_another_place_and_width_is_the_standard_one_of_another_unit() -> None:
    """`MultivariateNormalDiag`, the prior of GPflux's notebooks, by name."""
    family = {"kind": "tfp", "family": "MultivariateNormalDiag", "parameters": {"loc": 3.0, "scale_diag": [2.0, 0.5]}}
    scale = np.array([2.0, 0.5])
    for kind in ("mlp", "per_row"):
        standard, moved = (
            small_model(latent={"dim": 2, "prior": prior, "encoder": {"kind": kind}})
            for prior in ({"kind": "normal"}, family)
        )
        data = [tf.constant(moved.X), tf.constant(moved.Y)]
        if kind == "mlp":  # the network's first output is small, not zero, and in the unit of w
            for small in (standard, moved):
                small.model.latent.encoder.head.kernel.assign(0.0 * small.model.latent.encoder.head.kernel)
        q, other = (small.model.latent._inference_posteriors(data) for small in (standard, moved))
        np.testing.assert_allclose(other.loc, 3.0 + scale * q.loc, atol=1e-12)
        np.testing.assert_allclose(other.scale.diag, scale * q.scale.diag, rtol=1e-12)
        kls = [small.model.latent._local_kls(own) for small, own in ((standard, q), (moved, other))]
        np.testing.assert_allclose(kls[0], kls[1], rtol=1e-9)
        nodes = [small.posterior().latent_nodes for small in (standard, moved)]
        np.testing.assert_allclose(nodes[1], 3.0 + scale * nodes[0], rtol=1e-12)


@pytest.mark.parametrize("compositor", COMPOSITORS)
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_the_joint_model_without_inner_layers_is_gpflux_s_latent_layer_and_a_gp_layer(
    compositor: str, latent_dim: int
) -> None:
    settings = {"dim": latent_dim, "compositor": {"kind": compositor}}
    small = perturb(small_model(latent=settings, output={"structure": "joint"}))
    latent, output = small.model.latent, small.model.output
    stock = compositor == "concatenate" or (compositor != "warp" and latent_dim == NUM_FEATURES)
    assert latent.compositor is output.compositor
    assert type(latent.compositor).__module__.startswith("tf_keras") == stock
    theirs = gpflux.models.DeepGP(
        [
            gpflux.layers.LatentVariableLayer(latent.prior, latent.encoder, latent.compositor),
            output.terms[0],
        ],
        small.model.likelihood,
        input_dim=NUM_FEATURES,
        target_dim=1,
        num_data=NUM_ROWS,
    )
    # With a tiny width the draws of w are the encoder's means, whatever the seed, and both bounds are exact.
    latent.encoder.sd.assign(1e-9 * latent.encoder.sd)
    data = (tf.constant(small.X), tf.constant(small.Y))
    ours = bound(small.model, objective("elbo"), *data, kl_weight=1.0, seed=tf.constant([0, 0]))
    np.testing.assert_allclose(ours, theirs.elbo(data) / NUM_ROWS, rtol=1e-7)
    np.testing.assert_allclose(ours, small.model.deep_gp.elbo(data) / NUM_ROWS, rtol=1e-7)


# --- the families -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kl_of_a_family_is_that_of_a_numerical_integral_summed_over_the_dimensions(family: str) -> None:
    prior = prior_of(family)
    q = member_beside(prior)

    @tf.function(autograph=False)
    def log_densities(w: tf.Tensor) -> list[tf.Tensor]:
        return [tf.reshape(d.log_prob(tf.stack([w, w])), [-1]) for d in (q, prior.distribution)]

    def integrand(w: float, dimension: int) -> float:
        log_q, log_p = (float(part[dimension]) for part in log_densities(tf.constant(w, tf.float64)))
        return np.exp(log_q) * (log_q - log_p) if np.isfinite(log_q) and log_q > -500 else 0.0

    lower, upper = SUPPORTS.get(family, (-150.0, 150.0))
    inside = np.clip(np.quantile(q.sample(2000, seed=tf.constant([0, 1])), [0.1, 0.5, 0.9]), lower, upper)
    truth = 2 * quad(integrand, lower, upper, args=(0,), points=inside, limit=200, epsabs=1e-9)[0]
    W = q.sample(20000, seed=tf.constant([0, 2]))
    kl = float(prior.kl(q, W)[0])
    log_ratio = (prior.log_prob(q, W) - prior.log_prob(prior.distribution, W)).numpy()
    closed = prior._has_closed_form
    assert closed == (family not in {"Logistic", "StudentT", "Kumaraswamy", "TruncatedNormal"})
    tolerance = 1e-5 if closed else STANDARD_ERRORS * log_ratio.std() / np.sqrt(len(log_ratio))
    assert abs(kl - truth) < tolerance
    assert abs(kl - truth / 2) > tolerance, "the control, averaged over the dimensions, must fail"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prior_s_nodes_have_its_distribution_and_an_encoder_starts_near_it(family: str) -> None:
    prior = prior_of(family)
    scores = np.linspace(-2.5, 2.5, 11)[:, None] * np.ones(2)
    nodes = prior.from_normal_scores(scores)
    levels = prior.distribution.cdf(tf.constant(nodes)).numpy()
    error = 1e-6 if family != "Pareto" else STANDARD_ERRORS * 0.5 / 2**9  # empirical: of 2^18 draws
    np.testing.assert_allclose(levels, ndtr(scores), atol=error)
    small = small_model(latent={"dim": 1, "prior": tfp_prior(family), "encoder": {"kind": "mlp", "residual": False}})
    q = small.model.latent._inference_posteriors([tf.constant(small.X), tf.constant(small.Y)])
    for name in prior.bijectors:
        own, of_prior = q.parameters[name].numpy(), small.model.latent.prior.parameters[name].numpy()
        if name not in {"loc", "scale"} or not prior.starts_from_residual:
            np.testing.assert_allclose(own, np.broadcast_to(of_prior, own.shape), atol=0.3)


@pytest.mark.parametrize(
    ("family", "parameters", "message"),
    [
        ("Laplase", {}, r"prior.family: expected a family of TensorFlow Probability; got 'Laplase'. Did you mean 'Lap"),
        ("Laplace", {"loc": 0, "scales": 1}, r"prior.parameters.scales: unknown key; did you mean 'scale'\?"),
        (
            "Laplace",
            {"loc": 0, "scale": -1},
            r"prior.parameters.scale: expected a value in the parameter's domain; got -1",
        ),
        (
            "Laplace",
            {"loc": [0, 1, 2], "scale": 1},
            r"prior.parameters.loc: expected a number, or a list of model.latent",
        ),
        ("Beta", {"concentration1": 0, "concentration0": 1}, "prior.parameters.concentration1: expected a value in"),
    ],
)
def test_a_family_that_cannot_be_a_prior_is_refused(family: str, parameters: dict[str, Any], message: str) -> None:
    prior = {"kind": "tfp", "family": family, "parameters": parameters}
    with pytest.raises(ConfigError, match=message):
        build_prior(config.Latent.model_validate({"dim": 2, "prior": prior}))


def test_an_initial_width_needs_a_scale() -> None:
    settings = {"prior": tfp_prior("Beta"), "encoder": {"kind": "mlp", "initial_width": 0.5}}
    with pytest.raises(
        ConfigError, match=r"encoder.initial_width: expected null, as the family 'Beta' has no location"
    ):
        build_prior(config.Latent.model_validate(settings))


# --- the encoders -------------------------------------------------------------------------------------------------


def test_dropout_is_a_function_of_the_step_s_seed_and_rests_when_not_training() -> None:
    encoder = {"kind": "mlp", "dropout": 0.5, "skip_connections": True, "initial_width": 0.25}
    small = small_model(latent={"dim": 1, "encoder": encoder})
    perturb(small)
    inputs = tf.concat([small.X, small.Y], axis=-1)
    network = small.model.latent.encoder

    def means(*, training: bool, seed: int) -> np.ndarray:
        return network(inputs, training=training, seed=tf.constant([seed, 0]))[0].numpy()

    np.testing.assert_array_equal(means(training=True, seed=1), means(training=True, seed=1))
    assert not np.allclose(means(training=True, seed=1), means(training=True, seed=2))
    np.testing.assert_array_equal(means(training=False, seed=1), means(training=False, seed=2))
    assert network.head.kernel.shape[0] == 20 + NUM_FEATURES + 1
    np.testing.assert_array_equal(network.sd, [0.25])


def test_the_per_row_encoder_starts_at_the_mean_and_width_of_the_warm_start() -> None:
    per_row, network = (small_model(latent={"dim": 1, "encoder": {"kind": kind}}) for kind in ("per_row", "mlp"))
    data = [tf.constant(per_row.X), tf.constant(per_row.Y)]
    ours, theirs = (small.model.latent._inference_posteriors(data) for small in (per_row, network))
    assert isinstance(per_row.model.latent.encoder, gpflux.encoders.DirectlyParameterizedNormalDiag)
    np.testing.assert_allclose(ours.loc, theirs.loc, atol=0.2)  # the network's last layer is small, not zero
    np.testing.assert_allclose(ours.scale.diag, np.broadcast_to(network.model.latent.encoder.sd, (NUM_ROWS, 1)))


@pytest.mark.parametrize(
    "latent",
    [{"prior": tfp_prior(f)} for f in FAMILIES]
    + [{"compositor": {"kind": kind}, "dim": dim} for kind in COMPOSITORS for dim in (1, 3)],
    ids=str,
)
def test_every_model_starts_near_the_warm_start(latent: dict[str, Any]) -> None:
    small = small_model(defensive_weight=0, latent=latent)
    log_density = small.posterior(num_components=256).predict(small.X).log_prob(small.Y).mean()
    warm = small.regression.log_density(small.X, small.Y).sum(1).mean()
    # Eight inducing inputs bend the plane: the default model starts 0.12 nats from the warm start.
    assert abs(log_density - warm) < 0.3


# --- one contract for all -----------------------------------------------------------------------------------------


def contract_models() -> list[Any]:
    """Return settings of small models: every family once or more, every encoder, compositor, structure and P."""
    structures = ["additive", "joint"]
    rows = []
    for index, family in enumerate(FAMILIES):
        compositor = {"kind": list(COMPOSITORS)[index % 4]}
        latent = {"dim": 1 + index // 2 % 2, "prior": tfp_prior(family), "compositor": compositor}
        rows.append((family, 1 + (index + index // 4) % 2, latent, structures[index // 4 % 2]))
    for index, compositor in enumerate(COMPOSITORS):
        for kind in ("mlp", "per_row"):
            latent = {"dim": 2, "encoder": {"kind": kind}, "compositor": {"kind": compositor}}
            rows.append((f"{kind}-{compositor}", 1 + index % 2, latent, structures[index % 2]))
    rows.append(("default", 1, {"dim": 1}, "additive"))
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


def brute_force_log_density(small: Small, posterior: Posterior) -> np.ndarray:
    """Return log p(y | x) from GPflux's layers at the posterior's nodes, whose rows stand below each other."""
    model, num_nodes = small.model, len(posterior.latent_nodes)
    W, noise = (np.repeat(part, NUM_ROWS, axis=0) for part in (posterior.latent_nodes, posterior.inner_noise))
    features, start = tf.constant(np.tile(small.X, (num_nodes, 1))), 0
    for layer in model.inner_layers:
        seen = layer.compositor([features, tf.constant(W)]) if layer.sees_latent else features
        mean, variance = layer.gp.predict(seen)
        draws = noise[:, start : start + mean.shape[1]]
        start += mean.shape[1]
        features = layer.carry(features) + (mean + tf.sqrt(variance) * draws) @ layer.projection
    mean, variance = model.output.predict(tf.concat([features, W], axis=-1))
    total = (variance + model.likelihood.variance).numpy()
    Y = np.tile(small.Y, (num_nodes, 1))
    per_node = -0.5 * ((Y - mean.numpy()) ** 2 / total + np.log(2 * np.pi * total)).sum(-1)
    log_jacobian = -sum(np.log(transform.scale) for transform in posterior.transforms)
    return logsumexp(per_node.reshape(num_nodes, -1), axis=0, b=posterior.node_weights[:, None]) + log_jacobian


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("num_targets", "latent", "structure"), contract_models())
def test_every_latent_layer_fulfils_the_contract(num_targets: int, latent: dict[str, Any], structure: str) -> None:
    layers = [{"sees_latent": True, "mean": {"kind": "pca"}}]
    options: dict[str, Any] = {"latent": latent, "layers": layers, "output": {"structure": structure}}
    small = perturb(small_model(num_targets, defensive_weight=0, **options))
    model, X, Y = small.model, tf.constant(small.X), tf.constant(small.Y)
    variables = model.deep_gp.trainable_variables

    draws = [model.latent.draw([X, Y], num_samples=3, seed=tf.constant([0, s])) for s in (1, 1, 2)]
    assert draws[0].W.shape == (3, NUM_ROWS, latent["dim"])
    assert draws[0].log_ratio.shape == (3, NUM_ROWS)
    assert draws[0].kl.shape == (NUM_ROWS,)
    np.testing.assert_array_equal(draws[0].W, draws[1].W)
    assert not np.allclose(draws[0].W, draws[2].W)

    for settings in (
        objective("predictive", num_samples=3),
        objective("elbo"),
        objective("importance_weighted", num_samples=3, encoder_gradient="doubly_reparameterised"),
    ):
        with tf.GradientTape() as tape:
            value = bound(model, settings, X, Y, kl_weight=1.0, seed=tf.constant([0, 1]))
        assert np.isfinite(value)
        gradients = tape.gradient(value, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            assert gradient is not None, variable.name
            assert np.isfinite(gradient).all(), variable.name
            assert np.abs(gradient).max() > 0, variable.name

    posterior = small.posterior(num_components=8)
    twin = stored_and_read(posterior)
    mixture = twin.predict(small.X)
    np.testing.assert_array_equal(mixture.means, posterior.predict(small.X).means)
    np.testing.assert_allclose(mixture.log_prob(small.Y), brute_force_log_density(small, posterior), atol=1e-8)
    mean, sd = posterior.latent_moments(small.X, small.Y)
    assert np.all((posterior.latent_nodes.min(0) <= mean) & (mean <= posterior.latent_nodes.max(0)))
    assert np.all(sd >= 0)
    low, high = posterior.latent_prior_band()
    assert np.all(low < high)
    if num_targets == 1:
        grid = np.linspace(-60, 60, 40001)
        density = np.exp(mixture[:3].log_prob_at(grid[:, None]))
        np.testing.assert_allclose(density.sum(1) * (grid[1] - grid[0]), 1.0, atol=1e-6)


def test_every_kind_of_compositor_has_settings_a_class_and_a_layer() -> None:
    union = config.Latent.model_fields["compositor"].annotation
    settings = {one.model_fields["kind"].default: one for one in get_args(union)}
    assert list(settings) == list(COMPOSITORS)
    assert STOCK.keys() | LEARNED.keys() == set(COMPOSITORS.values())
    for kind, compositor in COMPOSITORS.items():
        assert settings[kind].widens == compositor.widens


@pytest.mark.parametrize("projects", [False, True])
@pytest.mark.parametrize("kind", COMPOSITORS)
def test_a_compositor_survives_the_way_to_keras_and_back(kind: str, projects: bool) -> None:
    random = np.random.default_rng(0)
    compositor = compositor_of(kind, projects=projects)
    X, W = random.standard_normal((5, 3)), random.standard_normal((5, 2 if projects else 3))
    layer = build_compositor(compositor)
    assert isinstance(layer, tf_keras.layers.Layer)
    assert layer.dtype == gpflow.default_float().__name__
    np.testing.assert_allclose(layer([tf.constant(X), tf.constant(W)]), compositor.compose(X, W), atol=1e-12)
    again = read_compositor(layer)
    np.testing.assert_allclose(again.compose(X, W), compositor.compose(X, W), atol=1e-12)
    stored = stored_and_read(again, Compositor)
    assert type(stored) is type(compositor)
    np.testing.assert_array_equal(stored.compose(X, W), again.compose(X, W))


def test_a_warp_is_the_sum_that_it_states_and_grows_with_w() -> None:
    warp, random = compositor_of("warp"), np.random.default_rng(3)
    assert isinstance(warp, Warp)
    x, w = random.standard_normal(NUM_FEATURES), random.standard_normal(2)
    expected = [
        w[d]
        + warp.spread[d]
        * sum(
            warp.size[j, d]
            * np.tanh(warp.steepness[j, d] * (w[d] / warp.spread[d] - warp.centre[j, d] - x @ warp.slope[:, j, d]))
            for j in range(2)
        )
        for d in range(2)
    ]
    np.testing.assert_allclose(warp.warped(x, w), expected, rtol=1e-12)
    nodes = np.sort(random.standard_normal((50, 2)), axis=0)
    warped = warp.warped(random.standard_normal((7, 1, NUM_FEATURES)), nodes)
    assert warped.shape == (7, 50, 2)
    assert (np.diff(warped, axis=1) > np.diff(nodes, axis=0)).all()


@pytest.mark.parametrize(("num_rows", "num_steps"), [(999, 1), (1000, 2)])
def test_a_small_table_has_one_step(num_rows: int, num_steps: int) -> None:
    settings = config.Latent.model_validate({"dim": 2})
    warp = start_compositor(settings, build_prior(settings), np.zeros((num_rows, NUM_FEATURES)))
    assert isinstance(warp, Warp)
    assert warp.centre.shape == (num_steps, 2)


@pytest.mark.parametrize("family", ["Normal", "Gamma", "Beta"])
def test_the_steps_of_a_warp_start_between_equal_shares_of_the_prior(family: str) -> None:
    prior = prior_of(family)
    settings = config.Latent.model_validate({"dim": 2, "compositor": {"kind": "warp", "num_steps": 3}})
    warp = start_compositor(settings, prior, np.zeros((5, NUM_FEATURES)))
    assert isinstance(warp, Warp)
    shares = prior.distribution.cdf(warp.spread * warp.centre)
    np.testing.assert_allclose(shares, [[0.25] * 2, [0.5] * 2, [0.75] * 2], atol=1e-6)
    low, high = prior.from_normal_scores(np.array([[-1.0] * 2, [1.0] * 2]))
    np.testing.assert_allclose(warp.spread, (high - low) / 2, rtol=1e-6)
    np.testing.assert_allclose(warp.size.sum(0), 1.0)
    np.testing.assert_array_equal(warp.steepness, 1.0)
    assert not warp.slope.any()


def test_the_unit_of_w_is_nothing_to_a_warp() -> None:
    """A prior ten times as wide starts with the same warp of w / 10, whose variables are then trained alike."""
    warps = []
    for scale in (1.0, 10.0):
        prior = {"kind": "tfp", "family": "Laplace", "parameters": {"loc": 0.0, "scale": scale}}
        settings = config.Latent.model_validate({"dim": 1, "prior": prior})
        warp = start_compositor(settings, build_prior(settings), np.zeros((2000, 1)))
        assert isinstance(warp, Warp)
        warps.append(warp)
    narrow, wide = warps
    np.testing.assert_allclose(wide.spread, 10 * narrow.spread, rtol=1e-9)
    np.testing.assert_allclose(wide.centre, narrow.centre, rtol=1e-9)
    x, w = np.zeros((5, 1)), np.linspace(-2, 2, 5)[:, None]
    np.testing.assert_allclose(wide.warped(x, 10 * w), 10 * narrow.warped(x, w), rtol=1e-9)


@pytest.mark.parametrize("structure", ["additive", "joint"])
@pytest.mark.parametrize(
    ("compositor", "width"),
    [
        ({"kind": "concatenate"}, 1.0),
        ({"kind": "warp", "num_steps": 1}, 1.0 + np.tanh(1.0)),
        ({"kind": "warp", "num_steps": 2}, 1.0 + (np.tanh(1.0 - THIRD) + np.tanh(1.0 + THIRD)) / 2),
    ],
)
def test_what_sees_w_starts_as_smooth_in_it_as_the_w_that_it_sees_is_wide(
    structure: str, compositor: dict[str, Any], width: float
) -> None:
    """From -1 to 1, the central 68 % of a normal w, one step w + tanh(w) goes from -1 - tanh(1) to 1 + tanh(1)."""
    latent = {"dim": 2, "compositor": compositor}
    f = small_model(latent=latent, output={"structure": structure}).model.output.terms[-1]
    lengthscales = read_kernel(f.kernel.kernel).lengthscales
    assert lengthscales.shape == (NUM_FEATURES + 2,)
    np.testing.assert_allclose(lengthscales[-2:], width, rtol=1e-6)


def test_the_width_of_a_skewed_w_is_half_of_what_its_warp_makes_of_its_central_68_percent() -> None:
    prior = prior_of("Gamma")
    settings = config.Latent.model_validate({"dim": 2})
    small = small_model(latent={"dim": 2})
    compositor = start_compositor(settings, prior, small.X)
    lengthscales = latent_lengthscales(small.regression, prior, compositor, NUM_FEATURES, 2)
    assert isinstance(compositor, Warp)
    ends = prior.distribution.quantile(ndtr([[-1.0], [1.0]])).numpy()
    low, high = compositor.warped(np.zeros((2, NUM_FEATURES)), ends)
    np.testing.assert_allclose(lengthscales[-2:], (high - low) / 2, rtol=1e-6)


def test_an_unknown_compositor_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of concatenate, warp, add, multiply; got 'xor'"):
        from_tree(Compositor, {"kind": "xor"})
