"""Whole trainings: the same bytes from the same seed, interruption and resumption, the best state, the retry ladder."""

from __future__ import annotations

import atexit
import contextlib
import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pydantic import TypeAdapter

from cde_app.config import Config, Likelihood
from cde_app.config import training as training_config
from cde_app.errors import NumericalError
from cde_app.execution.executor import Serial, ThisProcess
from cde_app.model.moments import inverse_factor
from cde_app.plan import Plan, plan_trainings
from cde_app.predictive import neighbours
from cde_app.predictive.posterior import Posterior
from cde_app.predictive.predictor import Predictor
from cde_app.progress import Progress
from cde_app.training import member, warm_start
from cde_app.training import session as session_module
from cde_app.training.checkpoint import Checkpoint, Finished, choices_of, state_of, to_arrays
from cde_app.training.choices import choose
from cde_app.training.factors import as_member_sees, left_out_rows
from cde_app.training.features import Axis, Features
from cde_app.training.loop import Trainer, fit, gp_layers
from cde_app.training.member import prepare, validation_score
from cde_app.training.rows import TrainingData
from cde_app.training.session import Session, Trained
from cde_app.trees import pack, to_tree
from cde_app.workflow.train import numerical_failures, retry_warnings
from tests.conftest import Outcome, TrainedTiny


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
            "training": {
                "max_steps": 60,
                "checkpoint_every": 25,
                "ensemble": 1,
                "warm_start": {"max_steps": 10},
                **training,
            },
            "predict": {"num_components": 16},
        }
    )


def small_data(*, validation: int = 0) -> TrainingData:
    random = np.random.default_rng(0)
    X = random.standard_normal((60 + validation, 1))
    targets = np.sin(2 * X) + (0.1 + 0.3 * (X > 0)) * random.standard_normal(X.shape)
    return TrainingData(Features(X[:60], (Axis("x"),)), targets[:60], X[60:], targets[60:])


FOLDERS = contextlib.ExitStack()
"""The scratch folders of all trainings here, until the process ends: workers open the arrays in them."""
atexit.register(FOLDERS.close)


def session_of(config: Config, data: TrainingData, **options: Any) -> Session:
    """Prepare a run's trainings."""
    folder = FOLDERS.enter_context(tempfile.TemporaryDirectory())
    plan = plan_trainings(
        config,
        num_rows=len(data.features),
        num_validation_rows=len(data.X_validation),
        num_features=data.features.num_features,
    )
    options = {"checkpoint": None, "executor": Serial(), "save": ignore, "report": ignore} | options
    checkpoint = options.pop("checkpoint") or begin(config, data, plan, options["report"])
    return Session(config, plan, data, checkpoint, scratch=Path(folder), **options)


def begin(config: Config, data: TrainingData, plan: Plan, report: Callable[[Progress], None]) -> Checkpoint:
    return Checkpoint(choose(config, data, report), (None,) * len(plan.units))


def ignore(*_: Any) -> None:
    """Take no notice."""


COMPILED: dict[str, Serial] = {}
"""The last executor of each configuration, with a trainer: compiling its step takes longer than most trainings here."""


def run(
    config: Config, data: TrainingData, *, compiles: bool = False, **options: Any
) -> tuple[Trained, list[Checkpoint], list[Progress]]:
    """Do a run's trainings; `compiles` says whether it compiles its first step as a process does that begins."""
    checkpoints: list[Checkpoint] = []
    reports: list[Progress] = []
    settings = config.model_copy(update={"seed": 0}).model_dump_json()
    executor = Serial() if compiles or settings not in COMPILED else COMPILED[settings]
    save = lambda checkpoint, _: checkpoints.append(checkpoint)  # noqa: E731
    session = session_of(config, data, **{"executor": executor, "report": reports.append, "save": save} | options)
    trained = session.run()
    COMPILED[settings] = executor
    return trained, checkpoints, reports


def progress(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the number of finished trainings, and of steps done in the current one."""
    num_finished = sum(isinstance(state, Finished) for state in checkpoint.states)
    return num_finished, (*checkpoint.steps, 0)[num_finished]


def reread(checkpoint: Checkpoint) -> Checkpoint:
    """Write a checkpoint and read it again."""
    states = [state and state_of(to_arrays(state, {})) for state in checkpoint.states]
    return Checkpoint(choices_of(to_arrays(checkpoint.choices, {})), tuple(states))


def member_data(session: Session, factor: int, member: int) -> TrainingData:
    """Return the rows of a member, without those that it leaves out."""
    return as_member_sees(session.factors[factor], session.plan, member, seed=session.config.seed).data


def started(session: Session, index: int = 0) -> Trainer:
    """Return the trainer of a training before its first step."""
    work = session.remaining()[1][index]
    factor = work.open()
    current = member.warm_start(work, factor, ThisProcess())
    return prepare(session.config, session.plan, factor, current, seed=work.unit.seed, previous=None)


def arrays_of(predictor: Predictor) -> dict[str, np.ndarray]:
    spec, arrays = pack(to_tree(predictor))
    return arrays | {"spec": np.array(str(spec))}


def assert_same_bytes(first: Predictor, second: Predictor) -> None:
    left, right = arrays_of(first), arrays_of(second)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


@functools.cache
def small_run() -> tuple[Trained, list[Checkpoint], list[Progress]]:
    """Train the small configuration, once for all tests that look at it or compare another training with it."""
    return run(small_config(), small_data())


def test_the_same_seed_ends_in_the_same_bytes_and_another_seed_does_not() -> None:
    first = small_run()[0].predictor
    second, other = (run(small_config(seed), small_data())[0].predictor for seed in (0, 1))
    assert_same_bytes(first, second)
    ours, others = (one.factors[0].members[0].output_terms[0] for one in (first, other))
    assert ours.q_mu.tobytes() != others.q_mu.tobytes()


def test_a_training_resumed_from_any_checkpoint_ends_in_the_same_bytes() -> None:
    whole, checkpoints, _ = small_run()
    assert [progress(checkpoint) for checkpoint in checkpoints] == [(0, 0), (0, 25), (0, 50), (1, 0)]
    for checkpoint in checkpoints:
        stored, is_second = reread(checkpoint), checkpoint is checkpoints[1]
        resumed, _, reports = run(small_config(), small_data(), checkpoint=stored, compiles=is_second)
        assert_same_bytes(whole.predictor, resumed.predictor)
        assert all(report.step > progress(checkpoint)[1] for report in reports)


def chained(**training: Any) -> tuple[Config, TrainingData]:
    """Two targets, of which the second is the first and a little noise; two members each."""
    config = small_config(max_steps=30, ensemble=2, **training)
    tree = config.model_dump(mode="json")
    tree["data"]["targets"] = [{"column": name, "transform": {"kind": "identity"}} for name in ("y", "z")]
    data = small_data(validation=20)
    noise = np.random.default_rng(5)

    def with_second(targets: np.ndarray) -> np.ndarray:
        return np.column_stack([targets, targets + 0.1 * noise.standard_normal(targets.shape)])

    both = replace(data, targets=with_second(data.targets), targets_validation=with_second(data.targets_validation))
    return Config.model_validate(tree), both


@functools.cache
def chained_run() -> tuple[Trained, list[Checkpoint], list[Progress]]:
    """Train the chain, once for all tests that look at it or compare another training with it."""
    return run(*chained())


@pytest.mark.slow
@pytest.mark.parametrize("places", [slice(4, 5), slice(None, None, 2)])
def test_a_chain_of_ensembles_resumed_from_any_checkpoint_ends_in_the_same_bytes(places: slice) -> None:
    config, data = chained()
    whole, checkpoints, reports = chained_run()
    assert [len(factor.members) for factor in whole.predictor.factors] == [2, 2]
    assert [progress(checkpoint) for checkpoint in checkpoints][::3] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert {report.training for report in reports} == {0, 1, 2, 3}
    first, second = whole.predictor.factors[0].members
    assert not np.array_equal(first.output_terms[1].q_mu, second.output_terms[1].q_mu), "members must differ"
    for checkpoint in checkpoints[places]:
        stored, is_third = reread(checkpoint), checkpoint is checkpoints[2]
        resumed, _, _ = run(config, data, checkpoint=stored, compiles=is_third)
        assert_same_bytes(whole.predictor, resumed.predictor)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "chain"),
    [("heteroscedastic_gaussian", False), ("gaussian", True)],
)
def test_a_member_that_takes_over_a_compiled_step_ends_as_one_that_compiles_its_own(
    monkeypatch: pytest.MonkeyPatch, likelihood: str, *, chain: bool
) -> None:
    config, data = chained() if chain else (small_config(max_steps=30, ensemble=2), small_data(validation=20))
    noise = TypeAdapter(Likelihood).validate_python({"kind": likelihood})
    config = config.model_copy(update={"model": config.model.model_copy(update={"likelihood": noise})})
    taken_over = []
    begin = Trainer.begin

    def counted(self: Trainer, *arguments: Any, **options: Any) -> None:
        taken_over.append(self)
        begin(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "begin", counted)
    shared, _, _ = run(config, data, compiles=True)
    assert len(taken_over) == (2 if chain else 1), "the second member of each factor"

    def alone(*arguments: Any, previous: Trainer | None, **options: Any) -> Trainer:
        return prepare(*arguments, previous=None, **options)

    monkeypatch.setattr(member, "prepare", alone)
    assert_same_bytes(shared.predictor, run(config, data, compiles=True)[0].predictor)


def test_the_order_of_a_chain_is_the_given_one_or_that_of_the_table() -> None:
    config, _ = chained()
    named = config.model_copy(update={"model": config.model.model_copy(update={"chain_order": ("z", "y")})})
    joint = config.model_copy(update={"model": config.model.model_copy(update={"targets_model": "joint"})})
    plans = [
        plan_trainings(settings, num_rows=60, num_validation_rows=0, num_features=1)
        for settings in (config, named, joint)
    ]
    assert [plan.order for plan in plans] == [(0, 1), (1, 0), (0, 1)]
    assert [unit.name for unit in plans[1].units] == [f"{name}, member {k} of 2" for name in "zy" for k in (1, 2)]
    assert [unit.name for unit in plans[2].units] == [f"y, z, member {k} of 2" for k in (1, 2)]
    assert len({unit.seed for unit in plans[0].units}) == 4


@pytest.mark.slow
def test_a_chain_is_trained_in_the_given_order() -> None:
    config, data = chained()
    tree = config.model_dump()
    tree["model"] |= {"chain_order": ("z", "y")}
    tree["training"] |= {"ensemble": 1, "max_steps": 2}
    assert run(Config.model_validate(tree), data)[0].predictor.order == (1, 0)


def test_a_kernel_of_named_inputs_finds_them_in_every_factor_of_a_chain() -> None:
    config, data = chained()
    tree = config.model_dump()
    tree["model"] |= {"neighbours": {"enabled": True}, "layers": []}
    names = ["x", "neighbours", "y"]
    tree["model"]["output"]["kernel"] = {"kind": "sum", "kernels": [{"kind": "linear", "columns": [n]} for n in names]}
    tree["training"] |= {"ensemble": 1, "max_steps": 2}
    trained, _, _ = run(Config.model_validate(tree), data)
    kernels = [factor.members[0].output_terms[0].kernel.parts for factor in trained.predictor.factors]
    first, second = ([(part.kind, part.columns) for part in parts] for parts in kernels)
    of_features = [("linear", (0,)), ("linear", (1, 2, 3))]
    assert first == [*of_features, ("constant", None)], "the first target is no input of its own factor"
    assert second == [*of_features, ("linear", (4,))]


@pytest.mark.slow
def test_of_many_rows_neighbours_and_the_starting_point_are_taken_from_some_and_training_sees_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, data = chained()
    tree = config.model_dump()
    tree["model"] |= {"neighbours": {"enabled": True}}
    tree["training"] |= {"ensemble": 1, "max_steps": 2}
    config = Config.model_validate(tree)
    for owner, name in ((neighbours, "MOST_ROWS"), (member, "START_ROWS"), (warm_start, "MEAN_ROWS")):
        monkeypatch.setattr(owner, name, 30)
    whole, checkpoints, _ = run(config, data)
    assert len(whole.predictor.neighbours.X) == 30
    session = session_of(config, data)
    assert [len(factor.data.features) for factor in session.factors] == [len(data.features)] * 2
    assert [factor.data.features.X.shape[1] for factor in session.factors] == [4, 5]
    np.testing.assert_array_equal(session.factors[1].data.features.X[:, :1], data.features.X)
    trainer = started(session)
    assert trainer.model.num_data == len(data.features)
    assert_same_bytes(run(config, data, checkpoint=checkpoints[1])[0].predictor, whole.predictor)


@pytest.mark.slow
def test_members_whose_greedy_inducing_inputs_differ_in_number_each_compile_a_step() -> None:
    data, tree = small_data(validation=20), small_config(ensemble=2).model_dump()
    tree["model"]["output"] |= {"inducing": {"kind": "greedy_variance"}, "num_inducing_latent": 200}
    tree["model"]["latent"] |= {"compositor": {"kind": "concatenate"}}  # a warp spreads w, and more inputs have a say
    tree["training"] |= {"max_steps": 2}
    config = Config.model_validate(tree)
    whole, checkpoints, _ = run(config, data)
    sizes = [len(one.output_terms[1].inducing_inputs) for factor in whole.predictor.factors for one in factor.members]
    assert sizes[0] != sizes[1], "the kernel of h has no more to say after a number of inputs that the draws decide"
    resumed, _, _ = run(config, data, checkpoint=checkpoints[1])
    assert_same_bytes(whole.predictor, resumed.predictor)


def test_an_interruption_saves_a_checkpoint_from_which_training_goes_on() -> None:
    config, data = small_config(checkpoint_every=1000), small_data()

    def interrupt(report: Progress) -> None:
        if report.step == 25:
            raise KeyboardInterrupt

    checkpoints: list[Checkpoint] = []
    with pytest.raises(KeyboardInterrupt):
        run(config, data, save=lambda checkpoint, _: checkpoints.append(checkpoint), report=interrupt)
    assert progress(checkpoints[-1]) == (0, 25)
    resumed, _, _ = run(config, data, checkpoint=checkpoints[-1])
    assert_same_bytes(small_run()[0].predictor, resumed.predictor)


@pytest.mark.slow
def test_an_interruption_in_the_midst_of_a_call_or_a_validation_loses_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, data = small_config(early_stopping={"every": 25}), small_data(validation=20)
    expected = run(config, data)[0].predictor
    advance, calls = Trainer.advance, []

    def interrupted_advance(trainer: Trainer, num_steps: int) -> Any:
        bounds = advance(trainer, num_steps)
        if trainer.step == 50:
            raise KeyboardInterrupt  # the variables have moved, and nobody knows yet
        return bounds

    def interrupted_score(*arguments: Any, **options: Any) -> float:
        calls.append(1)
        if len(calls) == 3:  # step zero, step 25, step 50
            raise KeyboardInterrupt
        return validation_score(*arguments, **options)

    for replaced, judge in ((interrupted_advance, validation_score), (advance, interrupted_score)):
        monkeypatch.setattr(Trainer, "advance", replaced)
        checkpoints: list[Checkpoint] = []
        with pytest.raises(KeyboardInterrupt):
            run(config, data, judge=judge, save=lambda checkpoint, _, kept=checkpoints: kept.append(checkpoint))
        monkeypatch.setattr(Trainer, "advance", advance)
        assert progress(checkpoints[-1]) == (0, 25)
        assert_same_bytes(run(config, data, checkpoint=checkpoints[-1])[0].predictor, expected)


def scores_of(*scores: float) -> Callable[..., float]:
    """Stand for what judges a state: a score for each time that it is asked, the first before the first step."""
    given = iter(scores)
    return lambda *_, **__: next(given)


def test_the_state_with_the_best_validation_score_is_kept() -> None:
    config, data = small_config(early_stopping={"every": 25}, max_steps=75), small_data(validation=20)
    trained, checkpoints, reports = run(config, data, judge=scores_of(-1.0, 0.0, 2.0, 1.0))
    assert [one.kept_step for one in trained.trainings] == [50]
    assert [report.validation_score for report in reports if report.stage == "training"] == [0.0, 2.0, 1.0]
    shorter = small_config(early_stopping={"enabled": False}, max_steps=75)
    states = [checkpoint for checkpoint in run(shorter, data)[1] if progress(checkpoint) == (0, 50)]
    best = checkpoints[-2].states[0].best
    np.testing.assert_array_equal(states[0].states[0].state["variable.0"], best.state["variable.0"])


def test_the_warm_start_is_kept_where_no_step_is_better() -> None:
    config, data = small_config(early_stopping={"every": 30}), small_data(validation=20)
    trained, _, _ = run(config, data, judge=scores_of(3.0, 2.0, 1.0))
    assert [(one.steps, one.kept_step) for one in trained.trainings] == [(60, 0)]


def test_training_stops_when_the_score_has_not_risen_for_long() -> None:
    config = small_config(early_stopping={"every": 25, "patience": 50}, max_steps=1000)
    trained, _, _ = run(config, small_data(validation=20), judge=scores_of(1.0, 1.0, 1.0))
    assert [(one.steps, one.kept_step) for one in trained.trainings] == [(50, 0)]


def test_training_raises_the_predictive_density_above_the_warm_start() -> None:
    config, data = small_config(max_steps=200), small_data()
    trained, checkpoints, _ = run(config, data)
    fresh = np.random.default_rng(9)
    X = fresh.standard_normal((2000, 1))
    targets = np.sin(2 * X) + (0.1 + 0.3 * (X > 0)) * fresh.standard_normal(X.shape)
    gained = trained.predictor.predict(X).log_prob(targets)
    transform = checkpoints[0].choices.transforms[0]
    warm = checkpoints[0].states[0].regression.log_density(X, transform.forward(targets)) + transform.log_jacobian(
        targets
    )
    difference = gained - warm[:, 0]
    assert difference.mean() > 4 * difference.std() / np.sqrt(len(X))


def fresh_trainer(config: Config, data: TrainingData) -> Trainer:
    """Return a trainer before its first step."""
    return started(session_of(config, data))


def failing_on(monkeypatch: pytest.MonkeyPatch, *calls: int) -> list[tuple[int, float, float]]:
    """Let some of the calls that take steps fail; return the first step, the rate and the jitter of each call."""
    made: list[tuple[int, float, float]] = []
    advance = Trainer.advance

    def with_failures(trainer: Trainer, num_steps: int) -> Any:
        compiled = trainer._compiled

        def step(X: Any, Y: Any, first: Any, rate: Any) -> Any:
            made.append((int(first), float(rate), float(gp_layers(trainer.model)[0].jitter.numpy())))
            return compiled(X, Y, first, rate) * (np.nan if len(made) in calls else 1.0)

        with monkeypatch.context() as patch:
            patch.setattr(trainer, "_compiled", step)
            return advance(trainer, num_steps)

    monkeypatch.setattr(Trainer, "advance", with_failures)
    return made


def test_steps_that_fail_are_taken_again_smaller_from_where_they_began(monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = small_config(max_steps=75), small_data()
    calls = failing_on(monkeypatch, 2, 3)
    trained, checkpoints, reports = run(config, data)
    expected = [(0, 1.0, 1e-6), (25, 1.0, 1e-6), (25, 0.5, 1e-5), (25, 0.25, 1e-4), (50, 0.25, 1e-4)]
    np.testing.assert_allclose(calls, expected, rtol=1e-12)
    assert [one.steps for one in trained.trainings] == [75]
    warnings = [report.message for report in reports if report.stage == "warning"]
    assert len(warnings) == 2
    assert "not finite after step 25. Retry 1 of 5 from that step, with steps of 0.5 of" in warnings[0]
    assert "Retry 2 of 5 from that step, with steps of 0.25 of their size and a jitter of 0.0001" in warnings[1]
    assert [report.retries for report in reports if report.stage == "training"] == [0, 2, 2]
    assert [checkpoint.states[0].state["retries"] for checkpoint in checkpoints[2:-1]] == [2, 2]


def test_a_training_resumed_after_a_failure_ends_in_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = small_config(max_steps=75), small_data()
    with monkeypatch.context() as patch:
        failing_on(patch, 2)
        expected, checkpoints, _ = run(config, data)
    untroubled, _, _ = run(config, data)
    (after,) = [checkpoint for checkpoint in checkpoints if progress(checkpoint) == (0, 50)]
    resumed, _, _ = run(config, data, checkpoint=after)
    assert_same_bytes(resumed.predictor, expected.predictor)
    with pytest.raises(AssertionError):
        assert_same_bytes(untroubled.predictor, expected.predictor)


def not_positive() -> Any:
    """Fail as a training does whose covariance has become indefinite."""
    return tf.reduce_sum(inverse_factor(-tf.eye(2, dtype=tf.float64)))


@pytest.mark.parametrize("failure", ["not finite", "Cholesky"])
def test_a_training_that_always_fails_says_what_was_tried(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = fresh_trainer(small_config(), small_data())
    before = trainer.state()
    result = {"not finite": lambda *_: tf.constant([np.nan]), "Cholesky": tf.function(lambda *_: not_positive())}
    monkeypatch.setattr(trainer, "_compiled", result[failure])
    events = []
    with pytest.raises(NumericalError) as error:
        events.extend(fit(trainer))
    (line,) = error.value.faults
    assert error.value.exit_code == 4
    assert line.startswith("training: the bound and all parameters must be finite; got nan after step 0, ")
    assert "also in 5 retries with steps down to 0.031 of their size and a jitter of 0.001." in line
    assert "lower training.learning_rate" in line
    after = trainer.state()
    np.testing.assert_array_equal(after["variable.0"], before["variable.0"])
    assert after["retries"] == 5


def test_a_warm_start_without_a_cholesky_factor_is_replaced_by_its_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(warm_start, "maximise_bound", failing)
    trained, checkpoints, reports = run(small_config(), small_data())
    (warning,) = [report.message for report in reports if report.stage == "warning"]
    assert "the warm start has failed (not positive definite)" in warning
    assert (checkpoints[1].states[0].regression.q_mu == 0).all()
    assert np.isfinite(trained.predictor.predict(np.zeros((1, 1))).log_prob(np.zeros((1, 1)))).all()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("pybind11::error_already_set: ORIGINAL InvalidArgumentError REPLACED BY KeyboardInterrupt", KeyboardInterrupt),
        ("something else", RuntimeError),
    ],
)
def test_an_interruption_while_tensorflow_raises_is_one_and_no_bug(
    message: str, expected: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: Any) -> Any:
        raise RuntimeError(message)

    trainer = fresh_trainer(small_config(), small_data())
    monkeypatch.setattr(trainer, "_compiled", raising)
    with pytest.raises(expected):
        trainer.advance(5)


def test_every_epoch_deals_each_row_once_in_an_order_of_its_own() -> None:
    config, data = small_config(batch_size=20), small_data()
    trainer = fresh_trainer(config, data)
    batches = trainer._batches(0, 6)
    for epoch in (batches[:3], batches[3:]):
        np.testing.assert_array_equal(np.sort(epoch.ravel()), np.arange(60))
    assert not np.array_equal(batches[:3], batches[3:])
    np.testing.assert_array_equal(trainer._batches(4, 2), batches[4:6])


def test_a_batch_begins_where_the_one_before_ended_also_in_the_next_epoch() -> None:
    trainer = fresh_trainer(small_config(batch_size=25), small_data())
    batches, epochs = trainer._batches(0, 12), [trainer._epoch(epoch) for epoch in range(5)]
    np.testing.assert_array_equal(batches.ravel(), np.concatenate(epochs))
    np.testing.assert_array_equal(trainer._batches(2, 7), batches[2:9])


@pytest.mark.parametrize(
    ("num_rows", "num_validation_rows", "expected"),
    [(100, 0, 4), (100, 10, 4), (9000, 0, 2), (9000, 900, 1), (20_000, 0, 1)],
)
def test_the_number_of_members_follows_the_number_of_rows(
    num_rows: int, num_validation_rows: int, expected: int
) -> None:
    automatic, three = small_config(ensemble="auto").training, small_config(ensemble=3).training
    assert automatic.resolved_ensemble(num_rows, num_validation_rows=num_validation_rows) == expected
    assert three.resolved_ensemble(num_rows, num_validation_rows=num_validation_rows) == 3


@pytest.mark.parametrize(
    ("num_rows", "num_validation_rows", "training", "expected"),
    [
        (100, 0, {}, 10),
        (100, 5, {}, 0),
        (9000, 0, {}, 900),
        (30_000, 0, {}, 0),
        (30_000, 0, {"ensemble": 4}, 0),
        (100, 0, {"ensemble": 1}, 0),
        (1999, 0, {"ensemble": 1}, 0),
        (2000, 0, {"ensemble": 1}, 200),
        (100, 0, {"calibration": {"enabled": False}}, 0),
        (9000, 0, {"calibration": {"enabled": False}}, 900),  # which choose the step
        (9000, 0, {"calibration": {"enabled": False}, "early_stopping": {"enabled": False}}, 0),
        (100, 0, {"calibration": {"enabled": False, "left_out": 0.2}}, 0),
        (9000, 0, {"calibration": {"left_out": 0.2}}, 1800),
        (9000, 5, {"calibration": {"left_out": 0.2}}, 0),
        (3, 0, {"calibration": {"left_out": 0.9}}, 1),
    ],
)
def test_how_many_rows_a_member_leaves_out(
    num_rows: int, num_validation_rows: int, training: dict[str, Any], expected: int
) -> None:
    settings = small_config(**{"ensemble": "auto", **training}).training
    assert settings.resolved_left_out(num_rows, num_validation_rows=num_validation_rows) == expected


def test_a_rounded_target_is_told_and_no_noise_falls_below_that_of_its_rounding() -> None:
    exact = small_data()
    data = replace(exact, targets=np.round(exact.targets))
    trained, checkpoints, reports = run(small_config(max_steps=25), data)
    (found,) = trained.rounded
    floor = 1 / 12 / data.targets.var()
    assert (found.step, found.variance) == (1.0, pytest.approx(floor))
    assert [report.message for report in reports if report.stage == "warning"] == [found.warning()]
    posterior = trained.predictor.factors[0].members[0]
    defence = posterior.defence
    assert defence is not None
    for noise in (posterior.noise.variance, checkpoints[0].states[0].regression.noise, defence.noise):
        assert noise[0] >= floor
    target = {"column": "y", "transform": {"kind": "identity"}, "rounding": 0}
    config = small_config(max_steps=25).model_dump() | {"data": {"path": "x.csv", "inputs": ["x"], "targets": [target]}}
    free, _, reports = run(Config.model_validate(config), data)
    assert (free.rounded, [report for report in reports if report.stage == "warning"]) == ((), [])
    assert run(small_config(max_steps=25), exact)[0].rounded == ()


@pytest.mark.parametrize(
    ("num_rows", "noise", "max_steps", "batch_size", "kl_weight"),
    [(100, 0.2, 300, 100, 1.0), (100, 0.1, 300, 100, 0.3), (1800, 0.2, 700, 256, 0.3), (9000, 0.2, 1300, 512, 0.3)],
)
def test_auto_settings_follow_the_number_of_rows(
    num_rows: int, noise: float, max_steps: int, batch_size: int, kl_weight: float
) -> None:
    config = small_config(max_steps="auto", calibration={"enabled": False}, early_stopping={"enabled": False})
    plan = plan_trainings(config, num_rows=num_rows, num_validation_rows=0, num_features=1)
    assert config.training.resolved_kl_weight(num_rows, noise=noise) == kl_weight
    assert (plan.max_steps, plan.batch_size) == (max_steps, batch_size)
    assert ("weight of the KL" in plan.left_open) == (num_rows < 500)
    np.testing.assert_allclose(plan.natural_step, 0.05 * batch_size / num_rows)


def chained_without_validation(**training: Any) -> tuple[Config, TrainingData]:
    """The chain, whose members leave out rows as none validate."""
    config, data = chained(**training)
    return config, replace(data, X_validation=data.features.X[:0], targets_validation=data.targets[:0])


@functools.cache
def leaving_out_run() -> tuple[Trained, list[Checkpoint], list[Progress]]:
    """Train it, once for all tests that look at it or compare another training with it."""
    return run(*chained_without_validation())


@pytest.mark.slow
def test_each_member_of_a_small_ensemble_leaves_out_other_rows_and_is_calibrated_on_them() -> None:
    config, data = chained_without_validation()
    trained, checkpoints, _ = leaving_out_run()
    session = session_of(config, data)
    unseen = []
    for index in (0, 1):
        first, second = (
            as_member_sees(session.factors[place], session.plan, index, seed=config.seed).data for place in (0, 1)
        )
        for own in (first, second):
            assert (len(own.features), len(own.X_validation)) == (54, 6)
        rows = np.concatenate([first.features.X, first.X_validation])
        np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(data.features.X, axis=0))
        unseen.append(first.X_validation[:, 0])
    assert not set(unseen[0]) & set(unseen[1])
    assert [calibration.num_rows for calibration in trained.calibrations] == [12, 12]
    for factor, calibration in zip(trained.predictor.factors, trained.calibrations, strict=True):
        assert [member.spread for member in factor.members] == [calibration.spread] * 2
    assert [one.kept_step for one in trained.trainings] == [one.steps for one in trained.trainings], "the last steps"
    resumed, _, _ = run(config, data, checkpoint=reread(checkpoints[6]))
    assert_same_bytes(trained.predictor, resumed.predictor)


@pytest.mark.slow
def test_members_leave_out_whole_groups_if_the_split_keeps_these_together() -> None:
    config, data = chained_without_validation()
    groups = np.repeat(np.arange(12), 5)
    data = replace(data, groups=np.random.default_rng(4).permutation(groups))
    plan = plan_trainings(config, num_rows=60, num_validation_rows=0, num_features=1)
    left_out = [left_out_rows(data, plan, member, seed=config.seed) for member in (0, 1)]
    for rows in left_out:
        assert len(rows) == 5, "as many groups as fit into six rows"
        assert len(set(data.groups[rows])) == 1
    assert not set(left_out[0]) & set(left_out[1])
    trained, _, _ = run(config, data)
    assert [calibration.num_rows for calibration in trained.calibrations] == [10, 10]
    large = replace(data, groups=np.minimum(np.arange(60) // 50, 1))
    assert len(set(left_out_rows(large, plan, 0, seed=0)) & set(range(50))) == 0, "most rows are of one group"
    alone = replace(data, groups=np.zeros(60, int))
    assert len(left_out_rows(alone, plan, 0, seed=0)) == plan.num_left_out


@pytest.mark.slow
def test_many_rows_that_a_member_leaves_out_choose_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = chained_without_validation(early_stopping={"every": 10})
    judged: list[tuple[float, np.ndarray]] = []

    def spy(posterior: Posterior, rows: TrainingData, *, seed: int) -> float:
        judged.append((score := validation_score(posterior, rows, seed=seed), rows.X_validation))
        return score

    few = plan_trainings(config, num_rows=len(data.features), num_validation_rows=0, num_features=1)
    assert (few.num_left_out, few.validates) == (6, False), "few rows choose nothing"
    monkeypatch.setattr(training_config, "FEWEST_JUDGES", len(data.features) // 10)
    trained, _, _ = run(config, data, judge=spy)
    session = session_of(config, data)
    for place, one in enumerate(trained.trainings):
        own = judged[3 * place : 3 * place + 3]  # before the first step, and after 25 and 30
        left_out = as_member_sees(
            session.factors[place // 2], session.plan, place % 2, seed=config.seed
        ).data.X_validation
        assert all(np.array_equal(rows, left_out) for _, rows in own)
        assert one.kept_step == (0, 25, 30)[int(np.argmax([score for score, _ in own]))]
    assert len(judged) == 3 * len(trained.trainings)


@pytest.mark.slow
def test_the_target_of_a_row_left_out_takes_no_part_in_its_member() -> None:
    config, data = chained_without_validation()
    session = session_of(config, data)
    left_out = member_data(session, 0, 0).X_validation[:, 0]
    row = int(np.flatnonzero(data.features.X[:, 0] == left_out[0])[0])
    other = data.targets.copy()
    # Another row takes its value in exchange, so that the standardisation, which all rows have a part in, stays.
    unseen = int(np.flatnonzero(data.features.X[:, 0] == left_out[1])[0])
    other[[row, unseen]] = other[[unseen, row]]
    first, second = leaving_out_run()[0].trainings, run(config, replace(data, targets=other))[0].trainings
    terms = [[one.posterior.output_terms[0].q_mu for one in trainings] for trainings in (first, second)]
    same = [np.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(*terms, strict=True)]
    assert same == [True, False, True, False], "factor by factor, member by member"


@pytest.mark.slow
def test_at_most_so_many_rows_judge_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = chained_run()[1][-1]
    monkeypatch.setattr(session_module, "CALIBRATION_ROWS", 7)
    trained, _, _ = run(*chained(), checkpoint=finished)
    assert [calibration.num_rows for calibration in trained.calibrations] == [7, 7], "however many members there are"


def test_validation_rows_calibrate_where_there_are_some_and_nothing_does_where_it_is_switched_off() -> None:
    trained, checkpoints, _ = chained_run()
    rows_of_members = [calibration.num_rows for calibration in trained.calibrations]
    assert rows_of_members == [20, 20], "each row once, by one of two members"
    config, data = chained(calibration={"enabled": False})
    off, _, _ = run(config, data, checkpoint=checkpoints[-1])
    assert [(calibration.spread, calibration.num_rows) for calibration in off.calibrations] == [(1.0, 0)] * 2
    assert off.predictor.factors[0].members[0].spread == 1.0


def test_the_unit_of_distances_is_from_the_validation_rows_and_there_is_none_where_no_warm_start_is_fitted() -> None:
    trained, checkpoints, _ = chained_run()
    unseen = chained()[1].X_validation
    distances = trained.predictor.distance(unseen)
    assert distances is not None
    assert trained.distance_unit is not None
    assert np.quantile(distances, 0.8) < trained.distance_unit
    assert (distances > trained.distance_unit).sum() <= 1
    config, data = chained(calibration={"enabled": False})
    assert run(config, data, checkpoint=checkpoints[-1])[0].distance_unit == trained.distance_unit
    config, data = chained(warm_start={"enabled": False})
    assert run(config, data, checkpoint=checkpoints[-1])[0].distance_unit is None


def test_the_manifest_names_the_trainings_that_have_retried() -> None:
    plan = session_of(small_config(ensemble=2), small_data()).plan
    history = [{"training": 0, "step": 25}, {"training": 1, "step": 25, "retries": 1}, {"training": 1, "retries": 2}]
    (warning,) = retry_warnings(history, plan)
    assert warning.startswith(f"training {plan.units[1].name}: steps have failed numerically")
    assert "(2 retries, in history.jsonl)" in warning
    assert retry_warnings(history[:1], plan) == []


def test_a_matrix_that_cannot_be_factorised_is_no_bug() -> None:
    with (
        pytest.raises(NumericalError, match="expected matrices that can be factorised; got one that cannot"),
        numerical_failures(),
    ):
        np.linalg.cholesky(-np.eye(2))


@pytest.mark.slow
def test_cde_train_ends_with_4_where_every_retry_fails(
    tiny_run: TrainedTiny, cde: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_on(monkeypatch, *range(2, 100))
    outcome = cde("train", tiny_run.config, "--out", tmp_path / "run", "--quiet")
    assert outcome.code == 4
    *retries, error = [line for line in outcome.err.splitlines() if "after step 25" in line]
    assert [line.partition("Retry ")[2][:6] for line in retries] == [f"{number} of 5" for number in range(1, 6)]
    assert error.startswith("error: training: the bound and all parameters must be finite; got nan after step 25")
    assert sum("[warning] numbers" in line for line in (run_log(tmp_path / "run")).splitlines()) == 5


def run_log(run: Path) -> str:
    """Return the log of a run that has not finished."""
    (log,) = run.rglob("log.txt")
    return log.read_text()
