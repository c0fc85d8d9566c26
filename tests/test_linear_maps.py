"""GP-CDE's linear maps: A, by which every GP sees x A, and P, which mixes the output layer's GPs, y = f P + e."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pydantic import TypeAdapter, ValidationError
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from cde_app import config
from cde_app.config import Config
from cde_app.model.objective import bound, data_term, posteriors
from cde_app.predictive import surface
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.posterior import Posterior
from cde_app.training.features import Features
from cde_app.training.start.model import starting_point
from cde_app.training.warm_start import fit_sparse_regression
from cde_app.workflow.prediction_files import component_arrays
from tests.conftest import TINY_CONFIG, with_one
from tests.small_models import AXES, NUM_FEATURES, NUM_ROWS, Small, perturb, small_model
from tests.storing import stored_and_read

Cde = Callable[..., Any]
STANDARD_ERRORS = 4.0
SEED = [0, 1]


def mapped_model(num_targets: int = 2, *, num_latent_gps: int = 1, dim: int | None = None, **options: Any) -> Small:
    """Return a small model that mixes, with a projection to `dim` features unless that is None."""
    output = {"mixing": {"num_latent_gps": num_latent_gps}} | options.pop("output", {})
    projection = None if dim is None else {"dim": dim}
    return small_model(num_targets, output=output, input_projection=projection, **options)


def objective(kind: str) -> config.Objective:
    return TypeAdapter(config.Objective).validate_python({"kind": kind, "num_samples": 3})


def moments_by_gpflux(small: Small, posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Return the means [N, C, P] and covariances [N, C, P, P] at the nodes, from `GPLayer.predict` of all rows N C."""
    model, num_nodes = small.model, len(posterior.latent_nodes)
    W, noise = (np.repeat(part, NUM_ROWS, axis=0) for part in (posterior.latent_nodes, posterior.inner_noise))
    features, start = tf.constant(np.tile(small.X, (num_nodes, 1))), 0
    if model.input_projection is not None:
        features = model.input_projection(tf.concat([features, W], axis=-1))[:, : -W.shape[-1] or None]
    for layer in model.inner_layers:
        mean, variance = layer.gp.predict(features)
        draws = noise[:, start : start + mean.shape[1]]
        start += mean.shape[1]
        features = layer.carry(features) + (mean + tf.sqrt(variance) * draws) @ layer.projection
    seen = model.output.compositor([features, tf.constant(W)])
    terms = zip(model.output.terms, model.output.sees_latent, strict=True)
    parts = [term.predict(seen if sees else features) for term, sees in terms]
    mean, variance = (sum(part[i].numpy() for part in parts) for i in range(2))
    P = np.eye(mean.shape[1]) if model.output.mixing is None else model.output.mixing.numpy()
    means = mean @ P + model.output.mean(features)
    of_rows = np.broadcast_to(model.likelihood.noise_variance(tf.constant(small.X)), small.Y.shape)
    both = zip(variance, np.tile(of_rows, (num_nodes, 1)), strict=True)
    covariances = np.stack([P.T @ np.diag(v) @ P + np.diag(s) for v, s in both])
    shape = (num_nodes, NUM_ROWS, *covariances.shape[1:])
    return np.swapaxes(np.reshape(means, shape[:3]), 0, 1), np.swapaxes(covariances.reshape(shape), 0, 1)


# --- one contract for all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_targets", "num_latent_gps", "dim", "options"),
    [
        (2, 1, None, {"output": {"mean": {"kind": "linear"}}}),
        (2, 2, 2, {"output": {"structure": "joint", "mean": {"kind": "constant"}}}),
        (3, 2, 5, {"latent": {"dim": 2}, "likelihood": {"kind": "heteroscedastic_gaussian", "num_inducing": 5}}),
        (3, 5, 1, {"latent": {"dim": 2, "compositor": {"kind": "add"}}, "layers": [{}]}),
        (2, 1, 2, {"latent": {"dim": 0}, "layers": [{"mean": {"kind": "pca"}}]}),
        (1, 1, 2, {"output": {"structure": "joint"}, "layers": [{}]}),
    ],
)
def test_every_model_with_linear_maps_fulfils_the_contract(
    num_targets: int, num_latent_gps: int, dim: int | None, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surface, "TOLERANCE", 0.0)  # every node is evaluated
    small = perturb(mapped_model(num_targets, num_latent_gps=num_latent_gps, dim=dim, defensive_weight=0, **options))
    model, X, Y = small.model, tf.constant(small.X), tf.constant(small.Y)
    assert model.output.mixing.shape == (min(num_latent_gps, num_targets), num_targets)
    assert dim is None or model.input_projection.projection.shape == (NUM_FEATURES, min(dim, NUM_FEATURES))
    variables = model.deep_gp.trainable_variables
    maps = [model.output.mixing, *([] if dim is None else [model.input_projection.projection])]
    assert {id(variable) for variable in maps} <= {id(variable) for variable in variables}
    for kind in ("predictive", "importance_weighted", "elbo"):

        def value(seed: list[int], kind: str = kind) -> tf.Tensor:
            return bound(model, objective(kind), X, Y, kl_weight=1.0, seed=tf.constant(seed))

        with tf.GradientTape() as tape:
            first = value(SEED)
        assert first.shape == ()
        np.testing.assert_array_equal(first, value(SEED))
        for variable, gradient in zip(variables, tape.gradient(first, variables), strict=True):
            assert gradient is not None, variable.name
            assert np.isfinite(gradient).all(), variable.name
            assert np.abs(gradient).max() > 0, variable.name

    posterior = small.posterior(num_components=8)
    twin = stored_and_read(posterior)
    mixture = twin.predict(small.X)
    means, covariances = moments_by_gpflux(small, posterior)
    np.testing.assert_allclose(mixture.means, means, atol=1e-8)
    np.testing.assert_allclose(mixture.covariances, covariances, atol=1e-8)
    np.testing.assert_array_equal(mixture.variances, np.diagonal(mixture.covariances, axis1=2, axis2=3))
    Z = np.stack([t.forward(y) for t, y in zip(mixture.transforms, small.Y.T, strict=True)], axis=1)
    log_nodes = np.array(
        [
            [multivariate_normal.logpdf(z, m, v) for m, v in zip(row_means, row_covariances, strict=True)]
            for z, row_means, row_covariances in zip(Z, means, covariances, strict=True)
        ]
    )
    log_jacobian = -sum(np.log(transform.scale) for transform in mixture.transforms)
    log_nodes = log_nodes + np.log(posterior.node_weights)
    expected = logsumexp(log_nodes, axis=1) + log_jacobian
    np.testing.assert_allclose(mixture.log_prob(small.Y), expected, atol=1e-7)
    if posterior.latent_dim:
        shares = np.exp(log_nodes - logsumexp(log_nodes, axis=1, keepdims=True))
        mean, _ = posterior.latent_moments(small.X, small.Y)
        np.testing.assert_allclose(mean, shares @ posterior.latent_nodes, atol=1e-7)


# --- the objectives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("structure", "likelihood"), [("additive", "heteroscedastic_gaussian"), ("joint", "gaussian")])
def test_without_latent_variables_the_predictive_objective_is_the_joint_normal_density(
    structure: str, likelihood: str
) -> None:
    options = {"latent": {"dim": 0}, "likelihood": {"kind": likelihood}, "output": {"structure": structure}}
    small = perturb(mapped_model(3, num_latent_gps=2, dim=2, defensive_weight=0, **options))
    X, Y = tf.constant(small.X), tf.constant(small.Y)
    ours = data_term(small.model, objective("predictive"), posteriors(small.model), X, Y, seed=tf.constant(SEED))
    means, covariances = moments_by_gpflux(small, small.posterior())
    rows = zip(small.Y, means[:, 0], covariances[:, 0], strict=True)
    truth = np.mean([multivariate_normal.logpdf(y, m, v) for y, m, v in rows])
    assert float(ours) == pytest.approx(truth, abs=1e-8)
    independent = [
        multivariate_normal.logpdf(y, m, np.diag(np.diag(v)))
        for y, m, v in zip(small.Y, means[:, 0], covariances[:, 0], strict=True)
    ]
    assert abs(float(ours) - np.mean(independent)) > 1e-3, "the control, independent targets, must fail"


@pytest.mark.parametrize("structure", ["additive", "joint"])
def test_the_elbo_with_linear_maps_equals_that_of_gpflux(structure: str) -> None:
    small = perturb(mapped_model(3, num_latent_gps=2, dim=2, output={"structure": structure}))
    small.model.latent.encoder.sd.assign(
        1e-9 * small.model.latent.encoder.sd
    )  # the draws of w are then the encoder's means, whatever the seed
    data = (tf.constant(small.X), tf.constant(small.Y))
    ours = bound(small.model, objective("elbo"), *data, kl_weight=1.0, seed=tf.constant(SEED))
    np.testing.assert_allclose(ours, small.model.deep_gp.elbo(data) / NUM_ROWS, rtol=1e-7)


# --- the start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("structure", "options"),
    [("additive", {}), ("joint", {}), ("additive", {"latent": {"dim": 0}, "layers": [{"mean": {"kind": "pca"}}]})],
    ids=str,
)
def test_with_as_many_gps_as_targets_the_model_starts_as_the_one_that_does_not_mix(
    structure: str, options: dict[str, Any]
) -> None:
    plain = small_model(2, output={"structure": structure}, **options).posterior()
    mixed = mapped_model(2, num_latent_gps=7, output={"structure": structure}, **options)
    ours, theirs = mixed.posterior().predict(mixed.X), plain.predict(mixed.X)
    np.testing.assert_allclose(ours.means, theirs.means, atol=1e-9)
    np.testing.assert_allclose(ours.variances, theirs.variances, atol=1e-9)
    np.testing.assert_allclose(ours.log_prob(mixed.Y), theirs.log_prob(mixed.Y), atol=1e-8)


@pytest.mark.parametrize("alike", [True, False])
def test_targets_that_are_alike_lose_nothing_by_sharing_a_gp(*, alike: bool) -> None:
    small = mapped_model(2, num_latent_gps=1)
    features, Y = Features(small.X, AXES), small.Y[:, [0, 0]] if alike else small.Y
    warm_start, plain = config.WarmStart(max_steps=20), small_model(2).settings
    regression = fit_sparse_regression(features, Y, warm_start, plain.output, seed=0)
    models = (small.settings, plain)
    starts = [starting_point(settings, warm_start, regression, features, Y, seed=0) for settings in models]
    mean_is_kept = np.allclose(starts[0].output_terms[0].q_mu @ starts[0].mixing, regression.q_mu, atol=1e-9)
    noise_is_kept = np.allclose(starts[0].noise.variance, starts[1].noise.variance, atol=1e-9)
    assert (mean_is_kept, noise_is_kept) == (alike, alike)
    assert np.all(starts[0].noise.variance >= starts[1].noise.variance - 1e-9)


@pytest.mark.parametrize(("structure", "dim"), [("additive", 1), ("joint", 2), ("additive", 3)])
def test_what_a_projection_leaves_out_is_noise_at_first(structure: str, dim: int) -> None:
    small = small_model(2, output={"structure": structure}, input_projection={"dim": dim}, defensive_weight=0)
    covariance = small.X.T @ small.X
    A = small.model.input_projection.projection.numpy()
    np.testing.assert_allclose(A.T @ A, np.eye(dim), atol=1e-12)
    assert np.trace(A.T @ covariance @ A) > 0.9 * dim / NUM_FEATURES * np.trace(covariance)
    mixture = small.posterior(num_components=256).predict(small.X)
    assert mixture.log_prob(small.Y).mean() > -2 * (0.5 * np.log(2 * np.pi) + 0.5) - 0.3  # nearly that of N(0, 1)


# --- the density --------------------------------------------------------------------------------------------------


def test_the_density_of_two_mixed_targets_integrates_to_one() -> None:
    bare = perturb(mapped_model(2, dim=2, defensive_weight=0)).posterior(num_components=16)
    mixture = bare.predict(np.zeros((1, NUM_FEATURES)))
    reach = 8 * np.sqrt(mixture.variances.max((0, 1))) + np.abs(mixture.means).max((0, 1))
    axes = [t.inverse(np.linspace(-r, r, 801)) for t, r in zip(mixture.transforms, reach, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(mixture.log_prob_at(points)).sum() * cell == pytest.approx(1.0, abs=1e-6)


def test_draws_of_mixed_targets_have_the_covariance_that_the_mixture_states() -> None:
    mixture = mapped_model(2).posterior().predict(np.zeros((1, NUM_FEATURES)))
    draws = mixture.sample(40_000, seed=3)[:, 0]
    products = np.prod(draws - mixture.mean(), axis=1)
    error = STANDARD_ERRORS * products.std() / np.sqrt(len(products))
    assert abs(products.mean() - mixture.covariance()[0, 0, 1]) < error
    between = replace(mixture, covariances=None).covariance()[0, 0, 1]
    assert abs(products.mean() - between) > error, "the control, independent within a component, must fail"


def test_an_ensemble_and_the_written_components_keep_the_covariances() -> None:
    members = tuple(perturb(mapped_model(2), seed=s).posterior(num_components=4) for s in (1, 2))
    X = np.random.default_rng(0).standard_normal((3, NUM_FEATURES))
    mixture = Ensemble(members).predict(X)
    assert mixture.covariances.shape == (3, len(mixture.weights), 2, 2)
    densities = [np.exp(member.predict(X).log_prob(np.zeros((3, 2)))) for member in members]
    np.testing.assert_allclose(np.exp(mixture.log_prob(np.zeros((3, 2)))), np.mean(densities, axis=0), rtol=1e-10)
    arrays = component_arrays([mixture[:2], mixture[2:]])
    np.testing.assert_array_equal(arrays["covariances"], mixture.covariances)
    plain = small_model(2).posterior(num_components=4).predict(X)
    assert "covariances" not in component_arrays([plain])


# --- the configuration --------------------------------------------------------------------------------------------


MAPS = """\
  input_projection: {dim: 2}
  layers: [{num_inducing: 8}]
  output: {num_inducing: 12, num_inducing_latent: 8, mixing: {num_latent_gps: 1}}
"""


def write(folder: Path, model: str) -> Path:
    """Write a table of two targets and its configuration; return the configuration."""
    rng = np.random.default_rng(4)
    x, noise = rng.standard_normal(60), rng.standard_normal((60, 2))
    a, b = x + 0.3 * noise[:, 0], np.exp(0.3 * (x + 0.3 * noise[:, 0] + 0.1 * noise[:, 1]))
    rows = [f"{x[n]},{'ns'[n % 2]},{a[n]},{b[n]}" for n in range(60)]
    (folder / "table.csv").write_text("\n".join(["x,region,a,b", *rows]) + "\n")
    head, tail = TINY_CONFIG.split("  targets_model: joint\n")
    text = head + model + "training:" + tail.split("training:")[1]
    text = with_one(with_one(text, "max_steps: 500", "max_steps: 50"), "ensemble: 1", "ensemble: 2")
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


@pytest.mark.slow
def test_a_model_with_both_maps_trains_and_predicts_from_the_command_line(tmp_path: Path, cde: Cde) -> None:
    path = write(tmp_path, f"  targets_model: joint\n{MAPS}")
    assert cde("check", path).code == 0
    outcome = cde("train", path, "--out", tmp_path / "run", "--quiet")
    assert outcome.code == 0, outcome.err
    options = ["--out", tmp_path / "out", "--components", "--quiet"]
    outcome = cde("predict", tmp_path / "run", tmp_path / "table.csv", *options)
    assert outcome.code == 0, outcome.err
    summary = np.genfromtxt(tmp_path / "out/summary.csv", delimiter=",", names=True)
    assert np.isfinite(summary["log_density"]).all()
    written = np.load(tmp_path / "out/mixture.npz")
    assert written["covariances"].shape == (60, len(written["weights"]), 2, 2)
    assert np.abs(written["covariances"][:, :, 0, 1]).max() > 1e-3


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            MAPS,
            (
                "model.output.mixing: expected null in a chain, each model of which has a target of its own; got "
                "{num_latent_gps: 1} and 2 targets. Set model.targets_model to joint."
            ),
        ),
        (
            f"  targets_model: joint\n  likelihood: {{kind: student_t}}\n{MAPS}",
            (
                "model.output.mixing: expected null with the likelihood 'student_t', as mixed targets are normal "
                "together with normal noise only; got {num_latent_gps: 1}. Set it to null, or choose 'gaussian' or "
                "'heteroscedastic_gaussian'."
            ),
        ),
        (
            "  input_projection: {dim: 2}\n  output: {kernel: {kind: matern32, columns: [x]}}\n",
            (
                "model.output.kernel.columns.0: expected inputs that are columns; got 'x' after model.input_projection "
                "has mixed them. Leave it out."
            ),
        ),
        (
            "  targets_model: joint\n  input_projection: 2\n",
            "model.input_projection: expected a mapping or null; got 2. Correct the value.",
        ),
        (
            "  targets_model: joint\n  output: {mixing: {num_latent_gps: 0}}\n",
            "model.output.mixing.num_latent_gps: expected an integer >= 1; got 0. Correct the value.",
        ),
    ],
)
def test_maps_that_cannot_work_are_refused(model: str, message: str, tmp_path: Path, cde: Cde) -> None:
    outcome = cde("check", write(tmp_path, model))
    assert outcome.code == 2
    assert outcome.err.rstrip().endswith(message)


def test_a_single_target_may_be_mixed_in_whatever_targets_model() -> None:
    plain = {
        "schema_version": 1,
        "data": {"path": "t.csv", "inputs": ["x"], "targets": ["y"]},
        "model": {"output": {"structure": "joint", "mixing": {"num_latent_gps": 1}}},
    }
    assert Config.model_validate(plain).model.output.mixing.num_latent_gps == 1
    with pytest.raises(ValidationError, match="Set model.targets_model to joint"):
        Config.model_validate(plain | {"data": {**plain["data"], "targets": ["y", "z"]}})
