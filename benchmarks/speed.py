"""Measure speed and memory, against GPflux and against the machine, each pair side by side in one run.

    python benchmarks/speed.py [--json] [--repeats R] [--only NAME ...] [--data DATA --panel panel.json]
                               [--rows 10000000] [--results FILE] [--plots DIR] [--markdown docs/performance.md]

One line per measurement is printed, a readable one or with --json a JSON object; the first has the machine's facts.
With --results the objects are kept in a file as well, and what is there is not measured again, so that an interrupted
run goes on where it was. --plots draws the curves, --markdown writes the tables between the markers of a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from measurements.processes import Options, clean_environment, in_fresh_process, machine_facts

MEASUREMENTS = {
    "training_step": ("training_step", "measure"),
    "step_of_limit": ("limit", "measure"),
    "time_to_quality": ("quality", "measure"),
    "prediction": ("prediction", "measure"),
    "mixture_error": ("prediction", "measure_error"),
    "density_memory": ("commands", "measure_density_memory"),
    "start_up": ("commands", "measure_start_up"),
    "predict_memory": ("commands", "measure_predict_memory"),
    "train_memory": ("commands", "measure_train_memory"),
    "step_growth": ("growth", "measure_steps"),
    "training_growth": ("growth", "measure_training"),
    "prediction_growth": ("growth", "measure_prediction"),
}
"""Name on the command line: module of `measurements`, function."""


def readable(line: dict[str, Any]) -> str:
    """Return a line for people."""
    match line["kind"]:
        case "comparison":
            spread = f"{line['median']:.4g} ({line['min']:.4g} to {line['max']:.4g}) {line['unit']}".rstrip()
            verdict = "" if line["bar"] is None else f"; bar {line['bar']}: {'holds' if line['holds'] else 'MISSED'}"
            clocked = "".join(f"\n    {name}: {', '.join(map(str, values))}" for name, values in line["raw"].items())
            return f"{line['name']}: {spread}{verdict}\n    {line['compared']}{clocked}"
        case "curve":
            points = ", ".join(f"{s:g}: {v:g}" for s, v in zip(line["sizes"], line["values"], strict=True))
            slope = "" if line["slope"] is None else f", slope {line['slope']:.2f}"
            return f"{line['name']}: {line['measured']} against {line['size']}{slope}\n    {points}"
        case "profile":
            parts = "".join(f"\n    {name}: {value:g}" for name, value in line["parts"].items())
            return f"{line['name']} [{line['unit']}]: {line['compared']}{parts}"
        case _:
            return ", ".join(f"{name} {value}" for name, value in line.items() if name not in ("kind", "name"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    parser.add_argument("--repeats", type=int, default=5, help="of every pair")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, help="default: all")
    parser.add_argument("--data", type=Path, help="folder of the tables of time_to_quality")
    parser.add_argument("--panel", type=Path, help="panel.json: tables, targets, split rules")
    parser.add_argument("--rows", type=int, help="of the largest table of predict_memory and train_memory")
    parser.add_argument("--results", type=Path, help="keep the lines in this file, and go on from there")
    parser.add_argument("--plots", type=Path, help="draw the curves into this folder")
    parser.add_argument("--markdown", type=Path, help="write the tables into this page")
    arguments = parser.parse_args()
    clean_environment()
    options = Options(arguments.repeats, arguments.data, arguments.panel, arguments.rows)
    kept = arguments.results.read_text().splitlines() if arguments.results and arguments.results.exists() else []
    lines = [json.loads(line) for line in kept]
    done = {line["measurement"] for line in lines}

    def keep(line: dict[str, Any]) -> None:
        lines.append(line)
        print(json.dumps(line) if arguments.json else readable(line), flush=True)
        if arguments.results:
            arguments.results.parent.mkdir(parents=True, exist_ok=True)
            with arguments.results.open("a") as file:
                file.write(json.dumps(line) + "\n")

    if "machine" not in done:
        keep({"measurement": "machine", **machine_facts()})
    for name in arguments.only or MEASUREMENTS:
        if name in done:
            continue
        if name == "time_to_quality" and not (options.data and options.panel):
            print("time_to_quality: left out; name --data and --panel", file=sys.stderr, flush=True)
            continue
        for record in in_fresh_process(*MEASUREMENTS[name], options):
            keep({"measurement": name, **record.to_line()})
    if arguments.plots:
        in_fresh_process("plots", "draw", lines, arguments.plots)
    if arguments.markdown:
        in_fresh_process("page", "fill", lines, arguments.markdown)


if __name__ == "__main__":
    main()
