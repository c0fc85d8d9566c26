"""Compare whole trainings of two trees of the package, command by command, and say where their seconds go.

    python benchmarks/train_time.py OLD NEW CONFIG... [--repeats 2]

`OLD` and `NEW` are folders with `cde_app`. Every configuration is trained by each in turn, A B A B, in fresh processes
on all cores. The ratios of the wall clock are taken pair by pair. A stage lasts from its first line of progress to the
first line of the next one; trainings that run side by side share theirs.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGE = re.compile(r"\[([a-z ]+)\]")
START, END = "start-up", "ending of the process"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    print("| configuration | before | now | ratio |\n|---|---|---|---|")
    stages = []
    for config in options.configs:
        pairs = [[train(tree, config) for tree in (options.old, options.new)] for _ in range(options.repeats)]
        ratios = [old["wall"] / new["wall"] for old, new in pairs]
        old, new = (statistics.median(side["wall"] for side in sides) for sides in zip(*pairs, strict=True))
        name = config.parent.parent.name if config.stem == "config" else config.stem
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {old:.1f} s | {new:.1f} s | {spread} |", flush=True)
        stages.append((name, pairs[-1]))
    for name, (old, new) in stages:
        print(f"\n{name}: seconds before and now")
        for stage in dict.fromkeys([*old["stages"], *new["stages"]]):
            print(f"  {stage:24s} {old['stages'].get(stage, 0.0):6.1f} {new['stages'].get(stage, 0.0):6.1f}")


def train(tree: Path, config: Path) -> dict:
    """Train in a fresh process; return the seconds of the whole and of each stage."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    environment |= {"PYTHONPATH": str(tree.resolve())}
    environment.pop("CDE_EXECUTOR", None)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cde_app", "train", str(config.resolve()), "--out", f"{folder}/run"]
        started = last = time.monotonic()
        stage, stages = START, dict.fromkeys([START], 0.0)
        with subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            for line in process.stderr or ():
                found = STAGE.match(line)
                following = found[1] if found else END
                now = time.monotonic()
                stages[stage] = stages.get(stage, 0.0) + now - last
                stage, last = following, now
        if process.returncode:
            raise SystemExit(f"{tree}: {config} failed with exit code {process.returncode}")
        wall = time.monotonic() - started
        stages[stage] = stages.get(stage, 0.0) + time.monotonic() - last
    return {"wall": wall, "stages": stages}


if __name__ == "__main__":
    main()
