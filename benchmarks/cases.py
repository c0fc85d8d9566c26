"""Run small inputs that once gave a wrong number without a word, and say what each gives now.

    python benchmarks/cases.py --cases DIR [--only NAME ...]

DIR has a folder per case, with its tables and configurations. Every case runs the commands that a user would run, in a
copy of its folder, and one line of a Markdown table says what came out and whether it is right. The exit code is 1 if a
case is not right.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

Outcome = tuple[bool, str]
SHORT = ("--set", "training.max_steps=60")


class Case:
    """A copy of a case's folder, and the commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of cde."""
        return subprocess.run(
            [sys.executable, "-m", "cde_app", *words],
            cwd=self.folder,
            text=True,
            capture_output=True,
            env=os.environ | {"COLUMNS": "500", "NO_COLOR": "1"},
        )

    def done(self, *words: str) -> str:
        """Run a command that must end with 0, and return what it said on both streams."""
        result = self.run(*words)
        if result.returncode:
            raise RuntimeError(f"cde {' '.join(words)}: exit {result.returncode}: {result.stderr.strip()[-500:]}")
        return result.stdout + result.stderr

    def fails(self, *words: str) -> tuple[int, str]:
        """Return the exit code and the first line of a command's errors."""
        result = self.run(*words)
        lines = [line for line in result.stderr.splitlines() if line.strip()] or [""]
        return result.returncode, lines[0]

    def init(self, table: str, target: str) -> tuple[dict[str, str], str]:
        """Return the kind of every input that `cde init` finds, and its remarks."""
        said = self.done("init", table, "--target", target, "-o", "found.yaml", "--overwrite")
        config = yaml.safe_load((self.folder / "found.yaml").read_text())
        return {column["column"]: column["kind"] for column in config["data"]["inputs"]}, said

    def predict(self, run: str, table: str, *options: str) -> pd.DataFrame:
        """Return the summary of a prediction."""
        self.done("predict", run, table, "--out", "out", "--overwrite", *options)
        return pd.read_csv(self.folder / "out" / "summary.csv")


def compressed(case: Case) -> Outcome:
    found = [case.init(name, "y")[0] for name in ("plain.csv.gz", "plain.csv.bz2")]
    return found[0] == found[1] and bool(found[0]), f"inputs {found[0]}"


def decimal_comma(case: Case) -> Outcome:
    kinds, _ = case.init("komma_int.csv", "Wert")
    case.done("train", "found.yaml", "--out", "comma", *SHORT)
    means = case.predict("comma", "k_new.csv").Wert_mean.to_numpy()
    case.init("punkt_int.csv", "Wert")
    case.done("train", "found.yaml", "--out", "point", *SHORT)
    same = case.predict("point", "p_new.csv").Wert_mean.to_numpy()
    thousands, _ = case.init("thousands48.csv", "spend")
    right = (
        set(kinds.values()) == {"numeric"} and np.allclose(means, same, rtol=1e-6) and thousands["income"] == "numeric"
    )
    return (
        right,
        f"{kinds}; means with comma {means.round(1).tolist()}, with point {same.round(1).tolist()}; {thousands}",
    )


def evaluated_on_training_rows(case: Case) -> Outcome:
    case.done("train", "plain.yaml", "--out", "run", *SHORT)
    said = case.done("evaluate", "run", "plain.csv")
    warning = next((line for line in said.splitlines() if "trained on" in line), "no warning")
    return "270" in warning, warning


def labels(case: Case) -> Outcome:
    found = {}
    for name, column, expected in (("ecodes", "batch", 5), ("dotcodes", "section", 5), ("zeros", "plot", 5)):
        said = json.loads(case.run("check", f"{name}.yaml", "--json").stdout)
        columns = {one["name"]: one for one in said["columns"]}
        found[name] = (columns[column]["num_distinct"], expected)
    return all(got == expected for got, expected in found.values()), f"labels (found, right) {found}"


def missing_targets(case: Case) -> Outcome:
    said = case.done("check", "gappy.yaml")
    line = next((line for line in said.splitlines() if line.startswith("warning") and "left out" in line), "no word")
    return "215 of 300" in line, line.strip()


def label_na(case: Case) -> Outcome:
    kinds, said = case.init("namibia.csv", "y")
    text = (case.folder / "found.yaml").read_text()
    check = case.run("check", "found.yaml")
    line = next((line for line in (check.stdout + said).splitlines() if "country" in line), "")
    return "NA" in text + said and kinds["country"] == "categorical", line.strip()


def now_is_a_date(case: Case) -> Outcome:
    case.init("date_now.csv", "y")
    config = yaml.safe_load((case.folder / "found.yaml").read_text())
    others = [column for column in config["data"]["inputs"] if column["column"] != "date"]
    config["data"]["inputs"] = [*others, {"column": "date", "kind": "datetime"}]
    (case.folder / "dated.yaml").write_text(yaml.safe_dump(config))
    code, line = case.fails("check", "dated.yaml")
    return code == 3 and "now" in line, f"exit {code}: {line}"


def parquet_lists(case: Case) -> Outcome:
    kinds, _ = case.init("list.parquet", "y")
    numeric, categorical = case.fails("check", "l3.yaml"), case.fails("check", "l2.yaml")
    right = "emb" not in kinds and numeric[0] == categorical[0] == 3 and "list" in numeric[1] + categorical[1]
    return right, f"inputs {kinds}; {numeric[1]}"


def two_predictions_one_folder(case: Case) -> Outcome:
    case.done("train", "plain.yaml", "--out", "run", *SHORT)
    x = np.random.default_rng(0).uniform(0, 10, 60_000)
    pd.DataFrame({"x": x}).to_csv(case.folder / "big.csv", index=False)
    words = [sys.executable, "-m", "cde_app", "predict", "run", "big.csv", "--out", "out", "--samples", "20"]
    with subprocess.Popen(words, cwd=case.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as first:
        while first.poll() is None and not (case.folder / "out").is_dir():
            pass
        second = case.fails("predict", "run", "one.csv", "--out", "out", "--samples", "20")
        code = first.wait()
    rows = len(pd.read_csv(case.folder / "out" / "summary.csv"))
    return second[
        0
    ] == 6 and code == 0 and rows == 60_000, f"first exit {code}, {rows} rows; second exit {second[0]}: {second[1]}"


def samples_on_log(case: Case) -> Outcome:
    case.done("train", "skew.yaml", "--out", "run")
    summary = case.predict("run", "skew.csv", "--components", "--samples", "2000")
    draws = pd.read_csv(case.folder / "out" / "samples.csv")["cost"].to_numpy()
    table = pd.read_csv(case.folder / "skew.csv")
    truth, means = np.exp(0.3 * table.x + 0.72), summary.cost_mean
    with np.load(case.folder / "out" / "mixture.npz") as arrays:
        location, scale = float(arrays["transform.0.location"]), float(arrays["transform.0.scale"])
        m, s, weights = arrays["means"][:, :, 0], np.sqrt(arrays["variances"][:, :, 0]), arrays["weights"]
    exceeded = {}
    for limit in (500.0, 1000.0, 5000.0):
        z = ((math.log(limit) - location) / scale - m) / s
        tail = 0.5 * np.vectorize(math.erfc)(z / math.sqrt(2)) @ weights
        own = 0.5 * np.vectorize(math.erfc)((math.log(limit) - 0.3 * table.x) / 1.2 / math.sqrt(2))
        exceeded[limit] = (float(tail.mean()), float(own.mean()))
    told = ", ".join(f"P(cost > {limit:.0f}) {got:.1e} (truth {own:.1e})" for limit, (got, own) in exceeded.items())
    right = abs(draws.mean() / means.mean() - 1) < 0.05 and abs(means.mean() / truth.mean() - 1) < 0.25
    right &= all(0.5 < got / own < 2 for got, own in exceeded.values() if own > 1e-5)
    return right, f"mean of draws {draws.mean():.2f}, cost_mean {means.mean():.2f}, truth {truth.mean():.2f}; {told}"


def small_units(case: Case) -> Outcome:
    scores = {}
    for name in ("farad", "picofarad"):
        case.done("train", f"{name}.yaml", "--out", name, *SHORT)
        scores[name] = json.loads(case.run("evaluate", name, "--json").stdout)["crps"]["value"]
    return bool(np.isclose(*scores.values(), rtol=1e-2)), ", ".join(f"CRPS {n} {s:.4f}" for n, s in scores.items())


def time_zones(case: Case) -> Outcome:
    case.done("train", "local.yaml", "--out", "run", *SHORT)
    case.done("predict", "run", "new_naive.csv", "--out", "naive")
    code, line = case.fails("predict", "run", "new_tz.csv", "--out", "offset")
    return code == 3, f"exit {code}: {line}"


def tiny_levels(case: Case) -> Outcome:
    shutil.copy(case.folder.parent / "plain.csv", case.folder / "plain.csv")
    config = {"schema_version": 1, "data": {"path": "plain.csv", "inputs": ["x"], "targets": ["y"]}}
    (case.folder / "plain.yaml").write_text(yaml.safe_dump(config))
    case.done("train", "plain.yaml", "--out", "run", *SHORT)
    names = [name for name in case.predict("run", "one.csv", "--quantiles", "1e-9,2e-9,0.5").columns if "_q" in name]
    return len(names) == len(set(names)) == 3, str(names)


def zero_inflated(case: Case) -> Outcome:
    said = case.done("check", "claims.yaml")
    lines = [line.strip() for line in said.splitlines() if "claim" in line and ("0" in line or "below" in line)]
    warning = next((line for line in lines if "below" in line or "negative" in line), "no word of values beyond")
    return "below" in warning or "negative" in warning, warning


CASES: dict[str, Callable[[Case], Outcome]] = {
    "compressed-files-called-not-utf8": compressed,
    "decimal-comma-becomes-labels": decimal_comma,
    "evaluate-on-training-rows": evaluated_on_training_rows,
    "labels-merged": labels,
    "missing-targets": missing_targets,
    "na-none-labels": label_na,
    "now-is-a-date": now_is_a_date,
    "parquet-list-column-bug": parquet_lists,
    "predict-same-folder-loses-both": two_predictions_one_folder,
    "samples-explode-on-log": samples_on_log,
    "small-units-dropped": small_units,
    "timezone-shift": time_zones,
    "tiny-quantile-levels": tiny_levels,
    "zero-inflated-negative": zero_inflated,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="folder with a folder per case")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="NAME")
    arguments = parser.parse_args()
    print("| case | right | what came out |\n|---|---|---|")
    all_right = True
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(arguments.cases / "evaluate-on-training-rows" / "plain.csv", name)
        for case in arguments.only:
            folder = shutil.copytree(arguments.cases / case, Path(name) / case, copy_function=shutil.copyfile)
            folder.chmod(0o755)
            try:
                right, told = CASES[case](Case(folder))
            except (RuntimeError, KeyError, ValueError, OSError) as error:
                right, told = False, f"{type(error).__name__}: {error}"
            all_right &= right
            print(f"| {case} | {'yes' if right else '**no**'} | {told.replace('|', '/')} |", flush=True)
    sys.exit(not all_right)


if __name__ == "__main__":
    main()
