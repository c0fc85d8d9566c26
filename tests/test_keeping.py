"""Nothing that was finished is lost: to a second job, a full disk, a kill, a look, a picture or a table in motion."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cde_app.cli import failures
from cde_app.config_file import load_config
from cde_app.machine import interruption
from cde_app.progress import Progress
from cde_app.runs.folder import held
from cde_app.workflow.train import train_run
from tests.conftest import needs_tensorflow

Cde = Callable[..., Any]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where nothing else is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(line_run: Any) -> Path:
    """A finished run in the working folder."""
    shutil.copytree(line_run.run, "run")
    return Path("run")


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return every file below a folder with what changes when it is touched."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


def waiting_prediction(run: Path, *options: str) -> subprocess.Popen[str]:
    """Begin a prediction of standard input, and wait until it holds its folder `out`."""
    command = [sys.executable, "-m", "cde_app", "predict", str(run), "-", "--out", "out", *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not Path("out/.lock").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)  # the number is in the file
    return process


# --- two jobs, one folder -----------------------------------------------------------------------------------------


def test_the_second_of_two_predictions_is_told_who_writes_and_the_first_loses_nothing(
    run: Path, line_run: Any, cde: Cde
) -> None:
    first = waiting_prediction(run)
    for options in ((), ("--overwrite",)):
        second = cde("predict", run, line_run.table, "--out", "out", *options)
        assert (second.code, second.out) == (6, "")
        message = f"error: out is being written by process {first.pid}; wait for it or choose another --out.\n"
        assert second.err == message
    out, err = first.communicate(line_run.table.read_text(), timeout=100)
    assert first.returncode == 0, err
    assert out.splitlines() == ["out/summary.csv", "out/samples.csv"]
    assert sorted(os.listdir("out")) == ["manifest.json", "samples.csv", "summary.csv"]
    assert len(pd.read_csv("out/summary.csv")) == 80


def test_a_killed_prediction_leaves_the_old_one_and_frees_the_folder(run: Path, line_run: Any, cde: Cde) -> None:
    assert cde("predict", run, line_run.table, "--out", "out").code == 0
    before = tree(Path("out"))
    process = waiting_prediction(run, "--overwrite", "--samples", "0")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert {name: file for name, file in tree(Path("out")).items() if name in before} == before
    assert cde("predict", run, line_run.table, "--out", "out", "--overwrite", "--samples", "0").code == 0
    assert sorted(os.listdir("out")) == ["manifest.json", "summary.csv"]


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        (("report", "run"), "run"),
        (("plot", "run"), "run"),
        (("plot", "run", "--out", "run/plots"), "run"),
        (("plot", "run", "--out", "pictures"), "pictures"),
        (("predict", "run", "table.csv", "--out", "pictures"), "pictures"),
    ],
)
def test_every_command_that_writes_a_folder_waits_for_nobody(
    command: tuple[str, ...], folder: str, run: Path, line_run: Any, cde: Cde
) -> None:
    shutil.copy(line_run.table, "table.csv")
    with held(Path(folder)):
        before = tree(Path.cwd())
        outcome = cde(*command)
        assert (outcome.code, outcome.out) == (6, "")
        assert f"{folder} is being written by process {os.getpid()}; wait for it" in outcome.err
        assert tree(Path.cwd()) == before
    assert cde(*command).code == 0
    assert not list(Path.cwd().rglob(".lock"))


def test_pictures_are_not_drawn_into_a_run(run: Path, line_run: Any, cde: Cde) -> None:
    outcome = cde("plot", line_run.run, "--out", run)
    assert outcome.code == 6
    assert outcome.err == "error: run is a run; choose another --out.\n"


# --- looking ------------------------------------------------------------------------------------------------------


def test_no_command_that_reads_a_run_touches_it_or_what_stands_beside_it(run: Path, line_run: Any, cde: Cde) -> None:
    for name in ("run.partial", "run.previous", "run.cde-next", ".run"):
        shutil.copytree(line_run.run, name)
        Path(name, "notes.txt").write_text("mine")
    before = tree(Path.cwd())
    for number, command in enumerate(
        (
            ("info", "run"),
            ("evaluate", "run"),
            ("compare", "run", "run.partial", "run.previous"),
            ("predict", "run", line_run.table, "--out", "out"),
            ("plot", "run", "--out", "pictures"),
            ("info", "run.partial"),
        )
    ):
        assert cde(*command).code == 0, number
    for folder in ("out", "pictures"):
        shutil.rmtree(folder)
    assert tree(Path.cwd()) == before
    assert cde("report", "run").code == 0
    for kind in ("html", "json", "md"):
        Path(f"run/report.{kind}").unlink()
    again = tree(Path.cwd())
    for files in (before, again):
        del files["run/SHA256SUMS"]  # it has the report's hash
    assert {name: file[2] for name, file in again.items()} == {name: file[2] for name, file in before.items()}


def test_a_run_is_at_home_in_any_path(run: Path, line_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    for command in (("info", "."), ("evaluate", "."), ("compare", ".", "../run"), ("plot", "."), ("report", ".")):
        assert cde(*command).code == 0, command
    assert "<title>run" in Path("report.html").read_text()
    Path("../out").mkdir()
    monkeypatch.chdir("../out")
    for options in ((), ("--overwrite",)):
        assert cde("predict", "../run", line_run.table, "--out", ".", "--plots", *options).code == 0
    assert sorted(os.listdir()) == ["manifest.json", "plots", "samples.csv", "summary.csv"]


COMMANDS: list[tuple[str, ...]] = [
    ("info", "PATH"),
    ("evaluate", "PATH"),
    ("report", "PATH"),
    ("compare", "run", "PATH"),
    ("plot", "PATH", "--out", "new"),
    ("plot", "run", "PATH", "--out", "new"),
    ("predict", "PATH", "table.csv", "--out", "new"),
    ("predict", "run", "PATH", "--out", "new"),
    ("predict", "run", "table.csv", "--out", "PATH"),
    ("predict", "run", "table.csv", "--out", "PATH", "--overwrite"),
    ("evaluate", "run", "PATH"),
    ("init", "PATH", "--target", "y"),
    ("init", "table.csv", "--target", "y", "--overwrite", "-o", "PATH"),
    ("check", "PATH"),
    ("check", "config.yaml", "--set", "data.path=PATH"),
    ("config", "show", "PATH"),
    ("config", "depends", "PATH"),
    ("train", "PATH"),
    ("train", "config.yaml", "--set", "data.path=gone.csv", "--out", "PATH"),
    ("train", "config.yaml", "--set", "data.path=gone.csv", "--out", "PATH", "--overwrite"),
    ("train", "config.yaml", "--out", "PATH", "--resume"),
]


@pytest.mark.parametrize("path", [".", "", "/", "-", "gone/gone", "config.yaml/x", "x" * 300, "x/" * 2500])
def test_whatever_path_is_named_is_understood_or_refused_in_one_line(
    path: str, run: Path, line_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (line_run.table, line_run.config):
        shutil.copy(file, file.name)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    for command in COMMANDS:
        outcome = cde(*(part.replace("PATH", path) for part in command))
        assert outcome.code in (0, 2, 3, 6), (command, outcome)
        if outcome.code:
            lines = [line for line in outcome.err.splitlines() if not line.startswith("[data]")]
            assert len(lines) == 1, (command, lines)
            assert lines[0].startswith("error: "), (command, lines)


def test_paths_that_are_none_are_refused_with_what_to_write(cde: Cde) -> None:
    empty, dash = cde("predict", "run", "t.csv", "--out", ""), cde("predict", "run", "t.csv", "--out", "-")
    assert (empty.code, dash.code) == (2, 2)
    assert "invalid value for '--out': expected a path; got ''." in empty.err
    assert "invalid value for '--out': expected a folder; got '-'. Write ./- for a folder" in dash.err
    long = cde("info", "x" * 300)
    assert f"expected a path; got '{'x' * 60}...': File name too long." in long.err


def test_init_never_replaces_the_table_by_its_configuration(line_run: Any, cde: Cde) -> None:
    shutil.copy(line_run.table, "table.csv")
    outcome = cde("init", "table.csv", "--target", "y", "-o", "./table.csv", "--overwrite")
    assert (outcome.code, Path("table.csv").read_bytes()) == (2, line_run.table.read_bytes())
    assert outcome.err == "error: --output: expected a file other than the table; got table.csv. Choose another.\n"
    assert cde("init", "table.csv", "--target", "y", "-o", "-").out.startswith("# Configuration of cde")


# --- a full disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("--components",), ("--plots",), ("--samples", "500")])
def test_predictions_that_do_not_fit_on_the_disk_leave_the_old_ones(
    options: tuple[str, ...], run: Path, line_run: Any, cde: Cde, cde_process: Cde
) -> None:
    command = ("predict", run, line_run.table, "--out", "out", "--overwrite")
    assert cde(*command, "--samples", "2").code == 0
    before = tree(Path("out"))

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (19_000, 19_000))

    assert max(len(content) for _, _, content in before.values()) < 19_000
    outcome = cde_process(
        *command, *(("--samples", "2") if "--samples" not in options else ()), *options, preexec_fn=limit_files
    )
    assert outcome.code == 6, outcome
    assert re.fullmatch(r"error: out/\S+: expected a f\w+ that can be written; got 'File too large'\.\n", outcome.err)
    assert tree(Path("out")) == before
    assert sorted(os.listdir("out")) == ["manifest.json", "samples.csv", "summary.csv"]


# --- pictures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def broken_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Matplotlib fail at the histogram of the PIT and at ridges."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    save = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **options: Any) -> None:
        texts = [artist.get_text() for artist in figure.findobj(Text)]
        if any("PIT" in text or re.match(r"t [\d.]+$", text) for text in texts):
            raise ValueError("no\nway")
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)


def train(line_run: Any, cde: Cde, *options: str) -> Any:
    """Train the line's configuration for a few steps into `new`."""
    settings = ("training.max_steps=25", "training.ensemble=1", f"data.path={line_run.table}")
    sets = [part for setting in settings for part in ("--set", setting)]
    return cde("train", line_run.config, "--out", "new", *sets, *options)


@pytest.mark.slow
def test_a_picture_that_fails_costs_neither_the_model_nor_the_other_pictures(
    line_run: Any, cde: Cde, broken_pictures: None
) -> None:
    outcome = train(line_run, cde)
    assert outcome.code == 0, outcome.err
    manifest = json.loads(Path("new/manifest.json").read_text())
    assert Path("new/STATUS").read_text() == "done\n"
    fault = "the picture {} could not be drawn, everything else is complete; got ValueError: no way"
    assert manifest["warnings"] == [fault.format("ridges.png"), fault.format("pit.png")]
    for warning in manifest["warnings"]:
        assert f"[warning] {warning}" in outcome.err
    assert "ValueError: no\nway" in Path("new/log.txt").read_text()
    assert {path.name for path in Path("new/plots").iterdir()} == {
        "heatmap.png", "ecdf.png", "coverage.png", "latent.png", "history.png"
    }  # fmt: skip
    assert cde("evaluate", "new").code == 0
    predicted = cde("predict", "new", line_run.table, "--out", "out", "--plots")
    assert predicted.code == 0
    assert f"warning: {fault.format('ridges.png')}\n" in predicted.err
    assert json.loads(Path("out/manifest.json").read_text())["warnings"] == [fault.format("ridges.png")]
    assert Path("out/plots/heatmap.png").exists()
    drawn = cde("plot", "new", "--out", "pictures")
    assert (drawn.code, len(drawn.out.splitlines())) == (0, 5)
    assert f"warning: {fault.format('pit.png')}\n" in drawn.err


@pytest.mark.slow
def test_any_names_of_targets_give_pictures_of_their_own(line_run: Any, cde: Cde) -> None:
    names = ["x" * 300, "a/b", "A_B", "$\\frac{"]
    table = pd.read_csv(line_run.table)
    for place, name in enumerate(names):
        table[name] = table["y"] * (place + 1) + table.index % (place + 2)
    table.to_csv("table.csv", index=False)
    config = {
        "schema_version": 1,
        "data": {"path": "table.csv", "inputs": ["t"], "targets": [{"column": name} for name in names]},
        "model": {"layers": [], "targets_model": "joint", "output": {"num_inducing": 6, "num_inducing_latent": 4}},
        "training": {"max_steps": 10, "ensemble": 1, "warm_start": {"max_steps": 2}},
        "predict": {"num_components": 4},
    }
    Path("config.yaml").write_text(json.dumps(config))
    outcome = cde("train", "config.yaml", "--out", "new", "--quiet")
    assert outcome.code == 0, outcome.err
    manifest = json.loads(Path("new/manifest.json").read_text())
    assert not [warning for warning in manifest["warnings"] if "could not be drawn" in warning]
    pictures = [path.name for path in Path("new/plots").iterdir()]
    for kind in ("heatmap", "ridges"):
        assert len({name.lower() for name in pictures if name.startswith(f"{kind}_")}) == len(names)
    assert cde("report", "new").code == 0


# --- a table in motion --------------------------------------------------------------------------------------------


@pytest.fixture(params=["cut", "longer", "replaced", "gone"])
def moving_table(request: pytest.FixtureRequest, line_run: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A table that changes after it was checked, when pandas opens it."""
    shutil.copy(line_run.table, "table.csv")
    read = pd.read_csv

    def read_csv(file: Any, **options: Any) -> Any:
        path = file.name
        match request.param:
            case "cut":
                os.truncate(path, 500)
            case "longer":
                with Path(path).open("a") as end:
                    end.write("1,2\n")
            case "replaced":
                shutil.copy2(path, "other.csv")
                os.replace("other.csv", path)
            case "gone":
                Path(path).unlink()
        monkeypatch.setattr(pd, "read_csv", read)
        return read(file, **options)

    monkeypatch.setattr(pd, "read_csv", read_csv)
    return request.param


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "run", "table.csv", "--out", "new"),
        ("evaluate", "run", "table.csv"),
        ("train", "config.yaml", "--out", "new", "--quiet"),
        ("check", "config.yaml"),
        ("init", "table.csv", "--target", "y"),
    ],
    ids=lambda command: command[0],
)
def test_a_table_that_changes_while_it_is_read_is_not_half_read(
    command: tuple[str, ...], moving_table: str, run: Path, line_run: Any, cde: Cde
) -> None:
    shutil.copy(line_run.config, "config.yaml")
    outcome = cde(*command)
    got = "no such file" if moving_table == "gone" else "a changed file"
    fault = (
        f"error: table.csv: must not change while it is read; got {got}. Wait until it is complete, or use a copy.\n"
    )
    assert (outcome.code, outcome.out, outcome.err) == (3, "", fault)
    assert not Path("new").exists()


def test_a_partition_that_joins_while_the_others_are_read_is_noticed(
    run: Path, line_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(line_run.table, "part1.csv")
    read = pd.read_csv

    def read_csv(file: Any, **options: Any) -> Any:
        shutil.copy(line_run.table, "part2.csv")
        return read(file, **options)

    monkeypatch.setattr(pd, "read_csv", read_csv)
    outcome = cde("predict", run, "part*.csv", "--out", "out")
    assert outcome.code == 3
    assert outcome.err.startswith("error: part2.csv: must not change while it is read; got a new file. Wait")


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


SWALLOWING = """
import importlib.abc, os, signal, sys, time

class Swallower(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            except BaseException:
                {then}
        return None

sys.meta_path.insert(0, Swallower())
"""


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt, which it does not where the tests run as a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("then", ["pass", pytest.param("raise ImportError('half')", marks=pytest.mark.slow)])
def test_a_ctrl_c_that_tensorflow_swallows_still_ends_the_training(
    then: str, line_run: Any, cde_process: Cde, tmp_path: Path
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(SWALLOWING.format(module="tensorflow_probability", then=then))
    outcome = train(
        line_run,
        lambda *arguments: cde_process(
            *arguments,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "hook")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ),
    )
    assert outcome.code == 130, outcome.err
    assert outcome.err.splitlines()[-1] == "interrupted; there was no checkpoint yet, and nothing was kept"
    assert not Path("new").exists()


@needs_tensorflow
@pytest.mark.slow
def test_a_ctrl_c_that_is_swallowed_in_the_training_keeps_a_checkpoint_to_go_on_from(
    line_run: Any, ctrl_c: None
) -> None:
    def swallow(event: Progress) -> None:
        if event.step == 50:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    file, new = load_config(line_run.config, ("training.ensemble=1",)), Path("new")
    with (
        interruption.remembered(),
        pytest.raises(failures.InterruptedTrainingError, match="resume with: the command"),
        failures.guarded_training(new, "the command"),
    ):
        train_run(file, new, resume=False, overwrite=False, on_event=swallow)
    assert Path("new/STATUS").read_text() == "interrupted\n"
    assert json.loads(Path("new/history.jsonl").read_text().splitlines()[-1])["step"] in (50, 75)
    train_run(file, new, resume=True, overwrite=False, on_event=lambda event: None)
    assert Path("new/STATUS").read_text() == "done\n"


def test_a_ctrl_c_is_remembered_only_where_it_is_asked_for(ctrl_c: None) -> None:
    with pytest.raises(KeyboardInterrupt), interruption.remembered():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interruption.heeded():
            raise RuntimeError
        interruption.check()
    with interruption.remembered():
        interruption.check()
        with pytest.raises(RuntimeError), interruption.heeded():
            raise RuntimeError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.remembered():
        signal.raise_signal(signal.SIGINT)
        interruption.check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
