"""Whole trainings: the same bytes from the same seed, interruption and resumption, the best state, the retry ladder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cde_app.config import Config
from cde_app.errors import NumericalError
from cde_app.predictive.posterior import Posterior, pack
from cde_app.training import loop, session
from cde_app.training.checkpoint import Checkpoint
from cde_app.training.kernel_start import Axis
from cde_app.training.session import Report, Trained, TrainingData, train_posterior


def small_config(seed: int = 0, **training: Any) -> Config:
    return Config.model_validate(
        {
            "schema_version": 1,
            "seed": seed,
            "data": {"path": "x.csv", "inputs": ["x"], "targets": [{"column": "y", "transform": {"kind": "identity"}}]},
            "model": {
                "layers": [{"num_gps": 1, "num_inducing": 5}],
                "output": {"structure": "additive", "num_inducing": 8, "num_inducing_latent": 8},
            },
            "training": {"max_steps": 60, "checkpoint_every": 25, "warm_start": {"max_steps": 10}, **training},
            "predict": {"num_components": 16},
        }
    )


def small_data(*, validation: int = 0) -> TrainingData:
    random = np.random.default_rng(0)
    X = random.standard_normal((60 + validation, 1))
    targets = np.sin(2 * X) + (0.1 + 0.3 * (X > 0)) * random.standard_normal(X.shape)
    return TrainingData(X[:60], targets[:60], X[60:], targets[60:], (Axis("x"),))


def run(config: Config, data: TrainingData, **options: Any) -> tuple[Trained, list[Checkpoint], list[Report]]:
    checkpoints: list[Checkpoint] = []
    reports: list[Report] = []
    options = {"checkpoint": None, "report": reports.append} | options
    trained = train_posterior(config, data, save=checkpoints.append, **options)
    return trained, checkpoints, reports


def arrays_of(posterior: Posterior) -> dict[str, np.ndarray]:
    spec, arrays = pack(posterior.to_tree())
    return arrays | {"spec": np.array(str(spec))}


def assert_same_bytes(first: Posterior, second: Posterior) -> None:
    left, right = arrays_of(first), arrays_of(second)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


def test_the_same_seed_ends_in_the_same_bytes_and_another_seed_does_not() -> None:
    first, second, other = (run(small_config(seed), small_data())[0].posterior for seed in (0, 0, 1))
    assert_same_bytes(first, second)
    assert first.output_terms[0].q_mu.tobytes() != other.output_terms[0].q_mu.tobytes()


def test_a_training_resumed_from_any_checkpoint_ends_in_the_same_bytes() -> None:
    whole, checkpoints, _ = run(small_config(), small_data())
    assert [checkpoint.step for checkpoint in checkpoints] == [0, 25, 50]
    for checkpoint in checkpoints:
        stored = Checkpoint.from_arrays(checkpoint.to_arrays())
        resumed, _, reports = run(small_config(), small_data(), checkpoint=stored)
        assert_same_bytes(whole.posterior, resumed.posterior)
        assert reports[0].step > checkpoint.step


def test_an_interruption_saves_a_checkpoint_from_which_training_goes_on() -> None:
    config, data = small_config(checkpoint_every=1000), small_data()

    def interrupt(report: Report) -> None:
        if report.step == 25:
            raise KeyboardInterrupt

    checkpoints: list[Checkpoint] = []
    with pytest.raises(KeyboardInterrupt):
        train_posterior(config, data, checkpoint=None, save=checkpoints.append, report=interrupt)
    assert checkpoints[-1].step == 25
    resumed, _, _ = run(config, data, checkpoint=checkpoints[-1])
    assert_same_bytes(run(config, data)[0].posterior, resumed.posterior)


def test_the_state_with_the_best_validation_score_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.0, 2.0, 1.0])
    monkeypatch.setattr(session, "validation_score", lambda *_, **__: next(scores))
    config, data = small_config(early_stopping={"every": 25}, max_steps=75), small_data(validation=20)
    trained, _, reports = run(config, data)
    assert trained.best_step == 50
    assert [report.validation_score for report in reports if report.stage == "training"] == [0.0, 2.0, 1.0]
    shorter = small_config(early_stopping={"enabled": False}, max_steps=75)
    states = [checkpoint for checkpoint in run(shorter, data)[1] if checkpoint.step == 50]
    np.testing.assert_array_equal(states[0].state["variable.0"], run_best(config, data)["variable.0"])


def run_best(config: Config, data: TrainingData) -> dict[str, np.ndarray]:
    """Return the best state of a training whose second score is the best."""
    scores: Iterator[float] = iter([0.0, 2.0, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "validation_score", lambda *_, **__: next(scores))
        _, checkpoints, _ = run(config, data)
    assert checkpoints[-1].best.state is not None
    return checkpoints[-1].best.state


def test_training_stops_when_the_score_has_not_risen_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "validation_score", lambda *_, **__: 1.0)
    config = small_config(early_stopping={"every": 25, "patience": 50}, max_steps=1000)
    trained, _, _ = run(config, small_data(validation=20))
    assert (trained.steps, trained.best_step) == (75, 25)


def test_training_raises_the_predictive_density_above_the_warm_start() -> None:
    config, data = small_config(max_steps=200), small_data()
    trained, checkpoints, _ = run(config, data)
    fresh = np.random.default_rng(9)
    X = fresh.standard_normal((2000, 1))
    targets = np.sin(2 * X) + (0.1 + 0.3 * (X > 0)) * fresh.standard_normal(X.shape)
    gained = trained.posterior.predict(X).log_density(targets)
    transform = trained.posterior.transforms[0]
    warm = checkpoints[0].regression.log_density(X, transform.forward(targets)) + transform.log_jacobian(targets)
    difference = gained - warm[:, 0]
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(X))


def test_a_step_that_fails_is_repeated_with_smaller_steps_and_at_last_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = small_config(), small_data()
    checkpoint = session.warm_start(config, data, lambda _: None)
    trainer, _ = session.prepare(config, data, checkpoint)
    before = trainer.state()
    compiled, rates = trainer._compiled, []

    def failing(indices: Any, step: Any, rate: Any) -> Any:
        rates.append(float(rate))
        return compiled(indices, step, rate) * (np.nan if len(rates) <= 2 else 1.0)

    monkeypatch.setattr(trainer, "_compiled", failing)
    bounds = trainer.advance(5)
    assert np.isfinite(bounds).all()
    assert rates == [1.0, 0.5, 0.25]
    assert trainer.step == 5
    trainer.restore(before)
    monkeypatch.setattr(trainer, "_compiled", lambda *_: compiled(*_) * np.nan)
    with pytest.raises(NumericalError, match="the bound must be finite; got nan after step 0"):
        trainer.advance(5)
    np.testing.assert_array_equal(trainer.state()["variable.0"], before["variable.0"])


def test_every_epoch_deals_each_row_once_in_an_order_of_its_own() -> None:
    config, data = small_config(batch_size=20), small_data()
    trainer, _ = session.prepare(config, data, session.warm_start(config, data, lambda _: None))
    batches = trainer._batches(0, 6)
    for epoch in (batches[:3], batches[3:]):
        np.testing.assert_array_equal(np.sort(epoch.ravel()), np.arange(60))
    assert not np.array_equal(batches[:3], batches[3:])
    np.testing.assert_array_equal(trainer._batches(4, 2), batches[4:6])


@pytest.mark.parametrize(
    ("num_rows", "noise", "max_steps", "batch_size", "kl_weight"),
    [(100, 0.2, 300, 100, 1.0), (100, 0.1, 300, 100, 0.3), (1800, 0.2, 800, 256, 0.3), (9000, 0.2, 2000, 512, 0.3)],
)
def test_auto_settings_follow_the_number_of_rows(
    num_rows: int, noise: float, max_steps: int, batch_size: int, kl_weight: float
) -> None:
    config = small_config(max_steps="auto")
    schedule = loop.resolve_schedule(config.training, num_rows=num_rows, noise=noise)
    assert (schedule.max_steps, schedule.batch_size, schedule.kl_weight) == (max_steps, batch_size, kl_weight)
    np.testing.assert_allclose(schedule.natural_step, 0.05 * batch_size / num_rows)
