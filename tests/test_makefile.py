"""The batch jobs: make rebuilds what has changed and nothing else. A script that only notes its work stands for cde."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

CONFIG = "schema_version: 1\ndata: {{path: ../data/{table}.csv, inputs: [x], targets: [y], predict: [{predict}]}}\n"
STAND_IN = f"""#!/bin/sh
case $1 in
    config) exec "{sys.executable}" -m cde_app "$@" ;;
    train) out=$4 ;;
    predict) out=$5 ;;
    batch) out=$5; shift 5; set -- "batch" "$out" "$@" ;;
    evaluate|drift) out=$2; test ! -e fails || exit 5 ;;
    report) out=$2 ;;
esac
case $1 in batch) echo "$@" >>jobs.txt ;; *) echo "$1 $2" >>jobs.txt ;; esac
case $2 in *broken*) exit 2 ;; esac
case $1 in evaluate|drift|report) exit 0 ;; esac
mkdir -p "$out" && echo done >"$out/manifest.json"
"""


@pytest.fixture
def folder(tmp_path: Path, project: Path) -> Path:
    """A project with two recipes, the real Makefile, and a stand-in for cde."""
    shutil.copy(project / "Makefile", tmp_path)
    for name in ("configs", "data", "cde_app", "venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a", "b c"):
        (tmp_path / f"data/{name}.csv").write_text("x,y\n1,2\n")
    (tmp_path / "configs/a.yaml").write_text(CONFIG.format(table="a", predict="../data/a.csv, ../data/b c.csv"))
    (tmp_path / "configs/b.yaml").write_text(CONFIG.format(table="b c", predict=""))
    (tmp_path / "cde_app/code.py").write_text("")
    for name in ("requirements.lock", "requirements-predict.lock", "pyproject.toml", "venv/.installed"):
        (tmp_path / name).write_text("")
    (tmp_path / "venv/bin/cde").write_text(STAND_IN)
    (tmp_path / "venv/bin/cde").chmod(0o755)
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - 100, time.time() - 100))
    return tmp_path


def make(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run make; return its exit code and the jobs that cde was given."""
    (folder / "jobs.txt").unlink(missing_ok=True)
    command = ["make", "VENV=venv", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    jobs = folder / "jobs.txt"
    return done.returncode, sorted(jobs.read_text().splitlines()) if jobs.exists() else []


def change(path: Path) -> None:
    """Touch a file, a second later than whatever make has just written."""
    os.utime(path, (time.time() + 1, time.time() + 1))


def test_make_alone_prints_the_targets(folder: Path) -> None:
    done = subprocess.run(["make", "VENV=venv"], cwd=folder, capture_output=True, text=True, timeout=60)
    named = {line.split()[0] for line in done.stdout.splitlines()}
    wanted = "demo test test-slow lint types docs dist install-predict test-predict clean"
    assert named >= {*wanted.split(), *["runs", "predictions", "nightly", "train", "predict", "batch"]}


def test_only_what_has_changed_is_made_again(folder: Path) -> None:
    training, predicting = ["train configs/a.yaml", "train configs/b.yaml"], ["predict runs/a"] * 2
    assert make(folder, "-j2", "predictions") == (0, sorted(training + predicting))
    assert {path.name for path in (folder / "predictions/a").iterdir()} == {"a", "b_c"}
    assert make(folder, "-j2", "predictions") == (0, [])
    change(folder / "data/b c.csv")
    assert make(folder, "-j2", "predictions") == (0, ["predict runs/a", "train configs/b.yaml"])


def test_new_code_and_a_new_configuration_train_again(folder: Path) -> None:
    training = ["train configs/a.yaml", "train configs/b.yaml"]
    assert make(folder, "runs") == (0, training)
    change(folder / "configs/b.yaml")
    assert make(folder, "runs") == (0, training[1:])
    change(folder / "cde_app/code.py")
    for run in "ab":
        assert (folder / f"runs/{run}/manifest.json").exists()
    assert training[0] in make(folder, "runs")[1]


def test_the_demo_trains_and_reports_both_tables_and_trains_no_other(folder: Path) -> None:
    for name in ("motorcycle", "hurricanes"):
        (folder / f"configs/{name}.yaml").write_text(CONFIG.format(table="a", predict=""))
    trained = ["train configs/hurricanes.yaml", "train configs/motorcycle.yaml"]
    looked_at = [f"{what} runs/{name}" for what in ("evaluate", "report") for name in ("hurricanes", "motorcycle")]
    rest = sorted([*looked_at, "predict runs/motorcycle"])
    assert make(folder, "demo") == (0, sorted(trained + rest))
    assert make(folder, "demo") == (0, rest)


def test_a_training_that_fails_is_tried_again_and_spares_the_others(folder: Path) -> None:
    (folder / "configs/broken.yaml").write_text(CONFIG.format(table="a", predict="../data/a.csv"))
    code, jobs = make(folder, "-k", "predictions")
    assert code == 2
    assert jobs == sorted(
        ["train configs/a.yaml", "train configs/b.yaml", "train configs/broken.yaml"] + ["predict runs/a"] * 2
    )
    assert make(folder, "-k", "runs") == (2, ["train configs/broken.yaml"])
    (folder / "configs/broken.yaml").write_text("schema_version: [")
    assert make(folder, "-k", "runs") == (2, ["train configs/broken.yaml"])


def test_tables_of_one_name_have_predictions_of_their_own(folder: Path) -> None:
    tables = ["data/a.csv", "data/A.csv", "more/a.csv", "it's/a.csv", "data/b c.csv", "data/b_c.csv", "data/...csv"]
    for table in tables:
        (folder / table).parent.mkdir(exist_ok=True)
        (folder / table).write_text("x,y\n1,2\n")
    predict = ", ".join(f'"../{table}"' for table in [*tables, "data/a.csv"])
    (folder / "configs/a.yaml").write_text(CONFIG.format(table="a", predict=predict))
    code, jobs = make(folder, "-j2", "predictions")
    assert (code, jobs.count("predict runs/a")) == (0, len(tables))
    folders = [path.name for path in (folder / "predictions/a").iterdir()]
    assert len({name.lower() for name in folders}) == len(tables)
    assert "_" in folders
    assert make(folder, "-j2", "predictions") == (0, [])


def test_a_job_that_fails_leaves_what_another_has_finished(folder: Path) -> None:
    assert make(folder, "runs")[0] == 0
    stand_in = (folder / "venv/bin/cde").read_text()
    (folder / "venv/bin/cde").write_text(
        stand_in.replace("mkdir -p", "echo other >runs/a/manifest.json; exit 6; mkdir")
    )
    change(folder / "configs/a.yaml")
    assert make(folder, "runs") == (2, ["train configs/a.yaml"])
    assert (folder / "runs/a/manifest.json").read_text() == "other\n"


def test_a_single_job_says_what_it_needs(folder: Path) -> None:
    assert make(folder, "train") == (2, [])
    assert make(folder, "predict", "RUN=runs/a") == (2, [])
    assert make(folder, "train", "CONFIG=configs/a.yaml") == (0, ["train configs/a.yaml"])
    assert make(folder, "predict", "RUN=runs/a", "DATA=data/b c.csv") == (0, ["predict runs/a"])
    assert (folder / "predictions/a/b c/manifest.json").exists()


def test_many_tables_are_predicted_into_one_folder_and_all_again_by_a_newer_run(folder: Path) -> None:
    assert make(folder, "batch", "RUN=runs/a") == (2, [])
    assert make(folder, "runs/a/manifest.json") == (0, ["train configs/a.yaml"])
    job = "batch predictions/a/batch"
    assert make(folder, "batch", "RUN=runs/a", "DATA=data/*.csv", "OPTIONS=--samples 0") == (0, [f"{job} --samples 0"])
    os.utime(folder / "runs/a/manifest.json", (1, 1))
    assert make(folder, "batch", "RUN=runs/a/", "DATA=data/*.csv") == (0, [job])
    change(folder / "runs/a/manifest.json")
    assert make(folder, "batch", "RUN=runs/a", "DATA=data/*.csv") == (0, [f"{job} --overwrite"])


def test_a_night_trains_if_the_table_has_changed_and_predicts_only_if_the_gate_is_passed(folder: Path) -> None:
    assert make(folder, "nightly", "RUN=runs/a") == (2, [])
    assert make(folder, "runs/a/manifest.json") == (0, ["train configs/a.yaml"])
    night = ("nightly", "RUN=runs/a", "DATA=new")
    rest = ["batch predictions/a/batch", "evaluate runs/a", "report runs/a"]
    os.utime(folder / "runs/a/manifest.json", (time.time() - 50, time.time() - 50))
    assert make(folder, *night) == (0, rest)
    assert make(folder, *night) == (0, rest), "cde batch itself knows what is done"
    change(folder / "data/a.csv")
    (folder / "fails").touch()
    assert make(folder, *night) == (2, ["report runs/a", "train configs/a.yaml"])
    (folder / "fails").unlink()
    change(folder / "runs/a/manifest.json")
    assert make(folder, *night) == (0, [f"{rest[0]} --overwrite", *rest[1:]])


def test_a_night_looks_for_drift_if_it_is_told_what_to_allow(folder: Path) -> None:
    night = ("nightly", "RUN=runs/a", "DATA=new")
    assert not any(job.startswith("drift") for job in make(folder, *night)[1])
    assert "drift runs/a" in make(folder, *night, "DRIFT=drift.inputs<0.1")[1]


def test_the_small_install_asks_for_a_python_that_it_runs_on(folder: Path) -> None:
    command = ["make", "install-predict", "PREDICT_PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "error: predicting needs Python 3.11, 3.12 or 3.13 with its venv module" in done.stderr
    assert not (folder / ".venv-predict").exists()


def test_clean_deletes_both_environments_and_keeps_what_was_trained(folder: Path) -> None:
    for name in (".venv-predict", "runs/a", "tests", "benchmarks"):
        (folder / name).mkdir(parents=True)
    assert make(folder, "clean") == (0, [])
    assert not (folder / "venv").exists()
    assert not (folder / ".venv-predict").exists()
    assert (folder / "runs/a").exists()
