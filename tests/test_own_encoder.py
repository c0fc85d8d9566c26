"""An encoder of one's own, and the live model: what a researcher passes to `cde_app.train` and sees from it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gpflux
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from gpflow.keras import tf_keras
from pydantic import TypeAdapter

import cde_app
from cde_app import EncoderSpec
from cde_app.config import Config, Objective
from cde_app.encoder_spec import name_of
from cde_app.errors import RunError, UsageError
from cde_app.model.objective import bound
from cde_app.model.own_encoder import OwnEncoder, build_own_encoder
from cde_app.model.prior import build_prior
from cde_app.progress import Progress
from cde_app.training.rows import TrainingData
from tests.conftest import LINE_CONFIG, with_one
from tests.small_models import NUM_FEATURES, small_model
from tests.training.test_session import (
    assert_same_bytes,
    chained,
    progress,
    reread,
    run,
    session_of,
    small_config,
    small_data,
    started,
)

NORMAL = {"kind": "normal"}
BETA = {"kind": "tfp", "family": "Beta", "parameters": {"concentration1": 2.0, "concentration0": 3.0}}
SPEC = EncoderSpec(num_features=2, num_targets=1, latent_dim=2, parameters=("loc", "scale_diag"), num_rows=40, seed=3)
ROWS = np.random.default_rng(0).standard_normal((10, 3))


class StopError(Exception):
    """What a callback raises to stop."""


def network(spec: EncoderSpec, activation: str = "tanh", units: int = 6) -> Any:
    """Make the encoder of the guide: one tensor, which starts as the prior."""
    kernel = tf_keras.initializers.GlorotUniform(seed=spec.seed)
    return tf_keras.Sequential(
        [
            tf_keras.layers.Dense(units, activation, kernel_initializer=kernel),
            tf_keras.layers.Dense(spec.num_outputs, kernel_initializer="zeros"),
        ]
    )


class Researcher(tf_keras.layers.Layer):
    """An encoder that is a class: a mean and a standard deviation, with parts that are no weights."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.hidden = tf_keras.layers.Dense(4, "relu", kernel_initializer=tf_keras.initializers.HeNormal(spec.seed))
        self.norm = tf_keras.layers.BatchNormalization()
        self.heads = [tf_keras.layers.Dense(spec.latent_dim, kernel_initializer="zeros") for _ in range(2)]
        self.noise = 0.1 * (spec.seed % 2)
        self.seen: list[tuple[Any, bool]] = []

    def call(self, inputs: tf.Tensor, training: bool | None = None, seed: Any = None) -> tuple[tf.Tensor, tf.Tensor]:
        self.seen.append((training, seed is not None))
        hidden = self.norm(self.hidden(inputs), training=training)
        hidden += self.noise * tf.random.stateless_normal(tf.shape(hidden), seed, dtype=hidden.dtype)
        mean, scale = (head(hidden) for head in self.heads)
        return mean, tf.nn.softplus(scale)


class Returns(tf_keras.layers.Layer):
    """Returns what a function makes of its input."""

    def __init__(self, function: Callable[[tf.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, inputs: tf.Tensor) -> Any:
        return self.function(inputs)


@pytest.fixture(autouse=True)
def keras_keeps_its_precision() -> Iterator[None]:
    before = tf_keras.backend.floatx()
    yield
    assert tf_keras.backend.floatx() == before


def encoder_of(make: Any, prior: dict[str, Any] = NORMAL, **options: Any) -> OwnEncoder:
    latent = Config.model_validate(
        {**small_config().model_dump(), "model": {"latent": {"dim": 2, "prior": prior}}}
    ).model.latent
    built = build_prior(latent)
    spec = replace(SPEC, parameters=tuple(built.bijectors))
    return build_own_encoder(make, spec, built, ROWS, **{"previous": None} | options)


def configured(**changes: Any) -> Config:
    """Return the small configuration with other settings of some blocks."""
    tree = small_config().model_dump()
    for block, settings in changes.items():
        tree[block] |= settings
    return Config.model_validate(tree)


def write_line(folder: Path, *replaced: tuple[str, str]) -> Path:
    """Write a small table and its configuration; return the configuration."""
    random = np.random.default_rng(2)
    t = random.uniform(0, 10, 60)
    y = 50 + 10 * np.sin(t) + (1 + t) * random.normal(size=60)
    pd.DataFrame({"t": t, "y": y}).to_csv(folder / "table.csv", index=False)
    text = with_one(LINE_CONFIG, "max_steps: 100,", "max_steps: 75, checkpoint_every: 50,")
    for before, after in replaced:
        text = with_one(text, before, after)
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def posterior_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("posterior/*")}


# --- what the encoder returns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [NORMAL, BETA])
def test_one_tensor_changes_the_prior_s_parameters_and_zeros_are_the_prior(prior: dict[str, Any]) -> None:
    encoder = encoder_of(network, prior)
    for name, values in zip(encoder.prior.bijectors, encoder(tf.constant(ROWS)), strict=True):
        expected = encoder.prior.distribution.parameters[name]
        np.testing.assert_allclose(values, np.broadcast_to(expected, (10, 2)), rtol=1e-12)
    assert {variable.dtype for variable in encoder.variables} == {tf.float64}


def test_one_tensor_of_a_normal_is_the_mean_and_the_log_of_the_standard_deviation() -> None:
    encoder = encoder_of(lambda spec: Returns(lambda inputs: tf.concat([inputs, inputs[:, :1]], axis=-1)))
    mean, sd = encoder(tf.constant(ROWS))
    np.testing.assert_allclose(mean, ROWS[:, :2])
    np.testing.assert_allclose(np.log(sd), ROWS[:, [2, 0]])


def test_a_tuple_is_the_parameters_as_gpflux_wants_them_so_gpflux_s_own_encoder_fits() -> None:
    means = np.arange(20.0).reshape(10, 2)
    encoder = encoder_of(lambda spec: gpflux.encoders.DirectlyParameterizedNormalDiag(10, spec.latent_dim, means=means))
    mean, sd = encoder(tf.constant(ROWS))
    np.testing.assert_allclose(mean, means)
    np.testing.assert_allclose(sd, 1e-5)
    assert len(encoder.trainable_variables) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            tf_keras.layers.Dense(4),
            r"^encoder: expected a function that returns a new layer for every training; got a layer, 'Dense'\.",
        ),
        (lambda spec: np.tanh, r"expected a layer of Keras 2, .*; got 'numpy\.ufunc'\. Return such a layer\.$"),
        (
            lambda spec: tf_keras.layers.Dense(3),
            (
                r"expected a tuple of 'loc', 'scale_diag', \[10, 2\] each, or one tensor \[10, 4\]; got \[10, 3\]\. "
                r"Correct what the layer returns\.$"
            ),
        ),
        (lambda spec: Returns(lambda x: (x[:, :2],)), r"got a tuple of \[\[10, 2\]\]\."),
        (lambda spec: Returns(lambda x: (x[:1, :2], x[:1, :2])), r"got a tuple of \[\[1, 2\], \[1, 2\]\]\."),
        (lambda spec: Returns(lambda x: {"loc": x}), r"or one tensor \[10, 4\]; got \[\]\."),
        (
            lambda spec: Returns(lambda x: (x[:, :2], tf.zeros_like(x[:, :2]))),
            (
                r"expected values in the domain of 'scale_diag' before the first step; got 0\.0\. Map it into its "
                r"domain, such as by softplus for a scale\.$"
            ),
        ),
        (lambda spec: Returns(lambda x: (x[:, :2], -tf.exp(x[:, :2]))), r"the domain of 'scale_diag' .*; got -"),
        (lambda spec: Returns(lambda x: (tf.math.log(x[:, :2]), tf.exp(x[:, :2]))), r"the domain of 'loc' .*; got nan"),
        (
            lambda spec: tf_keras.layers.Dense(4, dtype="float32", name="one"),
            r"expected trainable variables in double precision; got 'float32', 'one/kernel:0'\. Make the layers in ",
        ),
        (
            lambda spec: Returns(lambda x: x @ tf.ones([4, 4], x.dtype)),
            r"expected a layer that maps \[x, y\], \[10, 3\]; got an error, .*\. Correct the layer\.$",
        ),
    ],
)
def test_an_encoder_that_cannot_be_trained_is_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        encoder_of(make)
    assert "\n" not in str(caught.value)


def test_an_error_in_the_function_reaches_the_caller_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        encoder_of(lambda spec: 1 / 0)


def test_one_layer_cannot_serve_two_trainings() -> None:
    shared = tf_keras.layers.Dense(4)
    with pytest.raises(UsageError, match="expected a new layer for every training; got the layer of the previous one"):
        encoder_of(lambda spec: shared, previous=OwnEncoder(shared, encoder_of(network).prior))


def test_a_run_remembers_an_encoder_by_its_qualified_name() -> None:
    assert name_of(None) is None
    assert name_of(network).endswith("test_own_encoder.network")
    assert name_of(partial(network, units=3)) == name_of(network)
    assert name_of(Researcher).endswith("test_own_encoder.Researcher")
    assert name_of(lambda spec: None).endswith(".<lambda>")


# --- how it trains --------------------------------------------------------------------------------------------------


def built_in_encoders(config: Config, data: TrainingData) -> list[Any]:
    """Return the configured encoder of every training, before its first step."""
    session = session_of(config, data)
    return [started(session, index).model.latent.encoder for index in range(len(session.plan.units))]


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["cde", "gpflux"])
def test_the_built_in_encoder_passed_as_one_s_own_trains_to_the_same_bytes(loop: str) -> None:
    training: dict[str, Any] = {"max_steps": 30, "ensemble": 2}
    if loop == "gpflux":
        training = {"loop": "gpflux", "objective": {"kind": "elbo"}, "natural_gradient": {"enabled": False}}
        training |= {"max_steps": 30, "inducing_rate": 1.0}
    config = configured(training=training, model={"latent": {"encoder": {"kind": "mlp", "dropout": 0.2}}})
    usual, _, _ = run(config, small_data(), compiles=True)
    encoders, specs = iter(built_in_encoders(config, small_data())), []

    def make(spec: EncoderSpec) -> Any:
        specs.append(spec)
        return next(encoders)

    own, _, _ = run(config, small_data(), compiles=True, make_encoder=make)
    assert_same_bytes(own.predictor, usual.predictor)
    assert [(spec.num_features, spec.num_targets, spec.latent_dim) for spec in specs] == [(1, 1, 1)] * len(specs)
    assert len({spec.seed for spec in specs}) == len(specs) == len(usual.trainings)


@pytest.mark.slow
def test_a_chain_and_an_ensemble_have_an_encoder_each_of_any_family_and_resume_to_the_same_bytes() -> None:
    config, data = chained()
    tree = config.model_dump()
    tree["model"] |= {"latent": {"prior": BETA}}
    tree["training"] |= {"ensemble": 2, "max_steps": 20, "checkpoint_every": 10}
    config, specs = Config.model_validate(tree), []

    def make(spec: EncoderSpec) -> Any:
        specs.append(spec)
        return network(spec)

    whole, checkpoints, _ = run(config, data, compiles=True, make_encoder=make)
    assert [spec.num_features for spec in specs] == [1, 1, 2, 2], "the second factor sees the first target"
    assert {(spec.num_targets, spec.latent_dim) for spec in specs} == {(1, 1)}
    assert {spec.parameters for spec in specs} == {("concentration1", "concentration0")}
    assert len({spec.seed for spec in specs}) == 4
    (stored,) = [one for one in checkpoints if progress(one) == (3, 0) and one.states[3] is not None]
    resumed, _, _ = run(config, data, compiles=True, make_encoder=make, checkpoint=reread(stored))
    assert_same_bytes(resumed.predictor, whole.predictor)
    assert len(specs) == 5


def test_a_penalty_of_the_encoder_s_own_is_part_of_every_objective() -> None:
    prior, seed = build_prior(small_config().model.latent), tf.constant([0, 0], tf.int64)
    for kind in ("predictive", "elbo"):
        objective, bounds = TypeAdapter(Objective).validate_python({"kind": kind}), []
        for weight in (0.0, 7.0):
            penalty = tf_keras.regularizers.L2(weight)
            layer = tf_keras.layers.Dense(2, kernel_initializer="ones", kernel_regularizer=penalty, dtype="float64")
            small = small_model(own_encoder=OwnEncoder(layer, prior))
            X, Y = tf.constant(small.X), tf.constant(small.Y)
            bounds.append(float(bound(small.model, objective, X, Y, kl_weight=1.0, seed=seed)))
        num_weights = (NUM_FEATURES + 1) * 2
        assert bounds[0] - bounds[1] == pytest.approx(7.0 * num_weights, rel=1e-9), kind


# --- from Python, in a run ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def researched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Progress], list[dict[str, Any]]]:
    """A run with an encoder that is a class; its events, and what a callback read from the model."""
    folder, events, read = tmp_path_factory.mktemp("researched"), [], []

    def watch(event: Progress) -> None:
        events.append(event)
        if event.deep_gp is not None:
            latent = event.deep_gp.f_layers[0]
            read.append(
                {
                    "types": (type(event.deep_gp), isinstance(latent, gpflux.layers.LatentVariableLayer)),
                    "variables": [variable.numpy() for variable in event.deep_gp.trainable_variables],
                    "mean": event.deep_gp.predict_f(np.zeros((3, 1)))[0].numpy(),
                    "averages": latent.encoder.layer.norm.moving_mean.numpy(),
                    "seen": latent.encoder.layer.seen,
                }
            )

    cde_app.train(write_line(folder), out=folder / "run", on_event=watch, encoder=Researcher)
    return folder, events, read


def test_a_callback_sees_every_event_and_the_live_model(researched: Any) -> None:
    folder, events, read = researched
    steps = [(event.training, event.step) for event in events if event.deep_gp is not None]
    assert steps == [(k, step) for k in (0, 1) for step in (25, 50, 75)]
    stages = [event.stage for event in events]
    assert [stages.count(stage) for stage in ("data", "start", "evaluation", "pictures")] == [1, 1, 1, 1]
    assert all(event.deep_gp is None for event in events if event.step is None)
    history = [json.loads(line) for line in (folder / "run/history.jsonl").read_text().splitlines()]
    told = [(event.step, event.bound, event.validation_score) for event in events if event.step is not None]
    assert told == [(line["step"], line["bound"], line["validation_score"]) for line in history]
    assert all(event.validation_score is not None for event in events if event.step is not None)
    for one in read:
        assert one["types"] == (gpflux.models.DeepGP, True)
        assert np.isfinite(one["mean"]).all()
    for before, after in itertools.pairwise(read[:3]):
        moved = [not np.array_equal(old, new) for old, new in zip(before["variables"], after["variables"], strict=True)]
        assert all(moved), "an own encoder's variables train as all others do"
        assert not np.array_equal(before["averages"], after["averages"])
    assert (True, True) in read[0]["seen"], "the layer is told that it is trained, and the seed of the step"


def test_the_run_names_the_encoder_and_predicts_without_it_and_without_tensorflow(researched: Any, cde: Any) -> None:
    folder, _, _ = researched
    manifest = json.loads((folder / "run/manifest.json").read_text())
    assert manifest["own_encoder"] == name_of(Researcher)
    assert json.loads(cde("info", folder / "run", "--json").out)["own_encoder"] == name_of(Researcher)
    code = (
        "import sys, pandas as pd, cde_app\n"
        f"forecast = cde_app.load({str(folder / 'run')!r}).predict(pd.read_csv({str(folder / 'table.csv')!r}))\n"
        "assert forecast.log_prob(pd.read_csv(sys.argv[1])).shape == (60,)\n"
        "print('tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, folder / "table.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_an_exception_of_a_callback_reaches_the_caller_and_the_run_resumes_to_the_same_bytes(
    researched: Any, tmp_path: Path
) -> None:
    folder, _, _ = researched
    error, seen = StopError("enough"), []

    def stop(event: Progress) -> None:
        if (event.training, event.step) == (1, 25):
            raise error

    train = partial(cde_app.train, folder / "config.yaml", out=tmp_path / "run")
    with pytest.raises(StopError) as caught:
        train(on_event=stop, encoder=Researcher)
    assert caught.value is error
    assert (tmp_path / "run/STATUS").read_text() == "failed\n"
    with pytest.raises(RunError, match=r"resumed with its original encoder, .*\.Researcher; got the configured one\. "):
        train(resume=True)
    with pytest.raises(RunError, match=r"original encoder, .*\.Researcher; got .*\.network\. Pass the original one to"):
        train(resume=True, encoder=network)
    train(resume=True, on_event=seen.append, encoder=Researcher)
    assert [event.step for event in seen if event.step is not None] == [50, 75], "nothing is done twice"
    assert posterior_of(tmp_path / "run") == posterior_of(folder / "run") != {}


def test_a_callback_that_stops_before_the_first_training_leaves_nothing(tmp_path: Path) -> None:
    for stage in ("data", "warm start"):

        def stop(event: Progress, stage: str = stage) -> None:
            if event.stage == stage:
                raise StopError

        with pytest.raises(StopError):
            cde_app.train(write_line(tmp_path), out=tmp_path / "run", on_event=stop)
        assert not (tmp_path / "run").exists()


def test_a_resumed_run_refuses_an_encoder_of_the_same_name_with_other_variables(tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        if event.step is not None:
            raise StopError

    train = partial(cde_app.train, write_line(tmp_path), out=tmp_path / "run")
    with pytest.raises(StopError):
        train(on_event=stop, encoder=network)
    with pytest.raises(RunError, match="got one with other variables"):
        train(resume=True, encoder=partial(network, units=5))
    assert (tmp_path / "run/STATUS").read_text() == "failed\n"


@pytest.mark.parametrize(
    ("encoder", "settings", "message"),
    [
        (3, {}, r"^encoder: expected a function that returns a layer; got 3\. Pass a function\.$"),
        (network, {"model.latent.dim": 0}, r"^encoder: expected model\.latent\.dim of at least 1"),
        (lambda spec: tf_keras.layers.Dense(5), {}, r"one tensor \[36, 2\]; got \[36, 5\]\."),
    ],
)
def test_a_wrong_encoder_is_refused_before_the_training_and_leaves_nothing(
    encoder: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    events: list[Progress] = []
    with pytest.raises(UsageError, match=message):
        cde_app.train(
            write_line(tmp_path), out=tmp_path / "run", settings=settings, on_event=events.append, encoder=encoder
        )
    assert not [event for event in events if event.message == "sparse GP" or event.step is not None]
    assert not (tmp_path / "run").exists()
