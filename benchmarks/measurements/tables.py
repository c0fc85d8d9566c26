"""Made-up tables on disk, and the memory that the log densities of their rows take."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np

ROWS_AT_ONCE = 100_000


def write(path: Path, num_rows: int, num_features: int, seed: int) -> None:
    """Write a CSV of features x0, x1, ... and a target y that bends, branches and scatters with them."""
    import pyarrow as pa
    from pyarrow import csv

    names = [*(f"x{index}" for index in range(num_features)), "y"]
    schema = pa.schema([(name, pa.float64()) for name in names])
    random = np.random.default_rng([seed, 3])
    with csv.CSVWriter(path, schema) as writer:
        for start in range(0, num_rows, ROWS_AT_ONCE):
            columns = random.standard_normal((min(ROWS_AT_ONCE, num_rows - start), num_features))
            noise = random.standard_normal((len(columns), 2))
            bend, spread = np.sin(2 * columns[:, 0]), np.exp(0.5 * columns[:, 1])
            y = bend + 0.5 * np.sign(noise[:, 0]) + 0.1 * spread * noise[:, 1]
            table = np.column_stack([columns, y]).round(4)
            writer.write_table(pa.table(dict(zip(names, table.T, strict=True)), schema=schema))


def density_peak(run: Path, num_rows: int) -> float:
    """Return this process's largest resident set [GB] after the log density of so many rows, all at once."""
    from cde_app.runs.run import Run
    from cde_app.trained_model import TrainedModel

    model = TrainedModel.load(Run.open(run))
    random = np.random.default_rng(0)
    X = random.standard_normal((num_rows, len(model.contract.inputs)))
    targets = random.standard_normal((num_rows, 1))
    model.predictor.predict(X).log_prob(targets)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
