"""Large tables in training: which rows the choices and the warm start use, and how much of them is in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cde_app.config import Config
from cde_app.execution.executor import Serial, ThisProcess
from cde_app.machine import rows as machine_rows
from cde_app.machine.rows import draw_rows, store_rows
from cde_app.machine.streams import Stream
from cde_app.plan import plan_trainings
from cde_app.training import member, warm_start
from cde_app.training import rows as training_rows
from cde_app.training.checkpoint import Checkpoint, Choices
from cde_app.training.choices import choose, find_roundings
from cde_app.training.features import Axis, Features
from cde_app.training.rows import TrainingData, choice_rows, standardise
from cde_app.training.session import Session
from cde_app.training.warm_start import fit_sparse_regression

AXES = (Axis("a"), Axis("b"))


def settings() -> Config:
    return Config.model_validate(
        {
            "schema_version": 1,
            "data": {"path": "x.csv", "inputs": ["a", "b"], "targets": ["y"]},
            "model": {"output": {"structure": "additive", "num_inducing": 8}},
            "training": {"warm_start": {"max_steps": 5}},
        }
    )


def data_of(targets: np.ndarray) -> TrainingData:
    X = np.random.default_rng(1).normal(size=(len(targets), 2))
    return TrainingData(Features(X, AXES), targets, X[:0], targets[:0])


def choices_of(data: TrainingData) -> Choices:
    return choose(settings(), data, lambda event: None)


def test_the_choices_use_all_rows_of_a_table_and_of_a_large_one_a_sample_with_its_extremes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets = np.random.default_rng(0).normal(size=(500, 2))
    np.testing.assert_array_equal(choice_rows(targets, seed=0), np.arange(500))
    monkeypatch.setattr(training_rows, "CHOICE_ROWS", 100)
    monkeypatch.setattr(machine_rows, "BLOCK_ROWS", 60)
    chosen = choice_rows(targets, seed=0)
    assert 100 <= len(chosen) <= 104
    assert {*targets.argmin(0), *targets.argmax(0)} <= set(chosen)
    assert set(draw_rows(500, 100, seed=0, stream=Stream.CHOICE_ROWS)) <= set(chosen)


def test_a_transform_that_one_row_of_a_large_table_forbids_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_rows, "CHOICE_ROWS", 300)
    targets = np.exp(3 * np.random.default_rng(0).normal(size=(3000, 1)))
    assert choices_of(data_of(targets)).transforms[0].kind == "log"
    targets[1234] = 0.0
    assert choices_of(data_of(targets)).transforms[0].kind != "log"


def test_a_target_that_varies_in_one_row_only_is_not_taken_as_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_rows, "CHOICE_ROWS", 10)
    targets = np.zeros((1000, 1))
    targets[123] = 1.0
    assert choices_of(data_of(targets)).transforms[0].scale > 0


def test_the_rounding_of_a_large_table_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_rows, "CHOICE_ROWS", 100)
    data = data_of(np.random.default_rng(0).integers(3, 9, (5000, 1)).astype(float))
    (found,) = find_roundings(settings(), data, choices_of(data).transforms)
    assert (found.step, found.num_distinct) == (1.0, 6) if found else False


def test_the_warm_start_of_many_rows_is_that_of_the_rows_drawn_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(400, 2))
    features, Y, model = Features(X, AXES), np.sin(X[:, :1]), settings()

    def fit(features: Features, Y: np.ndarray) -> np.ndarray:
        return fit_sparse_regression(features, Y, model.training.warm_start, model.model.output, seed=3).q_mu

    whole = fit(features, Y)
    monkeypatch.setattr(warm_start, "REGRESSION_ROWS", 150)
    drawn = draw_rows(400, 150, seed=3, stream=Stream.REGRESSION_ROWS)
    sampled = fit(features, Y)
    np.testing.assert_array_equal(sampled, fit(features.select(drawn), Y[drawn]))
    assert not np.array_equal(sampled, whole)


def test_what_a_training_holds_before_its_steps_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((training_rows, "CHOICE_ROWS"), (warm_start, "REGRESSION_ROWS"), (warm_start, "MEAN_ROWS")):
        monkeypatch.setattr(module, name, 300)
    monkeypatch.setattr(machine_rows, "BLOCK_ROWS", 1000)
    monkeypatch.setattr(machine_rows, "MOST_MAPPED", 0)
    config, few, many = settings(), 25_000, 125_000

    def stored(num_rows: int) -> TrainingData:
        folder = tmp_path / str(num_rows)
        folder.mkdir(exist_ok=True)
        rows = np.random.default_rng(0).normal(size=(num_rows, 3))
        X, Y = store_rows(folder / "X.npy", 2, [rows[:, :2]]), store_rows(folder / "Y.npy", 1, [rows[:, 2:]])
        return TrainingData(Features(X, AXES), Y, X[:100], Y[:100])

    def warm_started(data: TrainingData) -> None:
        plan = plan_trainings(config, num_rows=len(data.features), num_validation_rows=100, num_features=2)
        checkpoint = Checkpoint(choices_of(data), (None,) * len(plan.units))
        ignore: Callable[..., None] = lambda *_: None  # noqa: E731
        session = Session(
            config, plan, data, checkpoint, scratch=tmp_path, executor=Serial(), save=ignore, report=ignore
        )
        work = session.remaining()[1][0]
        member.warm_start(work, work.open(), ThisProcess())

    def growth(work: Callable[[TrainingData], object]) -> float:
        """Return the bytes of memory that one more row takes."""
        peaks = []
        for num_rows in (few, few, many):  # once for what is cached
            data = stored(num_rows)
            tracemalloc.start()
            work(data)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        return (peaks[2] - peaks[1]) / (many - few)

    assert growth(warm_started) < 1
    transforms = choices_of(stored(few)).transforms
    assert growth(lambda data: standardise(transforms, data.targets[:])) > 8, "the control: one column in memory"
