"""A training by `cde`'s default settings, watched: how long until the test log density passes a score."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd

from cde_app.config import Config
from cde_app.data.encoding import encode_inputs
from cde_app.data.prepared import PreparedTable, prepare_training
from cde_app.execution.executor import Serial, ThisProcess
from cde_app.machine.blocks import one_blas_thread
from cde_app.machine.threads import spread_operations
from cde_app.plan import plan_trainings
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.predictor import assemble_predictor
from cde_app.training.checkpoint import Checkpoint
from cde_app.training.choices import choose
from cde_app.training.export import export_posterior
from cde_app.training.features import Axis, Features
from cde_app.training.loop import STEPS_PER_CALL
from cde_app.training.member import prepare, start_defence, warm_start
from cde_app.training.rows import TrainingData
from cde_app.training.session import Session
from measurements.panel_table import Clock, load
from measurements.processes import Options, seconds


@one_blas_thread()
def train(options: Options, table: str, seed: int, score: float, asked: float) -> dict[str, float]:
    """Train the first member of the default ensemble until it passes the score.

    The clock runs from the choice of the target's transform over the warm start to the last step. It stands still while
    the step is compiled, and while a look is taken at the test rows, which the training never sees: before the first
    step, and after every call of `advance`.

    Args:
        options: where the data is.
        table: its name.
        seed: of the run.
        score: the test log density to pass [nats per row, user's units].
        asked: when the process was asked for [seconds since the epoch].

    Returns:
        Seconds of imports, compiling and training; those of the steps alone, at least of one call of `advance`; the
        last score, above the given one if it passed; steps.
    """
    spread_operations()
    imports = time.time() - asked
    train_rows, test_rows, settings = load(options, table)
    inputs, targets = settings["features"], settings["targets"]
    with tempfile.TemporaryDirectory() as name:  # the arrays in it outlive it, as they are mapped
        folder = Path(name)
        prepared, config = prepare_table(train_rows, inputs, targets, seed, folder)
        X_test, Y_test = encode_inputs(prepared.contract, test_rows, source=table), test_rows[targets].to_numpy(float)
        data = training_data(prepared)
        clock = Clock()
        plan = plan_trainings(
            config,
            num_rows=len(data.features),
            num_validation_rows=len(data.X_validation),
            num_features=data.features.num_features,
        )
        ignore = lambda *_: None  # noqa: E731
        begin_with = Checkpoint(choose(config, data, ignore), (None,) * len(plan.units))
        session = Session(config, plan, data, begin_with, scratch=folder, executor=Serial(), save=ignore, report=ignore)
    work = session.remaining()[1][0]
    factor = work.open()
    current = warm_start(work, factor, ThisProcess())
    trainer = prepare(config, plan, factor, current, seed=config.seed, previous=None)
    clock.stop()
    compiling, begin = Clock(), trainer.state()
    trainer.advance(STEPS_PER_CALL)
    compiling.stop()
    trainer.restore(begin)

    def look() -> float:
        posterior = export_posterior(
            trainer.model,
            config.model,
            factor.transforms,
            start_defence(config, factor, current),
            num_components=config.predict.num_components,
            seed=config.seed,
        )
        predictor = assemble_predictor(
            session.neighbours, (Ensemble((posterior,)),), (0,), num_components=0, seed=config.seed
        )
        return float(predictor.predict(X_test).log_prob(Y_test).mean())

    found, steps, stepping = look(), 0, 0.0
    while found <= score and trainer.step < trainer.schedule.max_steps:
        stepping += seconds(lambda: trainer.advance(STEPS_PER_CALL))
        found, steps = look(), trainer.step
    return {
        "imports": imports,
        "compiling": compiling.elapsed,
        "training": clock.elapsed + stepping,
        "from_first_step": stepping or seconds(lambda: trainer.advance(STEPS_PER_CALL)),
        "score": found,
        "steps": steps,
    }


def prepare_table(
    rows: pd.DataFrame, inputs: list[str], targets: list[str], seed: int, folder: Path
) -> tuple[PreparedTable, Config]:
    """Return the training rows as `cde train` prepares them in a folder, none held out for a test."""
    path = folder / "train.csv"
    rows.to_csv(path, index=False)
    split = {"kind": "random", "test": 0}
    data = {"path": str(path), "inputs": inputs, "targets": targets, "split": split}
    config = Config.model_validate({"schema_version": 1, "seed": seed, "data": data})
    return prepare_training(config, folder), config


def training_data(table: PreparedTable) -> TrainingData:
    """Return the rows that a training sees."""
    fitted, held_out = table.split.train, table.split.validation
    axes = tuple(Axis(column.name, feature.scale) for column in table.contract.inputs for feature in column.features)
    return TrainingData(
        Features(table.inputs[fitted], axes),
        table.targets[fitted],
        table.inputs[held_out],
        table.targets[held_out],
    )
