"""Score the default configuration on a panel of tables, beside peers scored by the same scorer.

    python benchmarks/density.py --data DATA --panel panel.json [--peers results.csv] [--splits 0 1 2] [--sets a b]

For every table and split: writes train.csv and test.csv, runs `cde train` (no rows held out for a test) and
`cde predict` as a user would, and scores the forecasts with `score.py`. One line per result is appended to
DIR/results.jsonl; what is there is not run again, so that an interrupted benchmark goes on where it was. At the end the
table, with the peers' figures on the same splits, and the mean ranks are printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from score import score

METHOD = "cde"


def load_split(data: Path, settings: dict[str, Any], split: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training and the test rows, by the panel's rules."""
    table = pd.read_csv(data / settings["path"])
    if settings["split_rule"] == "published":
        is_test = pd.read_csv(data / settings["split_file"])[f"split{split}"].to_numpy().astype(bool)
        train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        if settings["cap"] and len(train) > settings["cap"]:
            train = np.sort(np.random.RandomState(1000 + split).choice(train, settings["cap"], replace=False))
    else:
        rows = np.arange(len(table))
        if settings["cap"] and len(rows) > settings["cap"]:
            rows = np.sort(np.random.RandomState(0).choice(len(rows), settings["cap"], replace=False))
        order = np.random.RandomState(split).permutation(len(rows))
        count = round(0.9 * len(rows))
        train, test = rows[order[:count]], rows[order[count:]]
    if len(test) > settings["cap_test"]:
        test = test[np.sort(np.random.RandomState(2000 + split).choice(len(test), settings["cap_test"], replace=False))]
    columns = settings["features"] + settings["targets"]
    return table.iloc[train][columns], table.iloc[test][columns]


def run_cde(folder: Path, settings: dict[str, Any], overrides: list[str], seed: int) -> dict[str, float]:
    """Train on folder/train.csv and predict folder/test.csv; return the seconds of both."""
    config = {
        "schema_version": 1,
        "seed": seed,
        "data": {
            "path": "train.csv",
            "inputs": settings["features"],
            "targets": settings["targets"],
            "split": {"kind": "random", "test": 0},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    cde = [sys.executable, "-m", "cde_app"]
    changes = [part for override in overrides for part in ("--set", override)]
    started = time.monotonic()
    subprocess.run(
        [*cde, "train", folder / "config.yaml", "--out", folder / "run", "--overwrite", "--quiet", *changes],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    trained = time.monotonic()
    options = ["--samples", "500", "--components", "--overwrite", "--quiet"]
    subprocess.run(
        [*cde, "predict", folder / "run", folder / "test.csv", "--out", folder / "out", *options],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return {"fit_s": trained - started, "predict_s": time.monotonic() - trained}


def score_forecasts(folder: Path, settings: dict[str, Any], scales: np.ndarray) -> dict[str, Any]:
    """Score the predictions in folder/out by the neutral scorer."""
    truth = pd.read_csv(folder / "test.csv")[settings["targets"]].to_numpy()
    log_density = pd.read_csv(folder / "out" / "summary.csv")["log_density"].to_numpy()
    with np.load(folder / "out" / "mixture.npz", allow_pickle=False) as arrays:
        kinds = [str(arrays[f"transform.{p}.kind"]) for p in range(truth.shape[1])]
        forecast: dict[str, Any] = {"logp": log_density}
        if len(kinds) == 1 and kinds[0] == "identity":
            location, scale = float(arrays["transform.0.location"]), float(arrays["transform.0.scale"])
            means, sds = arrays["means"][:, :, 0], np.sqrt(arrays["variances"][:, :, 0])
            forecast["mixture"] = (arrays["weights"], location + scale * means, scale * sds)
        else:
            draws = pd.read_csv(folder / "out" / "samples.csv")[settings["targets"]].to_numpy()
            forecast["samples"] = draws.reshape(len(truth), -1, truth.shape[1])
    found = score(truth, y_scale=scales, resolution=settings["resolution"], **forecast)
    return found | {"transforms": kinds}


def comparison(results: list[dict[str, Any]], peers: pd.DataFrame, panel: dict[str, Any]) -> str:
    """Return a line per table, means over its splits beside the best peer's, and the mean ranks, as Markdown."""
    ours = pd.DataFrame(results)
    lines = ["| table | NLPD | best peer | place | CRPS | best peer | place | 90 % held | seconds |", "|---" * 9 + "|"]
    places: dict[str, list[int]] = {"NLPD": [], "CRPS": []}
    for name, rows in ours.groupby("dataset", sort=False):
        splits = sorted(rows.split)
        same = peers[(peers.dataset == name) & peers.split.isin(splits)]
        cells = [str(name)]
        for label, key in (("NLPD", "nlpd"), ("CRPS", "crps" if rows.outputs.iloc[0] == 1 else "energy_std")):
            scored = same.dropna(subset=[key])
            complete = scored.groupby("method").split.nunique()
            scored = scored[scored.method.isin(complete[complete == len(splits)].index)]
            theirs = scored.groupby("method")[key].mean().sort_values()
            value = rows[key].mean()
            cells.append(f"{value:.4g}")
            if (label == "NLPD" and "NLPD" in (panel[str(name)]["note"] or "")) or not len(theirs):
                cells += ["", ""]  # a density of grades says nothing
                continue
            places[label].append(int((theirs < value).sum()) + 1)
            cells += [f"{theirs.iloc[0]:.4g} {theirs.index[0]}", f"{places[label][-1]} of {len(theirs) + 1}"]
        cells += [f"{100 * rows.cover90.mean():.0f} %", f"{rows.fit_s.mean():.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""] + [
        f"Mean place in {label}: {np.mean(found):.2f} over {len(found)} tables, first on {found.count(1)}."
        for label, found in places.items()
        if found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--panel", type=Path, required=True, help="panel.json: tables, targets, split rules")
    parser.add_argument("--peers", type=Path, help="the peers' figures; default: results.csv beside the panel")
    parser.add_argument("--splits", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="*", help="default: all tables that DATA has")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="passed on to cde train")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    arguments = parser.parse_args()
    panel = json.loads(arguments.panel.read_text())["datasets"]
    names = arguments.sets or [name for name in panel if (arguments.data / panel[name]["path"]).is_file()]
    log = arguments.out / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if any(result.get("overrides") != arguments.overrides for result in results):
        parser.error(f"{log}: expected results with --set {arguments.overrides}; got others. Choose another --out.")
    done = {(result["dataset"], result["split"]) for result in results}
    for split in arguments.splits:
        for name in names:
            settings = panel[name]
            if split not in settings["splits"] or (name, split) in done:
                continue
            folder = arguments.out / name / f"split{split}"
            folder.mkdir(parents=True, exist_ok=True)
            train, test = load_split(arguments.data, settings, split)
            train.to_csv(folder / "train.csv", index=False)
            test.to_csv(folder / "test.csv", index=False)
            scales = train[settings["targets"]].to_numpy().std(0, ddof=1)
            seconds = run_cde(folder, settings, arguments.overrides, seed=split)
            found = score_forecasts(folder, settings, scales)
            what = {"method": METHOD, "overrides": arguments.overrides, "dataset": name, "split": split}
            result = {**what, "n_train": len(train), **found, **seconds}
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            results.append(result)
            print(
                f"{name}/{split}: nlpd {found['nlpd']:.4f} crps {found['crps_std']:.4f} cover90 {found['cover90']:.3f} "
                f"largest loss {found['nlpd_max']:.1f} {found['transforms']} {seconds['fit_s']:.0f} s",
                flush=True,
            )
    peers = pd.read_csv(arguments.peers or arguments.panel.with_name("results.csv"))
    shown = [result for result in results if result["dataset"] in names and result["split"] in arguments.splits]
    print(comparison(shown, peers, panel))


if __name__ == "__main__":
    main()
