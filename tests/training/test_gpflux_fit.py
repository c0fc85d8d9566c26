"""The latent layer in whole trainings, and GPflux's own fit beside the loop of cde."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gpflow
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from cde_app.config import Config
from cde_app.errors import NumericalError
from cde_app.model.latent import LatentLayer
from cde_app.plan import SEED_STRIDE
from tests.training.test_session import (
    assert_same_bytes,
    fresh_trainer,
    progress,
    reread,
    run,
    small_config,
    small_data,
)

LOOPS = ["cde", "gpflux"]


def papers_model(loop: str, **training: Any) -> Config:
    """The papers' model, and a training that both loops can do."""
    tree = small_config().model_dump(mode="json")
    tree["model"] |= {"layers": [], "output": {"structure": "joint", "num_inducing": 8}}
    tree["model"]["latent"] |= {"compositor": {"kind": "concatenate"}, "name": "causes"}
    tree["training"] |= {"loop": loop, "objective": {"kind": "elbo"}, "natural_gradient": {"enabled": False}}
    tree["training"] |= {"inducing_rate": 1, "batch_size": 32, "checkpoint_every": 25, **training}
    return Config.model_validate(tree)


def named(model: str) -> Config:
    if model == "papers":
        return papers_model("cde")
    tree = small_config().model_dump(mode="json")
    tree["model"]["latent"] |= {"name": "causes"}
    return Config.model_validate(tree)


@pytest.mark.parametrize("model", ["default", "papers"])
def test_every_step_of_a_training_calls_the_latent_layer_whose_loss_and_metric_are_told(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls = named(model), []
    call = LatentLayer.call

    def spied(layer: LatentLayer, X: Any, **options: Any) -> Any:
        inputs, targets = options["observations"]
        assert inputs is X
        calls.append((options["training"], options["num_samples"], inputs.shape[-1], targets.shape[-1]))
        return call(layer, X, **options)

    monkeypatch.setattr(LatentLayer, "call", spied)
    trainer = fresh_trainer(config, small_data())
    trainer.advance(25)
    assert calls == [(True, config.training.objective.num_samples, 1, 1)], "traced once, for all steps"
    assert float(trainer.model.latent.local_kl.count) == 25, "one value of the metric for each step"
    mean = trainer.metrics()["causes_local_kl"]
    trainer.advance(1)
    assert float(trainer.model.latent.local_kl.count) == 1
    # The metric of one step is the mean KL of its batch, at the encoder before the step; a step hardly moves it.
    rows = trainer._batches(25, 1)[0]
    data = [tf.constant(values[rows]) for values in (trainer.X, trainer.Y)]
    kl = np.mean(trainer.model.latent._local_kls(trainer.model.latent._inference_posteriors(data)))
    assert trainer.metrics()["causes_local_kl"] == pytest.approx(kl, rel=0.1)
    assert mean != trainer.metrics()["causes_local_kl"]


def test_the_loss_of_the_latent_layer_is_what_the_elbo_loses_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = papers_model("cde"), small_data()
    whole = fresh_trainer(config, data)
    first = whole.advance(1)
    monkeypatch.setattr(LatentLayer, "_add_local_kl", lambda layer, loss: layer.add_loss(tf.zeros_like(loss)))
    without = fresh_trainer(config, data).advance(1)
    np.testing.assert_allclose(without - first, whole.metrics()["causes_local_kl"], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_the_metrics_of_a_resumed_training_are_those_of_the_whole_one(loop: str) -> None:
    config, data = papers_model(loop), small_data(validation=20)
    whole, checkpoints, reports = run(config, data)
    steps = {one.step: (one.bound, one.metrics) for one in reports if one.stage == "training"}
    assert list(steps) == [25, 50, 60]
    assert all(list(metrics) == ["causes_local_kl"] and metrics["causes_local_kl"] > 0 for _, metrics in steps.values())
    for checkpoint in checkpoints[1:3]:
        stored = reread(checkpoint)
        resumed, _, later = run(config, data, checkpoint=stored)
        assert_same_bytes(whole.predictor, resumed.predictor)
        assert {one.step: (one.bound, one.metrics) for one in later} == {
            step: told for step, told in steps.items() if step > progress(checkpoint)[1]
        }


@pytest.mark.slow
def test_gpflux_s_own_fit_climbs_the_same_curve_as_the_loop_of_cde() -> None:
    """The papers' model from one start, on the same batches and draws.

    What is left apart is rounding: Keras keeps the loss in single precision, GPflow computes the variance of f in
    another order, and Adam, which divides a gradient by its size, makes much of little at its first steps.
    """
    curves, means = [], []
    for name in LOOPS:
        trained, _, reports = run(papers_model(name, max_steps=150), small_data())
        told = [(one.bound, one.metrics["causes_local_kl"]) for one in reports if one.stage == "training"]
        curves.append(np.array(told))
        means.append(trained.predictor.factors[0].members[0].output_terms[0].q_mu)
    ours, theirs = curves
    assert ours[-1, 0] - ours[0, 0] > 1.0, "the bound must rise, and by far more than the curves are apart"
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    np.testing.assert_allclose(means[1], means[0], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"layers": [{"num_gps": 1, "num_inducing": 5, "sees_latent": True}]},
        pytest.param(
            {
                "latent": {
                    "dim": 2,
                    "prior": {"kind": "tfp", "family": "StudentT", "parameters": {"df": 5, "loc": 0, "scale": 1}},
                }
            },
            marks=pytest.mark.slow,
        ),
        {"latent": {"dim": 0}},
        {"latent": {"encoder": {"kind": "mlp", "dropout": 0.2}}},
        {"latent": {"encoder": {"kind": "per_row"}}},
        {"likelihood": {"kind": "student_t"}},
    ],
    ids=str,
)
def test_gpflux_s_fit_trains_other_models_too(settings: dict[str, Any]) -> None:
    """The same draws for both loops, and so nearly the same bounds; the Student's t is integrated by fewer nodes."""
    bounds = []
    for name in LOOPS:
        tree = papers_model(name, max_steps=25, batch_size="full").model_dump(mode="json", exclude_unset=True)
        tree["model"] |= settings
        trained, _, reports = run(Config.model_validate(tree), small_data())
        assert np.isfinite(trained.predictor.predict(np.zeros((1, 1))).means).all()
        bounds.append(reports[-1].bound)
    assert bounds[0] == pytest.approx(bounds[1], abs=0.02)


@pytest.mark.slow
def test_members_of_an_ensemble_share_gpflux_s_compiled_fit() -> None:
    config, data = papers_model("gpflux", ensemble=2, max_steps=25, calibration={"enabled": False}), small_data()
    trained, _, _ = run(config, data)
    alone, _, _ = run(config.model_copy(update={"seed": SEED_STRIDE}), data)
    second, first = trained.predictor.factors[0].members[1], alone.predictor.factors[0].members[0]
    assert second.output_terms[0].q_mu.tobytes() == first.output_terms[0].q_mu.tobytes()


def test_a_frozen_kernel_does_not_stop_gpflux_s_fit() -> None:
    tree = papers_model("gpflux").model_dump(mode="json", exclude_unset=True)
    tree["model"]["layers"] = [{"num_gps": 1, "num_inducing": 5}]
    trainer = fresh_trainer(Config.model_validate(tree), small_data())
    gp = trainer.model.inner_layers[0].gp
    gpflow.set_trainable(gp.kernel, False)
    assert not gp.kernel.trainable_parameters
    before = gp.q_mu.numpy().copy()
    assert np.isfinite(trainer.advance(5)).all()
    assert not np.array_equal(gp.q_mu.numpy(), before)


class Heavier(tfp.distributions.Logistic):
    """A density that integrates to e^4: a family that TFP would have wrong."""

    def _log_prob(self, x: Any) -> Any:
        return super()._log_prob(x) + 4.0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_kl_below_zero_by_more_than_chance_stops_a_training(loop: str) -> None:
    tree = papers_model(loop).model_dump(mode="json", exclude_unset=True)
    tree["model"]["latent"] |= {"prior": {"kind": "tfp", "family": "Logistic", "parameters": {"loc": 0, "scale": 1}}}
    trainer = fresh_trainer(Config.model_validate(tree), small_data())
    layer = trainer.model.latent
    layer.prior = Heavier(loc=layer.prior.loc, scale=layer.prior.scale)
    true = layer.family
    layer.family = replace(true, distribution=layer.prior)
    vars(layer.family)["member"] = true.member  # q stays the family's own
    message = r"training: the KL divergence causes_local_kl must not be negative; got -\d.* after step 5\. The family's"
    with pytest.raises(NumericalError, match=message):
        trainer.advance(5)
