"""Compare the predictions of two trees of the package: how fast they are, and whether they are the same.

    python benchmarks/predict_rows.py OLD NEW --run RUN --table TABLE --rows 10000

`OLD` and `NEW` are folders with `cde_app`; both load the same stored run. Each part of a prediction is clocked in fresh
processes, A B A B, and the ratios are taken pair by pair. The rows of the table are repeated up to the number asked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LEVELS = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)
PRODUCT_SIZES = ((2048, 2048, 2048), (512, 128, 128))


def main() -> None:
    """Run the comparison, or one side of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=Path, help="the older tree, then the newer one")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arrays", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arrays:
        print(json.dumps(one_side(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{side}.npz") for side in ("old", "new")]
        sides: list[list[dict[str, float]]] = [[], []]
        for _ in range(options.repeats):
            for found, tree, arrays in zip(sides, options.trees, files, strict=True):
                found.append(run_side(tree, arrays, options))
        for name in sides[0][0]:
            old, new = ([facts[name] for facts in side] for side in sides)
            ratios = [a / b for a, b in zip(old, new, strict=True)]
            medians = statistics.median(old), statistics.median(new), statistics.median(ratios)
            print(f"{name:28s} {medians[0]:9.3f} {medians[1]:9.3f}  ratio {medians[2]:.2f}")
        print_differences(*(np.load(file) for file in files))


def run_side(tree: Path, arrays: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return what a fresh process of a tree measures."""
    words = [__file__, str(tree), "--run", options.run.resolve(), "--table", options.table.resolve()]
    words += ["--rows", options.rows, "--arrays", arrays]
    environment = os.environ | {"PYTHONPATH": str(tree.resolve())}
    done = subprocess.run([sys.executable, *map(str, words)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    facts: dict[str, float] = json.loads(done.stdout)
    return facts


def one_side(options: argparse.Namespace) -> dict[str, float]:
    """Clock the parts of a prediction and the whole command; store the forecast of the table's first rows."""
    import pandas as pd

    from cde_app.data.encoding import encode_inputs
    from cde_app.gp.sparse_gp import SparseGP
    from cde_app.runs.run import Run
    from cde_app.trained_model import TrainedModel

    model = TrainedModel.load(Run.open(options.run))
    table = pd.read_csv(options.table, dtype=str)
    with tempfile.TemporaryDirectory() as folder:
        long = table.iloc[np.arange(options.rows) % len(table)].reset_index(drop=True)
        long.to_csv(Path(folder, "table.csv"), index=False)
        words = ["predict", options.run, Path(folder, "table.csv"), "--out", Path(folder, "out"), "--samples", "0"]
        seconds = {"cde predict [s]": clock(lambda: command(words))}
    X = encode_inputs(model.contract, long, source="table")
    targets = long[list(model.contract.targets)].to_numpy(float)
    flops = [0.0]
    moments = SparseGP.moments

    def counted(gp: SparseGP, X: np.ndarray, *drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        num_inducing, width = gp.inducing_inputs.shape
        flops[0] += 2.0 * len(X) * num_inducing * (width + 2 + gp.num_gps * (num_inducing + 1))
        return moments(gp, X, *drawn)

    model.predictor.predict(X[:50]).mean()
    some = min(options.rows, 2000)  # a chain computes its later factors when they are asked for
    started, cpu = time.perf_counter(), time.process_time()
    forecast = model.predictor.predict(X[:some])
    forecast.mean()
    seconds["predict, mean, sd [us/row]"] = (time.perf_counter() - started) / some * 1e6
    seconds["the same, processors"] = (time.process_time() - cpu) / some * 1e6
    SparseGP.moments = counted  # type: ignore[method-assign]
    model.predictor.predict(X[:some]).mean()
    SparseGP.moments = moments  # type: ignore[method-assign]
    levels = model.settings["predict"]["quantiles"]
    seconds["quantiles [us/row]"] = clock(lambda: forecast.quantile(levels)) / some * 1e6
    seconds["log_prob [us/row]"] = clock(lambda: forecast.log_prob(targets[:some])) / some * 1e6
    seconds["products [Mflop/row]"] = flops[0] / some / 1e6
    best = max(gflops(size) for size in PRODUCT_SIZES)
    reached = flops[0] / some / seconds["the same, processors"] / 1e3
    seconds["share of one core's dgemm"] = reached / best
    few = forecast[: min(some, len(table))]
    answers = {"log_density": few.log_prob(targets[: len(few)]), "cdf": few.cdf(targets[: len(few)])}
    np.savez(options.arrays, quantiles=few.quantile(LEVELS), mean=few.mean(), sd=few.sd(), **answers)
    return seconds


def command(words: list[object]) -> None:
    """Run `cde` in a process of its own."""
    subprocess.run([sys.executable, "-m", "cde_app", *map(str, words), "--quiet"], check=True, capture_output=True)


def gflops(size: tuple[int, int, int]) -> float:
    """Return the speed of a matrix product in double precision on one thread, the best of ten."""
    from cde_app.machine.blocks import one_blas_thread

    n, k, m = size
    left, right = np.ones((n, k)), np.ones((k, m))
    with one_blas_thread():
        return 2.0 * n * k * m / min(clock(lambda: left @ right) for _ in range(10)) / 1e9


def clock(work: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def print_differences(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> None:
    """Print how far the forecasts are apart: RMS, and at most."""
    sd = old["sd"]
    for name, unit in (("log_density", 1.0), ("cdf", 1.0), ("quantiles", sd), ("mean", sd), ("sd", sd)):
        difference = (new[name] - old[name]) / unit
        rms, most = np.sqrt(np.mean(difference**2)), np.abs(difference).max()
        ending = "" if name in ("log_density", "cdf") else " [sd]"
        print(f"{name:28s} differs by {rms:.1e} (RMS), {most:.1e} at most{ending}")


if __name__ == "__main__":
    main()
