"""Time to quality: how long GPflux's own recipe trains, and how long `cde` takes to pass its test log density."""

from __future__ import annotations

import time
from statistics import median

from measurements.processes import Options, in_fresh_process
from measurements.record import Bar, Comparison, Record, ratios

TABLES = ("concrete", "power", "protein")
TEN_TIMES = Bar("at least", 10)


def measure(options: Options) -> list[Record]:
    """Train each table by GPflux's recipe and by ours, in turn, each in a fresh process."""
    records: list[Record] = []
    for table in TABLES:
        pairs = []
        for seed in range(options.repeats):
            theirs = in_fresh_process("gpflux_recipe", "train", options, table, seed, time.time())
            ours = in_fresh_process("cde_recipe", "train", options, table, seed, theirs["score"], time.time())
            pairs.append((theirs, ours))
        raw = {
            f"{side}, {name}": [pair[place][key] for pair in pairs]
            for name, key in (
                ("training [s]", "training"),
                ("compiling the step [s]", "compiling"),
                ("imports [s]", "imports"),
                ("test log density [nats]", "score"),
                ("steps", "steps"),
            )
            for place, side in enumerate(("GPflux", "cde"))
        }
        whole = [[sum(run[part] for part in ("training", "compiling", "imports")) for run in pair] for pair in pairs]
        passed = [ours["score"] > theirs["score"] for theirs, ours in pairs]
        with_start_up = median(passed[index] * theirs / ours for index, (theirs, ours) in enumerate(whole))
        clocked = ratios(raw["GPflux, training [s]"], raw["cde, training [s]"])
        records.append(
            Comparison(
                f"time_to_quality_{table}",
                f"GPflux's recipe / cde until its test log density passes that of the recipe; {table}, split 0; the "
                f"warm start counts, imports and compiling do not, and with them the ratio is {with_start_up:.3g}; "
                "all cores; 0 if it never passed",
                [passed[index] * ratio for index, ratio in enumerate(clocked)],
                raw=raw,
                bar=TEN_TIMES,
            )
        )
    return records
