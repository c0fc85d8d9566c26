"""The run directory: one writer, whole files, and no way to lose a finished run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cde_app.errors import DataError, RunError
from cde_app.machine import storage
from cde_app.machine.storage import file_hash, file_names, write_atomically, write_json
from cde_app.runs import folder as run_folder
from cde_app.runs import study
from cde_app.runs.migrations import FORMAT_VERSION, OLDEST_VERSION
from cde_app.runs.run import Run
from cde_app.runs.sums import read_sums
from tests.system_calls import Call, calls_of, watched

STORED_RUNS = Path(__file__).parent / "stored_runs"


def finished_run(path: Path, content: str = "first", *, overwrite: bool = False) -> Run:
    """Make a run that holds one posterior file."""
    run = Run.create(path, overwrite=overwrite)
    run.write_json("posterior/spec.json", {"content": content})
    run.finish("done", {"seed": 1})
    return run


def content_of(path: Path) -> str:
    return Run.open(path).read_json("posterior/spec.json")["content"]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write_in_another_process(path: Path, *, overwrite: bool) -> subprocess.Popen[str]:
    """Begin a run with a checkpoint in a process that waits to be killed."""
    code = (
        "import sys, time; from pathlib import Path; from cde_app.runs.run import Run\n"
        f"run = Run.create(Path(sys.argv[1]), overwrite={overwrite})\n"
        "run.write_bytes('checkpoints/step.npz', b'')\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


# --- scratch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, RunError("disk"), KeyboardInterrupt()], ids=["success", "failure", "Ctrl-C"])
def test_the_scratch_folder_is_gone_however_its_block_ends(error: BaseException | None, tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", overwrite=False) as run:
        run.write_arrays("checkpoints/0.npz", {"step": np.array(1)})
        with contextlib.suppress(RunError, KeyboardInterrupt), run.scratch() as scratch:
            (scratch / "X.npy").write_bytes(b"rows")
            if error is not None:
                raise error
        assert not scratch.exists()
        assert run.has("checkpoints/0.npz")


def test_the_scratch_folder_of_a_killed_process_is_emptied_by_the_next_one(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    run.write_text("config.yaml", "")
    with run.scratch() as scratch:
        (scratch / "X.npy").write_bytes(b"rows")
        run._release()
        with Run.resume(tmp_path / "a") as again, again.scratch() as same:
            assert same == scratch
            assert list(same.iterdir()) == []


def test_folders_made_on_the_way_to_a_run_go_with_it_unless_they_are_used(tmp_path: Path) -> None:
    Run.create(tmp_path / "runs/b/a", overwrite=False).finish("failed")
    assert list(tmp_path.iterdir()) == []
    run = Run.create(tmp_path / "runs/b/a", overwrite=False)
    (tmp_path / "runs/mine").mkdir()
    run.finish("failed")
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "mine"]
    (tmp_path / "empty").mkdir()
    Run.create(tmp_path / "empty/a", overwrite=False).finish("failed")
    assert (tmp_path / "empty").exists()


# --- writing and reading ------------------------------------------------------------------------------------------


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", overwrite=False) as run:
        run.write_text("config.yaml", "seed: 0\n")
        run.write_json(
            "metrics.json", {"nlpd": np.float64(1.5), "bad": float("nan"), "n": np.int64(3), "v": np.ones(2)}
        )
        run.write_arrays("posterior/arrays.npz", {"Z": np.eye(2)})
        run.append_history({"training": 0, "step": 1, "bound": float("-inf")})
        run.finish("done")
    run = Run.open(tmp_path / "a")
    assert run.read_bytes("config.yaml") == b"seed: 0\n"
    assert run.read_json("metrics.json") == {"nlpd": 1.5, "bad": None, "n": 3, "v": [1.0, 1.0]}
    assert np.array_equal(run.read_arrays("posterior/arrays.npz")["Z"], np.eye(2))
    assert run.history() == [{"training": 0, "step": 1, "bound": None}]


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        run = Run.create(tmp_path / name, overwrite=False)
        files.append(run.write_arrays("posterior/arrays.npz", {"x": np.arange(5.0), "y": np.zeros((2, 2))}))
        time.sleep(0.01)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_arrays_of_objects_are_refused_because_only_a_pickle_could_hold_them(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    with pytest.raises(ValueError, match="array 'x' holds Python objects"):
        run.write_arrays("posterior/arrays.npz", {"x": np.array([{}])})


def test_a_pickle_in_an_array_file_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    run.write_bytes("posterior/arrays.npz", b"")
    np.savez(run.file("posterior/arrays.npz"), x=np.array([{}], dtype=object))
    with pytest.raises(RunError, match=r"arrays\.npz: expected arrays; got .*pickle"):
        run.read_arrays("posterior/arrays.npz")


def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    run.write_text("config.yaml", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunError, match="config.yaml: expected a file that can be written; got 'No space left on device'"
    ):
        run.write_text("config.yaml", "new")
    assert run.read_bytes("config.yaml") == b"old"
    assert names_in(tmp_path / "a") == {"STATUS", ".lock", "config.yaml"}


@pytest.mark.parametrize("name", ["notes.txt", "../a", "", "/etc/passwd", "plots/../../x"])
def test_only_names_that_belong_to_a_run_can_be_written(tmp_path: Path, name: str) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    with pytest.raises(ValueError, match="is no part of a run"):
        run.write_text(name, "x")


def test_a_history_line_cut_off_by_a_crash_is_skipped(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    run.append_history({"training": 0, "step": 1})
    with run.file("history.jsonl").open("a") as file:
        file.write('{"step": ')
    assert run.history() == [{"training": 0, "step": 1}]


def test_a_resumed_run_writes_its_history_again_from_the_checkpoint_on(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    for step in range(1, 6):  # two trainings that run side by side
        for training in range(2):
            run.append_history({"training": training, "step": step})
    run.rewind_history((5, 3))
    run.append_history({"training": 1, "step": 4})
    run.sort_history()
    assert [(entry["training"], entry["step"]) for entry in run.history()] == [
        *((0, step) for step in range(1, 6)),
        *((1, step) for step in range(1, 5)),
    ]


def test_an_opened_run_takes_plots_and_a_report_and_nothing_else(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    run = Run.open(tmp_path / "a")
    run.write_bytes("plots/pit.png", b"png")
    for name in ("report.html", "report.json", "report.md"):
        run.write_text(name, "report")
    with pytest.raises(ValueError, match="opened for reading"):
        run.write_text("config.yaml", "seed: 1")
    with pytest.raises(ValueError, match="opened for reading"):
        run.append_history({"training": 0, "step": 1})
    assert content_of(tmp_path / "a") == "first"


def test_the_manifest_says_where_the_run_comes_from(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    table.write_text("x,y\n1,2\n")
    run = Run.create(tmp_path / "a", overwrite=False)
    run.write_text("posterior/spec.json", "{}")
    run.write_text("log.txt", "x")
    run.finish("done", {"seed": 7, "seconds": 1.5}, inputs=[table, Path("-")])
    manifest = json.loads((tmp_path / "a/manifest.json").read_text())
    assert manifest["format_version"] == FORMAT_VERSION
    assert (manifest["seed"], manifest["seconds"], manifest["argv"]) == (7, 1.5, sys.argv)
    assert manifest["inputs"] == {str(table): file_hash(table)}
    assert manifest["outputs"] == {"posterior/spec.json": file_hash(tmp_path / "a/posterior/spec.json")}
    assert manifest["packages"]["numpy"] == np.__version__
    assert manifest["machine"]["cpus"] == os.cpu_count()


# --- creating -----------------------------------------------------------------------------------------------------


def test_a_folder_with_contents_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    message = "a exists and is not empty; choose another --out, or pass --overwrite."
    with pytest.raises(RunError, match=re.escape(message)) as caught:
        Run.create(tmp_path / "a", overwrite=False)
    assert caught.value.exit_code == 6
    assert content_of(tmp_path / "a") == "first"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    finished_run(tmp_path / "a")
    assert content_of(tmp_path / "a") == "first"


def test_overwrite_spares_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="a exists and is not a run, so --overwrite does not replace it"):
        Run.create(tmp_path / "a", overwrite=True)
    assert (tmp_path / "a/thesis.tex").read_text() == "years of work"


def test_nothing_is_made_inside_a_run_by_any_path_to_it(tmp_path: Path) -> None:
    finished_run(tmp_path / "runs/a")
    (tmp_path / "link").symlink_to(tmp_path / "runs/a/posterior")
    before = tree(tmp_path)
    for place in ("runs/a/posterior", "link/x", "runs/a/new", "runs/b/../a/x"):
        path = tmp_path / place
        with pytest.raises(RunError, match=r"is in the run .*runs/a; choose another --out\."):
            Run.create(path, overwrite=True)
        with pytest.raises(RunError, match=r"is in the run .*runs/a; choose another --out\."):
            write_predictions(path, "", overwrite=True)
    assert tree(tmp_path) == before
    finished_run(tmp_path / "runs/a/../b")
    write_predictions(tmp_path / "runs/predicted", "", overwrite=False)


KIND = study.Kind("sweep", run="trial", results=frozenset())


def write_run(path: Path, content: str, *, overwrite: bool) -> None:
    with Run.create(path, overwrite=overwrite) as run:
        run.write_text("plots/pit.png", content)
        run.finish("done")


def write_killed_run(path: Path, content: str, *, overwrite: bool) -> None:
    """Write a run whose process was killed while it drew its pictures."""
    run = Run.create(path, overwrite=overwrite)
    run.write_json("posterior/spec.json", content)
    run.write_text("checkpoints/0.npz", content)
    run.write_text("plots/pit.png", content)
    run._release()


def write_pictured_predictions(path: Path, content: str, *, overwrite: bool) -> None:
    with run_folder.predictions(path, overwrite=overwrite) as growing:
        for name in ("summary.csv", "plots/pit.png"):
            write_atomically(growing / name, content.encode())
        write_json(growing / "manifest.json", {"outputs": {"summary.csv": "", "plots/pit.png": ""}})


def write_study(path: Path, content: str, *, overwrite: bool) -> None:
    with study.opened(path, KIND, {"inputs": {}}, overwrite=overwrite):
        study.write_picture(path, "pit.png", content.encode())
        write_run(path / "trial-0", content, overwrite=False)


WRITERS = {
    "run": (write_run, "a run's files"),
    "killed": (write_killed_run, "a run's files"),
    "out": (write_pictured_predictions, "predictions"),
    "sweep": (write_study, "a sweep"),
}


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("run", ("plots/mine.png", "plots/old", "mine.png", "posterior/mine.txt", "checkpoints/mine.txt")),
        ("killed", ("plots/mine.png", "posterior/mine.txt", "checkpoints/mine.txt")),
        ("out", ("plots/mine.png", "mine.png", "summary.parquet")),
        ("sweep", ("plots/mine.png", "mine.png", "trial-0/plots/mine.png", "trial-1/plots/pit.png")),
    ],
)
def test_overwrite_spares_what_cde_has_not_written(folder: str, names: tuple[str, ...], tmp_path: Path) -> None:
    (write, noun), path = WRITERS[folder], tmp_path / folder
    write(path, "first", overwrite=False)
    for name in names:
        mine = path / name
        made = [part for part in (mine.parent, mine.parent.parent) if not part.exists()]
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("mine") if mine.suffix else mine.mkdir()
        before, trial = tree(path), name.partition("/")
        place, got, what = (path / trial[0], trial[2], "a run's files") if "trial" in name else (path, name, noun)
        with pytest.raises(
            RunError, match=re.escape(f"{place}: expected only {what}; got {got!r}. Move it, or choose")
        ):
            write(path, "second", overwrite=True)
        assert tree(path) == before
        mine.unlink() if mine.suffix else mine.rmdir()
        for part in made:
            part.rmdir()
    write(path, "second", overwrite=True)
    pictures = path.rglob("plots/*")
    assert [(picture.name, picture.read_text()) for picture in pictures] == [("pit.png", "second")] * (
        2 if folder == "sweep" else 1
    )


def contents(path: Path) -> dict[str, bytes]:
    """Return the files below a folder, but the manifests, which have times."""
    files = {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if "manifest" not in name and "SUMS" not in name}


def test_a_study_whose_clearing_is_killed_can_be_cleared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, dead = tmp_path / "sweep", 0
    write_study(path, "first", overwrite=False)
    whole = contents(path)

    def dies_at(number: int) -> Callable[[Path], None]:
        left = [number]

        def delete(entry: Path) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            storage.delete(entry)

        return delete

    for number in range(20):
        monkeypatch.setattr(study, "delete", dies_at(number))
        with contextlib.suppress(KeyboardInterrupt):
            write_study(path, "first", overwrite=True)
            break
        dead += 1
        monkeypatch.setattr(study, "delete", storage.delete)
        write_study(path, "first", overwrite=True)
        assert contents(path) == whole
    assert dead >= 4


def test_a_file_in_the_place_of_a_run_of_a_study_is_no_run(tmp_path: Path) -> None:
    write_study(tmp_path / "sweep", "first", overwrite=False)
    before = tree(tmp_path / "sweep")
    (tmp_path / "sweep/trial-1").write_text("mine")
    with pytest.raises(RunError, match=re.escape("expected only a sweep; got 'trial-1'. Move it")):
        write_study(tmp_path / "sweep", "second", overwrite=True)
    (tmp_path / "sweep/trial-1").unlink()
    assert tree(tmp_path / "sweep") == before


def test_a_picture_heals_a_damaged_list(tmp_path: Path) -> None:
    write_study(tmp_path / "sweep", "first", overwrite=False)
    sums = tmp_path / "sweep/SHA256SUMS"
    sums.write_text(sums.read_text() + "damaged")
    study.write_picture(tmp_path / "sweep", "ecdf.png", b"second")
    assert list(read_sums(tmp_path / "sweep")) == ["plots/ecdf.png", "plots/pit.png"]


def test_what_is_put_beside_pictures_while_a_successor_is_made_stays(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "first", overwrite=False)
    write_pictured_predictions(tmp_path / "out", "first", overwrite=False)
    run = Run.create(tmp_path / "run", overwrite=True)
    run.write_text("plots/ecdf.png", "second")
    with run_folder.predictions(tmp_path / "out", overwrite=True) as growing:
        for folder in ("run", "out"):
            (tmp_path / folder / "plots/mine.png").write_text("mine")
        (tmp_path / "out/summary.parquet").write_text("mine")
        write_json(growing / "manifest.json", {"outputs": {}})
    run.finish("done")
    for name in ("run/plots/mine.png", "out/plots/mine.png", "out/summary.parquet"):
        assert (tmp_path / name).read_text() == "mine"
    assert names_in(tmp_path / "run/plots") == {"mine.png", "ecdf.png"}
    assert names_in(tmp_path / "out/plots") == {"mine.png"}
    run = Run.open(tmp_path / "run")
    with run.held():
        run.write_text("plots/pit.svg", "third")
    assert set(read_sums(tmp_path / "run")) == {"STATUS", "manifest.json", "plots/ecdf.png", "plots/pit.svg"}


def test_a_training_that_is_given_up_spares_what_cde_has_not_written(tmp_path: Path) -> None:
    with contextlib.suppress(RuntimeError), Run.create(tmp_path / "a", overwrite=False) as run:
        run.write_text("plots/pit.png", "")
        (tmp_path / "a/plots/mine.png").write_text("mine")
        raise RuntimeError
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"a", "a/plots", "a/plots/mine.png"}


def test_a_manifest_of_something_else_is_no_manifest_of_predictions(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "my application"}')
    with pytest.raises(RunError, match="expected only predictions; got 'manifest.json'. Move it"):
        write_predictions(tmp_path, "", overwrite=True)


def test_overwrite_spares_a_run_that_holds_a_foreign_file(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    (tmp_path / "a/notes.txt").write_text("mine")
    with pytest.raises(RunError, match=re.escape("expected only a run's files; got 'notes.txt'. Move it")):
        Run.create(tmp_path / "a", overwrite=True)
    assert (tmp_path / "a/notes.txt").read_text() == "mine"


def test_what_an_earlier_version_has_written_can_be_overwritten(tmp_path: Path) -> None:
    """Neither its runs nor its predictions list their pictures by hash."""
    run, predictions = tmp_path / "run", tmp_path / "plots"
    shutil.copytree(STORED_RUNS / "format_4/joint/run", run)
    (run / "plots").mkdir()
    (run / "plots/pit.png").write_text("")
    Run.create(run, overwrite=True).finish("done")
    assert names_in(run) == {"STATUS", "manifest.json", "SHA256SUMS"}
    files = [predictions / "summary.csv", predictions / "plots/fan.png"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old")
    manifest = {"rows": 1, "files": [str(file) for file in files]}
    (predictions / "manifest.json").write_text(json.dumps(manifest))
    (predictions / "plots/mine.png").write_text("mine")
    with pytest.raises(RunError, match=re.escape("expected only predictions; got 'plots/mine.png'. Move it")):
        write_predictions(predictions, "new", overwrite=True)
    (predictions / "plots/mine.png").unlink()
    write_predictions(predictions, "new", overwrite=True)
    assert not (predictions / "plots").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(RunError, match="a exists and is not a folder"):
        Run.create(tmp_path / "a", overwrite=True)
    with pytest.raises(RunError, match="got a file. Check the path"):
        Run.open(tmp_path / "a")


def test_the_old_run_serves_until_its_successor_is_done(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    run = Run.create(tmp_path / "a", overwrite=True)
    run.write_json("posterior/spec.json", {"content": "second"})
    assert content_of(tmp_path / "a") == "first"
    run.finish("done")
    assert content_of(tmp_path / "a") == "second"
    assert names_in(tmp_path) == {"a"}
    assert names_in(tmp_path / "a") == {"STATUS", "manifest.json", "posterior", "SHA256SUMS"}


def test_nothing_that_lies_in_the_folder_of_a_successor_moves_into_the_run(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    (tmp_path / "a" / run_folder.NEXT).mkdir()
    (tmp_path / "a" / run_folder.NEXT / "stray.txt").write_text("")
    run = Run.create(tmp_path / "a", overwrite=True)
    scratch = tmp_path / "a" / run_folder.NEXT / ".tmp-scratch"
    scratch.mkdir()  # of the training, which begins before the first file is written
    run.write_json("posterior/spec.json", {"content": "second"})
    assert scratch.exists()
    run.finish("done")
    assert names_in(tmp_path / "a") >= {"STATUS", "manifest.json", "posterior", "SHA256SUMS"}
    assert not (tmp_path / "a/stray.txt").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_training_that_fails_before_a_checkpoint_leaves_everything_as_it_was(
    tmp_path: Path, error: type[BaseException]
) -> None:
    finished_run(tmp_path / "a")
    for name in ("a", "b"):
        with pytest.raises(error), Run.create(tmp_path / name, overwrite=True) as run:
            run.write_text("config.yaml", "")
            raise error
    assert content_of(tmp_path / "a") == "first"
    assert names_in(tmp_path) == {"a"}


def test_a_training_interrupted_after_a_checkpoint_can_be_resumed_to_the_end(tmp_path: Path) -> None:
    for name, first in (("new", False), ("old", True)):
        path = tmp_path / name
        if first:
            finished_run(path)
        with pytest.raises(KeyboardInterrupt), Run.create(path, overwrite=True) as run:
            run.write_bytes("checkpoints/10.npz", b"state")
            raise KeyboardInterrupt
        assert run_folder.has_checkpoint(path)
        with Run.resume(path) as run:
            assert [file.name for file in run.files("checkpoints")] == ["10.npz"]
            run.write_json("posterior/spec.json", {"content": "resumed"})
            assert run.status == "running"
            run.finish("done")
        assert content_of(path) == "resumed"
    assert names_in(tmp_path) == {"new", "old"}


@pytest.mark.parametrize("way", ["new", "overwrite", "overwrite an unfinished one", "overwrite a successor", "resume"])
def test_a_training_that_fails_before_its_first_write_touches_nothing(tmp_path: Path, way: str) -> None:
    path = tmp_path / "a"
    if way in ("overwrite", "overwrite a successor"):
        finished_run(path)
    if way not in ("new", "overwrite"):
        with pytest.raises(KeyboardInterrupt), Run.create(path, overwrite=True) as run:
            run.write_bytes("checkpoints/10.npz", b"state")
            raise KeyboardInterrupt
    if way == "overwrite a successor":
        path.rename(tmp_path / "moved")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    run = Run.resume(path) if way == "resume" else Run.create(path, overwrite=way != "new")
    with pytest.raises(RunError), run, run.scratch() as scratch:
        (scratch / "X.npy").write_bytes(b"rows")
        raise RunError("")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert path.exists() == (way not in ("new", "overwrite a successor"))


def test_the_first_write_takes_the_place_of_an_unfinished_run_and_spares_the_scratch_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path / "a", overwrite=False) as run:
        run.write_bytes("checkpoints/10.npz", b"state")
        raise KeyboardInterrupt
    with Run.create(tmp_path / "a", overwrite=True) as run, run.scratch() as scratch:
        (scratch / "X.npy").write_bytes(b"rows")
        assert run.has("checkpoints/10.npz")
        run.write_text("config.yaml", "")
        assert names_in(tmp_path / "a") == {"STATUS", ".lock", "config.yaml", scratch.name}
        assert (scratch / "X.npy").read_bytes() == b"rows"


def test_an_unfinished_successor_is_not_thrown_away_unasked(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    with pytest.raises(RuntimeError), Run.create(tmp_path / "a", overwrite=True) as run:
        run.write_bytes("checkpoints/10.npz", b"state")
        raise RuntimeError
    with pytest.raises(RunError, match="a exists and is not empty; choose another --out, or pass --overwrite or --res"):
        Run.create(tmp_path / "a", overwrite=False)
    (tmp_path / "moved").mkdir()
    for name in ("STATUS", "manifest.json", "posterior", "SHA256SUMS"):
        (tmp_path / "a" / name).rename(tmp_path / "moved" / name)
    with pytest.raises(RunError, match=r"a holds an unfinished training; pass --resume or --overwrite\."):
        Run.create(tmp_path / "a", overwrite=False)
    with pytest.raises(RunError, match=r"a holds an unfinished training; choose another --out\."):
        write_predictions(tmp_path / "a", "", overwrite=True)
    finished_run(tmp_path / "a", "again", overwrite=True)
    assert names_in(tmp_path / "a") == {"STATUS", "manifest.json", "posterior", "SHA256SUMS"}


def test_what_a_user_keeps_beside_a_run_is_nobodys_business(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    for name in ("a.partial", "a.previous", ".a", "a.cde-next", ".cde-next"):
        finished_run(tmp_path / name, name)
    assert content_of(tmp_path / "a") == "first"
    finished_run(tmp_path / "a", "second", overwrite=True)
    assert content_of(tmp_path / "a") == "second"
    for name in ("a.partial", "a.previous", ".a", "a.cde-next", ".cde-next"):
        assert content_of(tmp_path / name) == name
        finished_run(tmp_path / name, "trained again", overwrite=True)
        assert content_of(tmp_path / name) == "trained again"


def test_a_copy_of_a_run_whose_successor_is_trained_is_a_run_of_its_own(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path / "a", overwrite=True) as run:
        run.write_bytes("checkpoints/10.npz", b"state")
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        raise KeyboardInterrupt
    assert content_of(tmp_path / "copy") == "first"
    for name in ("copy", "a"):
        with Run.resume(tmp_path / name) as run:
            run.write_json("posterior/spec.json", {"content": name})
            run.finish("done")
        assert content_of(tmp_path / name) == name
        assert names_in(tmp_path / name) == {"STATUS", "manifest.json", "posterior", "SHA256SUMS"}


# --- one writer, and crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaces", [False, True])
def test_a_second_writer_is_refused_and_a_killed_one_leaves_a_run_to_resume(tmp_path: Path, *, replaces: bool) -> None:
    path = tmp_path / "a"
    if replaces:
        finished_run(path)
    process = write_in_another_process(path, overwrite=replaces)
    try:
        for attempt in (lambda: Run.create(path, overwrite=True), lambda: Run.resume(path)):
            with pytest.raises(RunError, match=f"is being written by process {process.pid}"):
                attempt()
        if replaces:
            assert content_of(path) == "first"
        else:
            with pytest.raises(RunError, match="got one that is being written. Wait until it is done"):
                Run.open(path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not replaces:
        advice = r"got one that is killed. Resume with: cde train .*a/config.yaml .*--resume"
        with pytest.raises(RunError, match=advice):
            Run.open(path)
    with Run.resume(path) as run:
        run.write_json("posterior/spec.json", {"content": "second"})
        run.finish("done")
    assert content_of(path) == "second"


KILLED_AT_A_RENAME = """
import os, signal, sys
from pathlib import Path
from cde_app.runs import folder
from cde_app.runs.run import Run
from cde_app.runs.sums import read_sums

left, rename = int(sys.argv[2]), os.rename
def rename_or_die(*paths, **options):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    rename(*paths, **options)
os.rename = rename_or_die
"""
REPLACE_RUN = f"""{KILLED_AT_A_RENAME}
run = Run.create(Path(sys.argv[1]), overwrite=True)
run.write_json("posterior/spec.json", {{"content": "second"}})
run.write_text("log.txt", "second")
run.finish("done")
"""
REPLACE_PREDICTIONS = f"""{KILLED_AT_A_RENAME}
with folder.predictions(Path(sys.argv[1]), overwrite=True) as growing:
    (growing / "plots").mkdir()
    for name in ("samples.csv", "plots/a.png", "manifest.json"):
        (growing / name).write_text("second")
"""


def killed(code: str, *arguments: object) -> bool:
    """Run code in a process of its own; say whether it was killed."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return every file below a folder with what changes when it is touched."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


def test_a_run_killed_anywhere_on_its_way_in_is_found_by_readers_and_settled_by_writers(tmp_path: Path) -> None:
    num_renames, path = 0, tmp_path / "a"
    while True:
        shutil.rmtree(path, ignore_errors=True)
        finished_run(path)
        if not killed(REPLACE_RUN, path, num_renames):
            break
        before = tree(path)
        assert content_of(path) == "second"
        assert Run.open(path).read_bytes("log.txt") == b"second"
        assert tree(path) == before, "a reader has written"
        shutil.copytree(path, tmp_path / f"copy{num_renames}")
        with Run.open(path).held():
            pass
        assert content_of(path) == "second"
        assert names_in(path) == {"STATUS", "manifest.json", "posterior", "log.txt", "SHA256SUMS"}
        finished_run(tmp_path / f"copy{num_renames}", "third", overwrite=True)
        assert content_of(tmp_path / f"copy{num_renames}") == "third"
        num_renames += 1
    assert num_renames == 10


def test_predictions_killed_anywhere_on_their_way_in_are_whole_for_the_next_writer(tmp_path: Path) -> None:
    num_renames, path = 0, tmp_path / "out"
    while True:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name in ("summary.csv", "samples.csv", "manifest.json"):
            (path / name).write_text("first")
        if not killed(REPLACE_PREDICTIONS, path, num_renames):
            break
        if (path / "manifest.json").exists():
            assert {file.read_text() for file in path.glob("[!.]*")} == {"first"}
        with (
            pytest.raises(RunError, match="out exists and is not empty"),
            run_folder.predictions(path, overwrite=False),
        ):
            pass
        assert {name: content[2] for name, content in tree(path).items()} == dict.fromkeys(
            ("samples.csv", "plots/a.png", "manifest.json"), b"second"
        )
        num_renames += 1
    assert num_renames == 7


def test_a_run_killed_on_its_way_in_is_not_taken_for_predictions(tmp_path: Path) -> None:
    for num_renames in (2, 4, 6):
        path = tmp_path / str(num_renames)
        finished_run(path)
        assert killed(REPLACE_RUN, path, num_renames)
        with pytest.raises(RunError), run_folder.predictions(path, overwrite=True):
            pass
        assert content_of(path) == "second"


def test_a_run_replaced_while_it_is_read_says_so(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    run = Run.open(tmp_path / "a")
    finished_run(tmp_path / "a", "second", overwrite=True)
    message = "a: expected a run that does not change; got one that was replaced while it was read. Start the command"
    with pytest.raises(RunError, match=message):
        run.read_json("posterior/spec.json")


def test_a_run_that_cannot_be_put_in_its_place_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_run(tmp_path / "a")

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with (
        monkeypatch.context() as patch,
        pytest.raises(RunError, match="expected a folder that can be written; got 'In"),
    ):
        patch.setattr(os, "rename", refuse)
        with Run.create(tmp_path / "a", overwrite=True) as run:
            run.write_json("posterior/spec.json", {"content": "second"})
            run.finish("done")
    assert content_of(tmp_path / "a") == "second"


def test_a_crash_between_status_and_manifest_is_no_finished_run(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    (tmp_path / "a/manifest.json").unlink()
    with pytest.raises(RunError, match="expected a finished run; got one that is done but has no manifest"):
        Run.open(tmp_path / "a")
    Run.resume(tmp_path / "a").finish("done")
    assert content_of(tmp_path / "a") == "first"


# --- opening ------------------------------------------------------------------------------------------------------


def test_a_missing_run_says_how_to_make_one(tmp_path: Path) -> None:
    for attempt in (Run.open, Run.resume):
        with pytest.raises(RunError, match="expected a run directory; got nothing. Train one with: cde train CONFIG"):
            attempt(tmp_path / "a")


def test_a_folder_that_is_no_run_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a run directory; got a folder without a valid STATUS"):
        Run.open(tmp_path)


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    with pytest.raises(RunError, match="a is done; there is nothing to resume. Pass --overwrite to train it again"):
        Run.resume(tmp_path / "a")


def test_a_run_from_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    manifest = tmp_path / "a/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": FORMAT_VERSION + 1}))
    with pytest.raises(RunError, match=r"format_version: expected at most 5; got 6\. .*update cde"):
        Run.open(tmp_path / "a")


@pytest.mark.parametrize("version", range(1, OLDEST_VERSION))
def test_a_run_from_a_too_old_format_asks_for_a_training(version: int, tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    manifest = tmp_path / "a/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": version}))
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path / "a")
    assert str(caught.value) == (
        f"{manifest}: format_version: expected at least 4; got {version}. The run was written by an older cde, which "
        "stored its parts differently; train the run again."
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": "one"}'])
def test_a_manifest_that_is_damaged_is_refused(tmp_path: Path, text: str) -> None:
    finished_run(tmp_path / "a")
    (tmp_path / "a/manifest.json").write_text(text)
    with pytest.raises(RunError, match=r"manifest\.json: "):
        Run.open(tmp_path / "a")


def test_a_changed_or_missing_posterior_file_is_found_and_every_one_is_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    for name in ("changed.npz", "missing.npz", "whole.npz"):
        run.write_text(f"posterior/{name}", name)
    run.finish("done")
    (tmp_path / "a/posterior/changed.npz").write_text("x")
    (tmp_path / "a/posterior/missing.npz").unlink()
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path / "a")
    changed, missing = caught.value.faults
    assert "posterior/changed.npz: expected SHA-256" in changed
    assert "posterior/missing.npz: expected a file of the run; got nothing" in missing


# --- predictions --------------------------------------------------------------------------------------------------


def write_predictions(path: Path, content: str, *, overwrite: bool) -> None:
    with run_folder.predictions(path, overwrite=overwrite) as growing:
        (growing / "summary.csv").write_text(content)
        (growing / "manifest.json").write_text(content)


def test_a_folder_of_predictions_is_replaced_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "new/out"
    write_predictions(out, "first", overwrite=False)
    with pytest.raises(RunError, match="out exists and is not empty; choose another --out, or pass --overwrite"):
        write_predictions(out, "second", overwrite=False)
    assert {path.read_text() for path in out.iterdir()} == {"first"}
    write_predictions(out, "second", overwrite=True)
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(
        ("summary.csv", "manifest.json"), "second"
    )


def test_predictions_never_replace_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"expected only predictions; got 'thesis\.tex'"):
        write_predictions(tmp_path, "", overwrite=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"thesis.tex": "years of work"}
    with pytest.raises(RunError, match=r"tex exists and is not a folder; choose another --out\."):
        write_predictions(tmp_path / "thesis.tex", "", overwrite=True)


@pytest.mark.parametrize("error", [RunError("disk"), KeyboardInterrupt()], ids=["failure", "Ctrl-C"])
def test_predictions_that_fail_leave_the_old_ones_and_nothing_else(error: BaseException, tmp_path: Path) -> None:
    write_predictions(tmp_path / "out", "first", overwrite=False)
    for name in ("out", "b/c"):
        with pytest.raises(type(error)), run_folder.predictions(tmp_path / name, overwrite=True) as growing:
            (growing / "summary.csv").write_text("second")
            raise error
    assert {name: content[2] for name, content in tree(tmp_path).items()} == dict.fromkeys(
        ("out/summary.csv", "out/manifest.json"), b"first"
    )
    assert names_in(tmp_path) == {"out"}


def test_a_folder_has_one_writer_whatever_is_written(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    run = Run.open(tmp_path / "a")
    message = re.escape(f"a is being written by process {os.getpid()}; wait for it or choose another --out.")
    with run.held(), pytest.raises(RunError, match=message), run.held():
        pass
    with run_folder.predictions(tmp_path / "out", overwrite=False) as growing:
        for second in (
            lambda: write_predictions(tmp_path / "out", "second", overwrite=True),
            lambda: run_folder.held(tmp_path / "out").__enter__(),
            lambda: Run.create(tmp_path / "out", overwrite=True),
        ):
            with pytest.raises(RunError, match=f"out is being written by process {os.getpid()}"):
                second()
        (growing / "manifest.json").write_text("first")
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"manifest.json": "first"}


def test_a_file_that_is_called_like_the_lock_and_is_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("somebody else's")
    with pytest.raises(RunError, match=r"\.lock: expected a lock of cde; got another file\. Move it"):
        run_folder.held(tmp_path).__enter__()
    assert (tmp_path / ".lock").read_text() == "somebody else's"


@pytest.mark.parametrize("content", [b"", b"\0" * 12, b"4321\n", b"4321 elsewhere\n"])
def test_the_lock_of_a_dead_writer_is_taken_also_if_a_loss_of_power_has_emptied_it(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / ".lock").write_bytes(content)
    with run_folder.held(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()} {os.uname().nodename}\n"
    assert not (tmp_path / ".lock").exists()


def test_a_writer_on_another_machine_is_named_with_its_machine(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        lock.write("4321 elsewhere\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="is being written by process 4321 on elsewhere; wait for it"):
            run_folder.held(tmp_path).__enter__()


def refuse_locks(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("begin", [lambda path: Run.create(path, overwrite=True), Run.resume])
def test_leftovers_that_cannot_be_deleted_do_not_keep_the_lock(begin: Callable[[Path], Run], tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    run.write_bytes("checkpoints/0.npz", b"")
    run.finish("interrupted")
    (tmp_path / "a/.tmp-left").write_bytes(b"")

    def refuse(call: Call) -> None:
        if call.name == "unlink" and call.path == "a/.tmp-*":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with watched(tmp_path, refuse), pytest.raises(RunError, match=r"\.tmp-left: expected a file or folder that can be"):
        begin(tmp_path / "a")
    begin(tmp_path / "a").finish("interrupted")
    assert ".tmp-left" not in names_in(tmp_path / "a")


def test_the_names_of_files_that_arrive_are_synchronised(tmp_path: Path) -> None:
    def write() -> None:
        with run_folder.arriving(tmp_path / "out", last="facts.json") as folder:
            for name in ("facts.json", "plots/a.png", "a.csv"):
                write_atomically(folder / name, name.encode())

    names = [(call.name, call.path) for call in calls_of(tmp_path, write)]
    last_rename = max(place for place, (name, _) in enumerate(names) if name == "replace")
    assert names[last_rename] == ("replace", "out/.tmp-*/facts.json")
    assert {("fsync", "out"), ("fsync", "out/plots")} <= set(names[last_rename:])
    assert names.index(("mkdir", "out/plots")) < names.index(("fsync", "out")) < last_rename


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("the first failure")])
def test_a_folder_that_cannot_be_tidied_does_not_hide_why(error: BaseException, tmp_path: Path) -> None:
    def refuse(call: Call) -> None:
        if call.name == "rmdir" and call.path == "out/.tmp-*":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with watched(tmp_path, refuse), pytest.raises(type(error)), run_folder.arriving(tmp_path / "out"):
        raise error
    assert names_in(tmp_path / "out") == {".tmp-files"}
    with run_folder.arriving(tmp_path / "out") as folder:
        (folder / "a.csv").write_text("new")
    assert names_in(tmp_path / "out") == {"a.csv"}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_from_another_writer(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(tmp_path / "a")
    interrupted = Run.create(tmp_path / "b", overwrite=False)
    interrupted.write_bytes("checkpoints/0.npz", b"")
    interrupted.finish("interrupted")
    before = tree(tmp_path)

    refuse_locks(number, monkeypatch)
    message = (
        f"expected a file system with locks, which keep two writers apart; got {os.strerror(number)!r}. "
        "Choose another --out, or mount the file system with locks."
    )
    for attempt in (
        lambda: Run.create(tmp_path / "new/run", overwrite=False),
        lambda: Run.create(tmp_path / "a", overwrite=True),
        lambda: Run.resume(tmp_path / "b"),
        lambda: Run.open(tmp_path / "a").held().__enter__(),
        lambda: run_folder.predictions(tmp_path / "new/out", overwrite=False).__enter__(),
    ):
        with pytest.raises(RunError, match=re.escape(message)):
            attempt()
    assert tree(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert content_of(tmp_path / "a") == "first"
    with pytest.raises(RunError, match="got one that is interrupted. Resume with"):  # and is not being written
        Run.open(tmp_path / "b")


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOLCK, "a file system with locks"), (errno.EIO, "a folder that can be written")]
)
def test_a_refused_lock_costs_nobody_the_file(
    number: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = re.escape(f"{tmp_path}: expected {expected}") + f".*; got {os.strerror(number)!r}"
    with run_folder.held(tmp_path):
        with monkeypatch.context() as patch:
            refuse_locks(number, patch)
            with pytest.raises(RunError, match=message):
                run_folder.held(tmp_path).__enter__()
        with pytest.raises(RunError, match=f"is being written by process {os.getpid()};"):
            run_folder.held(tmp_path).__enter__()
    (tmp_path / ".lock").write_text("somebody else's")
    refuse_locks(number, monkeypatch)
    with pytest.raises(RunError, match=message):
        run_folder.held(tmp_path).__enter__()
    assert (tmp_path / ".lock").read_text() == "somebody else's"
    with pytest.raises(RunError):
        run_folder.held(tmp_path / "new").__enter__()
    assert names_in(tmp_path) == {".lock"}, "what the call itself has made is gone"


# --- a loss of power ----------------------------------------------------------------------------------------------


def test_a_file_and_then_its_name_are_synchronised(tmp_path: Path) -> None:
    calls = calls_of(tmp_path, lambda: write_atomically(tmp_path / "new/folder/file", b"content"))
    assert [(call.name, call.path) for call in calls] == [
        ("mkdir", "new/folder"),
        ("mkdir", "new"),
        ("mkdir", "new/folder"),
        ("fsync", "new"),
        ("fsync", "."),
        ("open", "new/folder/.tmp-*"),
        ("write", "new/folder/.tmp-*"),
        ("write", "new/folder/.tmp-*"),
        ("fsync", "new/folder/.tmp-*"),
        ("replace", "new/folder/.tmp-*"),
        ("fsync", "new/folder"),
    ]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_file_system_that_cannot_synchronise_folders_need_not(number: int, is_told: bool, tmp_path: Path) -> None:
    def refuse(call: Call) -> None:
        if (call.name, call.path) == ("fsync", "."):
            raise OSError(number, os.strerror(number))

    context = pytest.raises(RunError, match="Input/output error") if is_told else contextlib.nullcontext()
    with watched(tmp_path, refuse), context:
        write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_new_names_of_a_finished_run_are_synchronised_before_the_old_files_are_deleted(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    calls = calls_of(tmp_path / "a", lambda: finished_run(tmp_path / "a", "second", overwrite=True))
    names = [(call.name, call.path) for call in calls]
    last_rename = max(place for place, (name, _) in enumerate(names) if name == "rename")
    first_deleted = names.index(("rmdir", ".cde-arriving"))
    assert ("fsync", ".") in names[last_rename:first_deleted]
    assert names[last_rename] == ("rename", ".cde-arriving/manifest.json")
    assert first_deleted < names.index(("rmdir", ".cde-replaced"))


def test_a_finished_run_is_whole_also_if_the_power_is_lost_the_moment_after(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    run = Run.create(tmp_path / "work/a", overwrite=False)
    with watched(tmp_path / "work", lambda call: None) as watcher:
        run.write_json("posterior/spec.json", {"content": "first"})
        run.append_history({"training": 0, "step": 25})
        run.sort_history()
        run.log("the last line")
        run.finish("done")
        watcher.copy(tmp_path / "copy", loses_power=True)
    assert content_of(tmp_path / "copy/a") == "first"
    for line in (tmp_path / "copy/a/SHA256SUMS").read_text().splitlines():
        content, _, name = line.partition("  ")
        assert file_hash(tmp_path / "copy/a" / name) == content, name


def test_a_line_that_the_system_takes_in_parts_is_written_whole(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    with watched(tmp_path, lambda call: None):
        run.append_history({"training": 0, "step": 25})
    assert run.history() == [{"training": 0, "step": 25}]


def test_what_cannot_be_deleted_is_told_and_not_taken_for_something_newer(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", overwrite=False)
    run.write_bytes("checkpoints/0.npz", b"old")
    run.finish("interrupted")

    def refuse(call: Call) -> None:
        if call.name == "unlink" and call.path == "a/checkpoints/0.npz":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    second = Run.create(tmp_path / "a", overwrite=True)
    message = "checkpoints: expected a file or folder that can be deleted; got 'Input/output error'"
    with watched(tmp_path, refuse), pytest.raises(RunError, match=message):
        second.write_text("config.yaml", "new")
    assert not (tmp_path / "a/config.yaml").exists()


def test_what_a_process_has_left_that_was_killed_at_the_end_goes_with_the_next_writer(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    for name in ("checkpoints/0.npz", ".tmp-scratch/X.npy", "posterior/.tmp-abc"):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_bytes(b"left")
    with Run.open(tmp_path / "a").held():
        pass
    assert names_in(tmp_path / "a") == {"STATUS", "manifest.json", "posterior", "SHA256SUMS"}
    assert names_in(tmp_path / "a/posterior") == {"spec.json"}


# --- names --------------------------------------------------------------------------------------------------------


def test_any_texts_become_short_harmless_and_different_names() -> None:
    columns = [
        "a/b",
        "a_b",
        "A_B",
        "Temp",
        "temp",
        "",
        "_",
        ".",
        "..",
        "-rf",
        "né",
        "ne\N{COMBINING ACUTE ACCENT}",
        "x" * 300,
    ]
    columns += [
        "x" * 300 + "y",
        "日本" * 80,
        "日本" * 80 + "x",
        "a\nb",
        "a\0b",
        "plain",
        "é",
        "\ud800",
        "a_b-0123456789ab",
    ]
    names = file_names(columns)
    seen = {unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold()) for name in names}
    assert len(seen) == len(columns)
    for name in names:
        assert re.fullmatch(r"[\w][\w.-]*", name), name
        assert len(name.encode()) <= 120
    assert names == [file_names(columns[place:] + columns[:place])[0] for place in range(len(columns))]


def test_a_text_that_is_a_name_stays_as_it_is() -> None:
    assert file_names(["plain", "with space", "x.y-z_1", "Größe"]) == ["plain", "with_space", "x.y-z_1", "Größe"]
    assert file_names(["a", "a"]) == ["a", "a"]
