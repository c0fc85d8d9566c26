"""Time to quality: how long GPflux's own recipe trains, and how long `cde` takes to pass its test log density."""

from __future__ import annotations

import time

from measurements.processes import Options, in_fresh_process
from measurements.record import Bar, Comparison, Record, ratios

TABLES = ("concrete", "power", "protein")
TEN_TIMES = Bar("at least", 10)
PARTS = {
    "training [s]": "training",
    "compiling the step [s]": "compiling",
    "imports [s]": "imports",
    "test log density [nats]": "score",
    "steps": "steps",
}


def measure(options: Options) -> list[Record]:
    """Train each table by GPflux's recipe and by ours, in turn, each in a fresh process."""
    return [record for table in TABLES for record in measure_table(options, table)]


def measure_table(options: Options, table: str) -> list[Record]:
    """Compare the times of one table: from the first step, with what goes before it, and with imports and compiling."""
    pairs = []
    for seed in range(options.repeats):
        theirs = in_fresh_process("gpflux_recipe", "train", options, table, seed, time.time())
        ours = in_fresh_process("cde_recipe", "train", options, table, seed, theirs["score"], time.time())
        pairs.append((theirs, ours))
    raw = {
        f"{side}, {name}": [pair[place][key] for pair in pairs]
        for name, key in PARTS.items()
        for place, side in enumerate(("GPflux", "cde"))
    }
    steps = [ours["from_first_step"] for _, ours in pairs]
    whole = [[sum(run[part] for part in ("training", "compiling", "imports")) for run in pair] for pair in pairs]
    training = raw["GPflux, training [s]"]
    what = f"GPflux's recipe / cde until its test log density passes that of the recipe; {table}, split 0"

    def passing(theirs: list[float], ours: list[float]) -> list[float]:
        """Return the ratios, 0 where the score was never passed."""
        compared = zip(ratios(theirs, ours), pairs, strict=True)
        return [ratio * (ours["score"] > theirs["score"]) for ratio, (theirs, ours) in compared]

    return [
        Comparison(
            f"time_to_quality_{table}",
            f"{what}; from the first step, 25 steps being the least that is clocked; imports and compiling left out "
            "on both sides; 0 if it never passed",
            passing(training, steps),
            raw={"cde, steps alone [s]": steps, **raw},
            bar=TEN_TIMES,
        ),
        Comparison(
            f"time_to_quality_{table}_with_warm_start",
            f"{what}; the choices and the warm start before the first step included",
            passing(training, raw["cde, training [s]"]),
            bar=TEN_TIMES,
        ),
        Comparison(
            f"time_to_quality_{table}_with_start_up",
            f"{what}; imports and compiling included as well",
            passing([theirs for theirs, _ in whole], [ours for _, ours in whole]),
        ),
    ]
