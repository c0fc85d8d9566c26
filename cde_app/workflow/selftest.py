"""`cde selftest`: train on tables whose density is known, and measure how far the result is from the truth."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.config_file import load_config
from cde_app.data.encoding import encode_columns
from cde_app.errors import UsageError
from cde_app.evaluation.scores import mean_with_error
from cde_app.machine.rows import blocks_of
from cde_app.runs.run import Run
from cde_app.simulators import SIMULATORS, Simulator
from cde_app.trained_model import TrainedModel
from cde_app.words import listed, nearest
from cde_app.workflow.simulate import simulate
from cde_app.workflow.train import train_run

FRESH_ROWS = 4000
SEED, FRESH_SEED = 1, 2
STANDARD_ERRORS = 4.0
"""By which a gap may exceed its bar before it is accused, and fall below 0 before the comparison itself is."""
QUICK = ("bimodal", "heteroscedastic", "skewed", "independent")
ROWS = {False: 1000, True: 2000}
CHECK_ROWS = 200
CHECK_SETTINGS = ("training.ensemble=1", "training.max_steps=100", "model.output.num_inducing=20")
CHECK_LOG_SCORE = -0.634
"""What this training scored; other seeds scored between -0.63 and -0.58, the truth -0.39, no use of x -1.08."""
CHECK_TOLERANCE = 0.05
BARS = {False: 0.1, True: 0.06}
"""The largest gaps [nats per row]: about 1.6 times those of the worst kinds, 0.057 (bimodal) and 0.039 (ring). A
straight line with normal noise is at least 0.3 from the truth of every kind."""
MINUTES_PER_TRAINING = {False: 0.5, True: 0.75}


def kinds_to_test(names: Sequence[str] | None, *, everything: bool) -> list[str]:
    """Return the kinds to train on.

    Args:
        names: those that the user has named; None takes the default.
        everything: take every kind by default.

    Raises:
        UsageError: a name is no kind, or its table has no density to learn.
    """
    known = [kind for kind, simulator in SIMULATORS.items() if simulator.has_density]
    faults = []
    for name in names or ():
        if name in SIMULATORS and name not in known:
            faults.append(
                f"--kinds: expected a kind with a density, which the model could learn; got {name!r}, where single "
                "values have probabilities of their own. Leave it out."
            )
        elif name not in known:
            near = nearest(name, known)
            advice = f"did you mean {near!r}?" if near else "Choose among them."
            faults.append(f"--kinds: expected some of {listed(known)}; got {name!r}; {advice}")
    if faults:
        raise UsageError(*faults)
    return list(names or (known if everything else QUICK))


def expected_minutes(kinds: Sequence[str], *, everything: bool) -> str:
    """Return how long the trainings take on two cores, in words; every target is a training of its own."""
    trainings = sum(len(SIMULATORS[kind].targets) for kind in kinds)
    return f"{max(1, round(trainings * MINUTES_PER_TRAINING[everything]))} min"


def run_selftest(kinds: Sequence[str], *, everything: bool) -> Iterator[dict[str, Any]]:
    """Train with the default settings on a table of each kind, in a temporary folder.

    Args:
        kinds: keys of `SIMULATORS`.
        everything: take more rows.

    Yields:
        For each kind {"kind", "rows", "gap", "linear_gaussian_gap", "bar", "passed", "seconds"}; the gaps are means of
        log p(y | x) - log q(y | x) over fresh rows, {"value", "se"} [nats per row]. It passes if the gap is at most
        the bar, give or take chance, and not below 0, which no density can be on average.
    """
    for kind in kinds:
        started = time.monotonic()
        num_rows = ROWS[everything]
        with tempfile.TemporaryDirectory() as folder:
            model = train_on(SIMULATORS[kind], num_rows, Path(folder))
        gaps = gaps_of(model, SIMULATORS[kind])
        gap, bar = gaps["model"], BARS[everything]
        slack = STANDARD_ERRORS * (gap["se"] or 0.0)
        yield {
            "kind": kind,
            "rows": num_rows,
            "gap": gap,
            "linear_gaussian_gap": gaps["linear_gaussian"],
            "bar": bar,
            "passed": gap["value"] is not None and -slack <= gap["value"] <= bar + slack,
            "seconds": time.monotonic() - started,
        }


def self_check() -> dict[str, Any]:
    """Train for a moment on a simulated table, and compare the scores of fresh rows with those that are known.

    Returns:
        {"log_score", "expected", "tolerance", "passed", "seconds"}: the mean log density of `FRESH_ROWS` rows [nats].

    Raises:
        InstallError: TensorFlow or a package built on it is not installed.
    """
    started, simulator = time.monotonic(), SIMULATORS["bimodal"]
    with tempfile.TemporaryDirectory() as folder:
        model = train_on(simulator, CHECK_ROWS, Path(folder), CHECK_SETTINGS)
    truth = float(simulator.log_density(*simulator.draw(FRESH_ROWS, FRESH_SEED)).mean())
    gap = gaps_of(model, simulator)["model"]["value"]
    log_score = -math.inf if gap is None else truth - gap
    return {
        "log_score": log_score,
        "expected": CHECK_LOG_SCORE,
        "tolerance": CHECK_TOLERANCE,
        "passed": abs(log_score - CHECK_LOG_SCORE) <= CHECK_TOLERANCE,
        "seconds": time.monotonic() - started,
    }


def train_on(simulator: Simulator, num_rows: int, folder: Path, settings: Sequence[str] = ()) -> TrainedModel:
    """Train on rows of a simulated table in a folder; `settings` of the form `key=value` replace defaults."""
    simulate(simulator.kind, num_rows, SEED, out=folder / "table.csv", truth=None)
    data = {
        "path": "table.csv",
        "inputs": simulator.inputs,
        "targets": simulator.targets,
        "split": {"kind": "random", "test": 0},
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps({"schema_version": 1, "data": data}), encoding="utf-8")
    train_run(
        load_config(config, settings),
        folder / "run",
        resume=False,
        overwrite=False,
        on_event=lambda event: None,
        draw=False,
        score=False,
    )
    return TrainedModel.load(Run.open(folder / "run"), knows_rows=False)


def gaps_of(model: TrainedModel, simulator: Simulator) -> dict[str, dict[str, Any]]:
    """Return the mean of log p - log q of fresh rows, for the model and each baseline [nats per row]."""
    inputs, targets = simulator.draw(FRESH_ROWS, FRESH_SEED)
    truth = simulator.log_density(inputs, targets)
    X, losses = encode_columns(model.contract, inputs), dict[str, list[Any]]()
    for block in blocks_of(len(X), model.settings["predict"]["chunk_rows"]):
        for name, forecast in model.forecasts(X[block]).items():
            losses.setdefault(name, []).append(truth[block] - forecast.log_prob(targets[block]))
    return {name: mean_with_error(np.concatenate(parts)) for name, parts in losses.items()}
