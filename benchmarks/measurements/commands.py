"""What a user sees of the command line: how soon it answers, and how much memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from measurements.processes import Options, cde, in_fresh_process, in_turn, run
from measurements.record import Bar, Comparison, Record, ratios

NUM_FEATURES = 8
TRAINING_ROWS = 2500
COLD_ROWS = 100
DENSITY_ROWS = 100_000
PREDICTED_ROWS = (50_000, 500_000, 5_000_000)
TRAINED_ROWS = (50_000, 500_000)
PARTITION_ROWS = 50_000
SMALL_MODEL = (
    "model.layers=[]",
    "model.neighbours.enabled=false",
    "model.output.num_inducing=16",
    "model.output.num_inducing_latent=8",
    "predict.num_components=16",
)
"""For five million rows in minutes; what a model holds does not depend on the rows that it predicts."""
STUB = """import os, time
with open(os.environ["STUB_FILE"], "w") as file:
    file.write(repr(time.monotonic()))
raise ImportError("a stub")
"""


@contextmanager
def trained_run(*overrides: str) -> Iterator[Path]:
    """Yield a folder with a finished run of the default model, but for the overrides and a few steps, and table.csv."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder, TRAINING_ROWS)
        settings = ("training.max_steps=50", *overrides)
        options = [part for setting in settings for part in ("--set", setting)]
        run(cde("train", folder / "config.yaml", "--out", folder / "run", "--quiet", *options))
        yield folder


def write_config(folder: Path, num_rows: int, *, partition_rows: int | None = None) -> None:
    """Write a table, or a folder of partitions, and its five-line configuration."""
    if partition_rows is None:
        in_fresh_process("tables", "write", folder / "table.csv", num_rows, NUM_FEATURES, 0)
    else:
        (folder / "parts").mkdir()
        for part in range(num_rows // partition_rows):
            path = folder / "parts" / f"{part:03d}.csv"
            in_fresh_process("tables", "write", path, partition_rows, NUM_FEATURES, part)
    inputs = [f"x{index}" for index in range(NUM_FEATURES)]
    data = {"path": "table.csv" if partition_rows is None else "parts/*.csv", "inputs": inputs, "targets": ["y"]}
    (folder / "config.yaml").write_text(json.dumps({"schema_version": 1, "data": data}))


def measure_start_up(options: Options) -> list[Record]:
    """Clock `cde --help`, a cold `cde predict`, and the first line of `cde train`, beside bare imports."""
    help_text = in_turn(
        {
            "cde --help [s]": lambda: run(cde("--help")).seconds,
            "import typer [s]": lambda: run([sys.executable, "-c", "import typer"]).seconds,
        },
        options.repeats,
    )
    with trained_run() as folder:
        in_fresh_process("tables", "write", folder / "new.csv", COLD_ROWS, NUM_FEATURES, 1)
        predict = cde("predict", folder / "run", folder / "new.csv", "--out", folder / "out", "--overwrite", "--quiet")
        cold = in_turn(
            {
                f"cde predict, {COLD_ROWS} rows [s]": lambda: run(predict).seconds,
                "import tensorflow [s]": lambda: run([sys.executable, "-c", "import tensorflow"]).seconds,
            },
            options.repeats,
        )
        lines = [first_line(folder) for _ in range(options.repeats)]
    return [
        Comparison(
            "start_up_help",
            "cde --help / import typer",
            ratios(*help_text.values()),
            raw=help_text,
            bar=Bar("at most", 3),
        ),
        Comparison(
            "start_up_predict",
            f"cold cde predict of {COLD_ROWS} rows, start included / import tensorflow",
            ratios(*cold.values()),
            raw=cold,
            bar=Bar("below", 1 / 3),
        ),
        Comparison(
            "start_up_train",
            "cde train: first progress line / first import of TensorFlow, both since the start of the process",
            [line / tensorflow for line, tensorflow in lines],
            raw={
                "first line [s]": [line for line, _ in lines],
                "TensorFlow asked for [s]": [tensorflow for _, tensorflow in lines],
            },
            bar=Bar("below", 1.0),
        ),
    ]


def first_line(folder: Path) -> tuple[float, float]:
    """Return when `cde train` writes its first line to standard error, and when it imports TensorFlow [s].

    In TensorFlow's place it finds a stub that notes the time and fails.
    """
    stubs = folder / "stubs"
    (stubs / "tensorflow").mkdir(parents=True, exist_ok=True)
    (stubs / "tensorflow" / "__init__.py").write_text(STUB)
    path = os.pathsep.join([str(stubs), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "STUB_FILE": str(folder / "stub.txt")}
    command = [str(part) for part in cde("train", folder / "config.yaml", "--out", folder / "stubbed", "--overwrite")]
    started = time.monotonic()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stderr.readline() if process.stderr else ""
        told = time.monotonic()
        process.communicate()
    if not line.startswith("["):
        raise RuntimeError(f"cde train: expected a progress line first; got {line!r}")
    return told - started, float((folder / "stub.txt").read_text()) - started


def measure_density_memory(options: Options) -> list[Record]:
    """Read the peak of a process that computes the log density of many rows at once."""
    with trained_run() as folder:
        peaks = [
            in_fresh_process("tables", "density_peak", folder / "run", DENSITY_ROWS) for _ in range(options.repeats)
        ]
    return [
        Comparison(
            "density_memory",
            f"peak resident set of a process that loads a run of the default model and computes the log density of "
            f"{DENSITY_ROWS} rows in one call",
            peaks,
            unit="GB",
            bar=Bar("below", 1.5),
        )
    ]


def measure_predict_memory(options: Options) -> list[Record]:
    """Read the peak of `cde predict` for ever larger tables."""
    sizes = options.sizes(PREDICTED_ROWS)
    with trained_run(*SMALL_MODEL) as folder:
        for num_rows in sizes:
            in_fresh_process("tables", "write", folder / f"{num_rows}.csv", num_rows, NUM_FEATURES, 1)

        def peak(num_rows: int) -> float:
            table, out = folder / f"{num_rows}.csv", folder / "out"
            return run(
                cde("predict", folder / "run", table, "--out", out, "--overwrite", "--quiet", "--samples", "0")
            ).peak_gigabytes

        sides = {f"{num_rows} rows [GB]": lambda num_rows=num_rows: peak(num_rows) for num_rows in sizes}
        raw = in_turn(sides, 1)
    peaks = [values[0] for values in raw.values()]
    return [
        Comparison(
            "predict_memory",
            f"peak resident set of cde predict, most / least over {listed(sizes)} rows of CSV; once each",
            [max(peaks) / min(peaks)],
            raw=raw,
            bar=Bar("at most", 1.1),
        )
    ]


def measure_train_memory(options: Options) -> list[Record]:
    """Read the peak of `cde train` for ever more partitions."""
    raw: dict[str, list[float]] = {}
    sizes = options.sizes(TRAINED_ROWS)
    for num_rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_config(folder, num_rows, partition_rows=PARTITION_ROWS)
            command = cde("train", folder / "config.yaml", "--out", folder / "run", "--quiet")
            raw[f"{num_rows} rows [GB]"] = [run([*command, "--set", "training.max_steps=50"]).peak_gigabytes]
    few, many = raw.values()
    return [
        Comparison(
            "train_memory",
            f"peak resident set of cde train, {sizes[1]} / {sizes[0]} rows of {NUM_FEATURES} features in "
            f"partitions of {PARTITION_ROWS}; once each, {median(many):.2f} GB for the larger",
            ratios(many, few),
            raw=raw,
        )
    ]


def listed(numbers: tuple[int, ...]) -> str:
    """Write numbers with commas between them."""
    return ", ".join(f"{number:,}".replace(",", " ") for number in numbers)
