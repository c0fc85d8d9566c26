"""A thousand predictions in one process leave its memory, its files and its threads as they were.

A service that predicts for weeks must not grow. The first calls are warm-up: imports, caches and the pools of the
allocator. `tests/test_explore.py` does the same for the server of `cde explore`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import RUNS, STORED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]
RUN = RUNS[-1].parent / "chain/run"
ALLOWED = 2.0
"""Growth of the memory [MB]; 0.3 is usual. A forecast that has been asked holds 21 kB beside the model: if one per call
were kept, 900 would be 19 MB, and 200 would be 4 MB."""
WATCH = """
import gc, json, os, sys
from pathlib import Path

def resources():
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1:] for line in lines}
    own = sum(int(values[name][0]) for name in ("RssAnon", "VmSwap"))  # pages of files come and go
    return {"memory": own / 1024, "files": len(os.listdir("/proc/self/fd")), "threads": int(values["Threads"][0])}

def watch(call, warm_up, calls):
    for _ in range(warm_up):
        call()
    before = resources()
    for _ in range(calls):
        call()
    print(json.dumps([before, resources()]))
"""
LIBRARY = """
import pandas as pd
import cde_app

model, frame = cde_app.load(sys.argv[1]), pd.read_csv(sys.argv[2])
kept = []

def call():
    forecast = model.predict(frame)
    forecast.mean(), forecast.quantile([0.05, 0.5, 0.95]), forecast.log_prob(frame), forecast.sample(10, seed=1)
    if "keep" in sys.argv:
        kept.append(forecast)

watch(call, 100, 900)
"""
COMMAND = """
from cde_app.workflow.predict import predict_table
from cde_app.workflow.prediction_options import PredictionOptions

options, paths = PredictionOptions(), [Path(text) for text in sys.argv[1:4]]
watch(lambda: predict_table(*paths, options, overwrite=True), 50, 200)
"""


def resources_of(script: str, *arguments: object) -> tuple[dict[str, float], dict[str, float]]:
    """Return memory [MB], open files and threads of a process after its warm-up and at its end."""
    command = [sys.executable, "-c", WATCH + script, *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout.splitlines()[-1])
    return before, after


def test_a_thousand_forecasts_in_one_process_leave_it_as_it_was() -> None:
    before, after = resources_of(LIBRARY, RUN, STORED / "new.csv")
    assert after["memory"] - before["memory"] < ALLOWED
    assert (after["files"], after["threads"]) == (before["files"], before["threads"])


def test_forecasts_that_are_kept_are_found() -> None:
    before, after = resources_of(LIBRARY, RUN, STORED / "new.csv", "keep")
    assert after["memory"] - before["memory"] > ALLOWED


def test_two_hundred_written_predictions_in_one_process_leave_it_as_it_was(tmp_path: Path) -> None:
    before, after = resources_of(COMMAND, RUN, STORED / "new.csv", tmp_path / "out")
    assert after["memory"] - before["memory"] < ALLOWED
    assert (after["files"], after["threads"]) == (before["files"], before["threads"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", "samples.csv", "summary.csv"}
