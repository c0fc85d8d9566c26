"""Measure `cde batch` on one and on two workers of a Dask cluster, and with a worker that is killed half-way.

    python benchmarks/batch.py RUN [--table data/motorcycle.csv] [--partitions 64] [--rows 20000] [--samples 0]
                               [--executor dask] [--folder DIR]

The partitions are rows of the table, drawn with replacement. All files of the three batches must have the same bytes.
The figures are printed as a Markdown table; start-up of the workers is part of the seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

SECONDS_BETWEEN_LOOKS = 0.05


def make_partitions(table: Path, folder: Path, number: int, num_rows: int) -> None:
    rows = pd.read_csv(table, dtype=str)
    folder.mkdir()
    for n in range(number):
        rows.sample(num_rows, replace=True, random_state=n).to_csv(folder / f"p{n:03}.csv", index=False)


def finished(out: Path) -> int:
    return len(list(out.glob("p*/manifest.json")))


def kill_a_worker(out: Path) -> None:
    """Kill the worker that is writing a partition; its process ID is in the lock of the folder."""
    while True:
        for lock in out.glob("p*/.lock"):
            try:
                os.kill(int(lock.read_text()), signal.SIGKILL)
            except (OSError, ValueError):  # it has just finished
                continue
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def run_batch(run: Path, parts: Path, out: Path, options: list[str], *, kill_at: int | None) -> tuple[float, dict]:
    """Predict all partitions; return the seconds and the result."""
    command = [sys.executable, "-m", "cde_app", "batch", str(run), str(parts), "--out", str(out), "--json", "--quiet"]
    started = time.monotonic()
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        if kill_at is not None:
            while finished(out) < kill_at and process.poll() is None:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            kill_a_worker(out)
        text, _ = process.communicate()
    if process.returncode:
        sys.exit(process.returncode)
    return time.monotonic() - started, json.loads(text)


def digest(out: Path) -> str:
    """Return one hash of all tables that a batch has written."""
    files = sorted(path for path in out.rglob("*") if path.suffix in (".csv", ".parquet", ".npz"))
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--table", type=Path, default=Path(__file__).parent.parent / "data/motorcycle.csv")
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=0)
    parser.add_argument("--executor", choices=("processes", "dask"), default="dask")
    parser.add_argument("--folder", type=Path, help="for the partitions and the predictions; default: a temporary one")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, total = Path(name), arguments.partitions * arguments.rows
        make_partitions(arguments.table, folder / "parts", arguments.partitions, arguments.rows)
        options = ["--executor", arguments.executor, "--samples", str(arguments.samples)]
        print("| workers | partitions | rows | seconds | ratio | seconds per million rows | attempts |")
        print("|---|---|---|---|---|---|---|")
        alone, hashes = 0.0, set()
        for what, workers, kill_at in (
            ("1", 1, None),
            ("2", 2, None),
            ("2, one killed half-way", 2, arguments.partitions // 2),
        ):
            out = folder / f"out{len(hashes)}-{workers}-{kill_at}"
            own = [*options, "--workers", str(workers)]
            seconds, result = run_batch(arguments.run, folder / "parts", out, own, kill_at=kill_at)
            alone = alone or seconds
            attempts = sum(line["attempts"] for line in result["partitions"])
            hashes.add(digest(out))
            print(
                f"| {what} | {arguments.partitions} | {result['rows']} | {seconds:.1f} | {alone / seconds:.2f} | "
                f"{1e6 * seconds / total:.1f} | {attempts} |",
                flush=True,
            )
        print(f"\nThe bytes are {'the same' if len(hashes) == 1 else 'DIFFERENT'}.")
        sys.exit(len(hashes) != 1)


if __name__ == "__main__":
    main()
