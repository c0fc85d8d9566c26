"""How the time of a step, of a training and of a prediction grows with every size."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from measurements.commands import write_config
from measurements.models import Sizes, configured, configured_trainer, synthetic_rows
from measurements.prediction import predictor_of, two_layers
from measurements.processes import Options, cde, run, seconds
from measurements.record import Curve, Record

STEPS = 25
INDUCING = (32, 64, 128, 256, 512)
FEATURES = (2, 4, 8, 16, 32)
LAYERS = (0, 1, 2, 3)
DRAWS = (1, 2, 5, 10, 20)
TRAINING_ROWS = (500, 1500, 5000, 15_000, 50_000, 150_000, 500_000)
PREDICTED_ROWS = (100, 300, 1000, 3000, 10_000)
COMPONENTS = (16, 64, 256, 1024, 4096)
NUM_ROWS = 2000


def measure_steps(options: Options) -> list[Record]:
    """Clock the default model's step, one size changed at a time."""
    default = Sizes(num_rows=NUM_ROWS)
    inner = [{"num_inducing": 64}]
    panels: list[tuple[str, Sequence[int], Iterable[tuple[int, dict[str, Any], dict[str, Any]]]]] = [
        ("M inducing inputs of every GP", INDUCING, ((8, with_inducing(size), {}) for size in INDUCING)),
        ("D features", FEATURES, ((size, {}, {}) for size in FEATURES)),
        ("inner GP layers", LAYERS, ((8, {"layers": inner * size}, {}) for size in LAYERS)),
        (
            "K latent draws per row",
            DRAWS,
            ((8, {}, {"objective": {"kind": "predictive", "num_samples": size}}) for size in DRAWS),
        ),
    ]
    compared = f"default model but for one size, D = 8, batch {default.batch_size}, all cores"
    return [
        Curve(
            f"step_time_by_{size.split()[0]}",
            compared,
            figure="step_time",
            size=size,
            sizes=sizes,
            measured="milliseconds per step",
            values=[1e3 * step_seconds(*variant, options.repeats) for variant in variants],
        )
        for size, sizes, variants in panels
    ]


def with_inducing(size: int) -> dict[str, Any]:
    """Return a model whose GPs all have so many inducing inputs."""
    output = {"structure": "additive", "num_inducing": size, "num_inducing_latent": size}
    return {"layers": [{"num_inducing": size}], "output": output}


def step_seconds(num_features: int, model: dict[str, Any], training: dict[str, Any], repeats: int) -> float:
    """Return the median seconds of a step, compiled before."""
    X, Y = synthetic_rows(NUM_ROWS, num_features, seed=1)
    training = {"warm_start": {"max_steps": 5}, "batch_size": 512, **training}
    trainer = configured_trainer(configured(num_features, model, training), X, Y)
    trainer.advance(STEPS)
    return median(seconds(lambda: trainer.advance(STEPS)) / STEPS for _ in range(repeats))


def measure_training(options: Options) -> list[Record]:
    """Clock `cde train` by default settings, from the CSV to the finished run, once for each number of rows."""
    times, resolved = [], []
    for num_rows in TRAINING_ROWS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_config(folder, num_rows)
            times.append(run(cde("train", folder / "config.yaml", "--out", folder / "run", "--quiet")).seconds)
            lines = (folder / "run" / "history.jsonl").read_text().splitlines()
        history = [json.loads(line) for line in lines]
        members, steps = 1 + max(one["training"] for one in history), max(one["step"] for one in history)
        resolved.append(f"{members} x {steps}")
    return [
        Curve(
            "training_time_by_N",
            f"cde train, default settings, 8 features, start and scores included; members x steps: "
            f"{', '.join(resolved)}; all cores",
            figure="training_time",
            size="N rows of the table",
            sizes=TRAINING_ROWS,
            measured="seconds",
            values=times,
        )
    ]


def measure_prediction(options: Options) -> list[Record]:
    """Clock the mixtures' moments, log densities and 100 draws, by the number of rows and of components."""
    sizes = Sizes(num_rows=NUM_ROWS)
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    settings = two_layers(sizes)
    trainer = configured_trainer(settings, X, Y)

    def clocked(num_rows: int, num_components: int) -> float:
        predict = settings.predict.model_copy(update={"num_components": num_components})
        predictor = predictor_of(trainer.model, settings.model_copy(update={"predict": predict}), X, Y)
        rows = np.random.default_rng(3).standard_normal((num_rows, sizes.num_features))

        def whole() -> None:
            forecast = predictor.predict(rows)
            forecast.log_prob(np.zeros((num_rows, 1)))
            forecast.sample(100, seed=0)

        predictor.predict(rows[:10])
        return median(seconds(whole) for _ in range(options.repeats))

    usual = settings.predict.num_components
    compared = "moments, log density and 100 draws of every row; default layers, M = 128, all cores"
    return [
        Curve(
            "prediction_time_by_rows",
            f"{compared}, C = {usual}",
            figure="prediction_time",
            size="rows",
            sizes=PREDICTED_ROWS,
            measured="seconds",
            values=[clocked(size, usual) for size in PREDICTED_ROWS],
        ),
        Curve(
            "prediction_time_by_C",
            f"{compared}, 1000 rows",
            figure="prediction_time",
            size="C components",
            sizes=COMPONENTS,
            measured="seconds",
            values=[clocked(1000, size) for size in COMPONENTS],
        ),
    ]
