"""Make the stored runs of today's format, and the scores of trainings; CONTRIBUTING.md says when.

python tests/stored_runs/make.py runs      # format_N/NAME/run and predictions, for every NAME.yaml
python tests/stored_runs/make.py scores    # scores.json, of the same trainings
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
os.environ.setdefault("CDE_EXECUTOR", "serial")

from storing import write_manifest  # noqa: E402

from cde_app.cli import main  # noqa: E402
from cde_app.runs.migrations import FORMAT_VERSION  # noqa: E402

HERE = Path(__file__).parent
NAMES = sorted(config.stem for config in HERE.glob("*.yaml"))


def train(name: str, folder: Path) -> Path:
    """Train a configuration in a folder of its own, whose path the run then has, and return the run."""
    for source in (f"{name}.yaml", "table.csv"):
        shutil.copy(HERE / source, folder)
    run(["train", str(folder / f"{name}.yaml"), "--out", str(folder / name), "--quiet"])
    return folder / name


def store(trained: Path, place: Path) -> None:
    """Store a run without its pictures, and what it predicts; a stored run is never made again."""
    if place.exists():
        sys.exit(f"error: {place} exists: the stored run of a format stays as it is. Raise FORMAT_VERSION first.")
    shutil.copytree(trained, place / "run", ignore=shutil.ignore_patterns("plots"))
    leave_out(f"{trained.parent}/", place / "run")
    with tempfile.TemporaryDirectory() as out:
        run(["predict", str(place / "run"), str(HERE / "new.csv"), "--out", f"{out}/out", "--quiet"])
        (place / "predictions").mkdir()
        for table in sorted(Path(out).glob("out/*.csv")):
            shutil.copy(table, place / "predictions")


def leave_out(folder: str, run: Path) -> None:
    """Make the paths of a stored run relative to the folder in which it was trained, and renew the hashes."""
    settings, manifest = ((run / name).read_text().replace(folder, "") for name in ("config.yaml", "manifest.json"))
    (run / "config.yaml").write_text(settings)
    facts = json.loads(manifest)
    facts["outputs"]["config.yaml"] = hashlib.sha256(settings.encode()).hexdigest()
    write_manifest(run, facts)


def scores_of(trained: Path) -> dict[str, float]:
    """Return the scores that a training must have again."""
    metrics = json.loads((trained / "metrics.json").read_text())
    return {name: metrics[name]["value"] for name in ("nlpd", "energy_score")}


def run(arguments: list[str]) -> None:
    """Run a command; end with its exit code if it fails."""
    sys.argv = ["cde", *arguments]
    if code := main(arguments):
        sys.exit(code)


if __name__ == "__main__":
    what = sys.argv[1:]
    if what not in (["runs"], ["scores"]):
        sys.exit("error: say which: make.py runs, or make.py scores")
    with tempfile.TemporaryDirectory(prefix="stored-runs-") as temporary:
        runs = {name: train(name, Path(temporary)) for name in NAMES}
        if what == ["runs"]:
            for name, trained in runs.items():
                store(trained, HERE / f"format_{FORMAT_VERSION}" / name)
        else:
            scores = {name: scores_of(trained) for name, trained in runs.items()}
            (HERE / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
