"""Whatever ends a training or a prediction, and whenever: what was done is kept, and what goes on ends the same.

A process that dies is shown in two ways: real processes are killed at drawn moments, and a training in this process is
copied before its system calls, as a process that dies there leaves its folder (`tests/system_calls.py`).
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cde_app.cli import failures
from cde_app.config_file import load_config
from cde_app.data.cost import HOW_TO_LOWER
from cde_app.errors import RunError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Executor, Serial
from cde_app.progress import Progress
from cde_app.runs import folder as run_folder
from cde_app.runs.run import Run
from cde_app.workflow.train import train_run
from cde_app.workflow.verify import verify_run
from tests.conftest import needs_tensorflow
from tests.system_calls import Call, calls_of, choose_calls, refusing, watched

CONFIG = """\
schema_version: 1
data:
  path: table.csv
  inputs: [t]
  targets: [y]
  split: {kind: random, validation: 0.2, test: 0.2}
model:
  layers: []
  output: {num_inducing: 5, num_inducing_latent: 4}
training:
  max_steps: STEPS
  checkpoint_every: 25
  ensemble: 2
  early_stopping: {every: 25}
  warm_start: {max_steps: 2}
predict: {num_components: 8}
"""
REFUSED = re.compile(r"error: \S+: expected a f\w+( or folder)? that can be (written|made|deleted); got .+\n")

Cde = Callable[..., Any]
FEW = 4
"""Calls of a fast test."""
VOLATILE = {"seconds", "argv", "machine", "inputs", "outputs", "packages", "python", "cde_version"}
"""What in a manifest differs between two trainings of the same model."""


def write_configuration(folder: Path, *, steps: int) -> Path:
    """Write a table of 40 rows and the configuration of a small model."""
    rng = np.random.default_rng(2)
    t = np.sort(rng.uniform(0, 10, 40))
    y = 50 + 10 * np.sin(t) + rng.normal(size=40)
    (folder / "table.csv").write_text("t,y\n" + "".join(f"{a},{b}\n" for a, b in zip(t, y, strict=True)))
    (folder / "config.yaml").write_text(CONFIG.replace("STEPS", str(steps)))
    return folder / "config.yaml"


def essence(run: Path) -> dict[str, Any]:
    """Return all that a training decides: the bytes of every file, but for times and what has them."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    history = [json.loads(line) for line in files.pop("history.jsonl").decode().splitlines()]
    manifest = json.loads(files.pop("manifest.json"))
    for name in ("log.txt", "SHA256SUMS", ".lock"):  # the lock of a dead process
        files.pop(name, None)
    return {
        **files,
        "history": [{key: value for key, value in entry.items() if key != "elapsed_seconds"} for entry in history],
        "manifest": {key: value for key, value in manifest.items() if key not in VOLATILE},
    }


# --- predictions and reports -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writing:
    """A command that writes into a folder where something is already."""

    arguments: tuple[object, ...]
    folder: Path
    before: Path
    """A copy of the folder as it was."""

    def begin(self) -> None:
        """Make the folder as it was."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.before, self.folder)


def visible(folder: Path) -> dict[str, bytes]:
    """Return what a user sees in a folder: its files, but for what has times."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    shown = {name: path for name, path in files.items() if not name.startswith(".") and "/." not in name}
    return {name: path.read_bytes() for name, path in shown.items() if name not in ("manifest.json", "SHA256SUMS")}


def settle(folder: Path) -> None:
    """Let the next writer finish what a dead one has begun, and then be refused."""
    with pytest.raises(RunError, match=r"is not empty|is a run"), run_folder.predictions(folder, overwrite=False):
        pass


@pytest.fixture(params=["predict", "report"])
def writing(request: pytest.FixtureRequest, line_run: Any, cde: Cde, tmp_path: Path) -> Writing:
    work = tmp_path / "work"
    if request.param == "report":
        shutil.copytree(line_run.run, work)
        arguments: tuple[object, ...] = ("report", work, "--no-explorer")
    else:
        header, *rows = line_run.table.read_text().splitlines()
        (tmp_path / "few.csv").write_text("\n".join([header, *rows[:4]]) + "\n")
        arguments = ("predict", line_run.run, tmp_path / "few.csv", "--out", work, "--overwrite")
        assert cde(*arguments, "--samples", "2").code == 0
        arguments = (*arguments, "--samples", "3", "--components")
    shutil.copytree(work, tmp_path / "before")
    return Writing(arguments, work, tmp_path / "before")


@pytest.mark.parametrize("most", [FEW, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_command_that_dies_or_is_refused_at_a_system_call_keeps_the_old_files_or_has_the_new_ones(
    most: int, writing: Writing, cde: Cde, tmp_path: Path
) -> None:
    folder, old = writing.folder, visible(writing.before)
    calls = calls_of(folder, lambda: cde(*writing.arguments))
    new, chosen = visible(folder), choose_calls(calls, most=most, seed=0)
    assert new != old
    assert most == FEW or len(chosen) == len(calls)
    outcomes = set()
    for number in chosen:
        writing.begin()
        with watched(folder, refusing(number)):
            outcome = cde(*writing.arguments)
        if outcome.code:
            assert outcome.code == 6, (calls[number], outcome)
            assert REFUSED.fullmatch(outcome.err), (calls[number], outcome)
        outcomes.add(outcome.code)
        assert_old_or_new(folder, old, new)

    def before(call: Call) -> None:
        if call.number in chosen:
            watcher.copy(tmp_path / str(call.number), loses_power=call.number % 2 == 1)

    writing.begin()
    with watched(folder, before) as watcher:
        assert cde(*writing.arguments).code == 0
    for number in chosen:
        assert_old_or_new(tmp_path / str(number), old, new)
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / str(number), folder)
        if number == chosen[-1] or number % 4 == 0:
            assert cde(*writing.arguments).code == 0
            assert visible(folder) == new
            assert not [name for name in os.listdir(folder) if name.startswith(".")]
    assert 6 in outcomes


def assert_old_or_new(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Check that each file of a folder is the old or the new one, and that predictions are all of them the same."""
    settle(folder)
    found = visible(folder)
    if run_folder.status(folder):  # each file of a report is one by itself
        Run.open(folder)
        assert all(content in (old.get(name), new.get(name)) for name, content in found.items())
        assert old.keys() <= found.keys() <= new.keys()
    else:
        assert found in (old, new)
        assert (folder / "manifest.json").exists()


def test_the_copies_of_a_dying_process_show_what_a_careless_program_loses(tmp_path: Path) -> None:
    """The negative control of this file: without a temporary file halves are seen, without fsync nothing outlasts."""
    work = tmp_path / "work"
    work.mkdir()

    def before(call: Call) -> None:
        for loses_power in (False, True):
            watcher.copy(tmp_path / f"{call.name}{call.number}{loses_power}", loses_power=loses_power)

    with watched(work, before) as watcher:
        (work / "a").write_bytes(b"old and new")
        os.rename(work / "a", work / "b")
    kept = {path.parent.name: path.read_bytes() for path in tmp_path.glob("*/?") if path.parent != work}
    assert kept == {
        "write1False": b"",
        "write1True": b"",
        "write2False": b"old a",
        "write2True": b"",
        "rename3False": b"old and new",
        "rename3True": b"",
    }


# --- in this process: at every place where the folder is changed -----------------------------------------------------


@dataclass(frozen=True)
class OneWorker(Execution):
    """Trains in this process, with a worker that keeps the compiled step from one command to the next."""

    kind: Any = "serial"
    executor: Serial = field(default_factory=Serial)

    def open(self, num_units: int, *, bytes_per_worker: float) -> Executor:
        """Return the one."""
        return self.executor


@dataclass
class Trainings:
    """Commands that train the small model, below the folder `work`."""

    config: Path
    work: Path
    finished: Path
    """A finished run."""
    essence: dict[str, Any]
    """Of that run."""
    execution: Execution

    @property
    def run(self) -> Path:
        """The run that the commands write."""
        return self.work / "run"

    def train(self, run: Path, *, resume: bool = False, on_event: Callable[[Progress], None] = lambda _: None) -> int:
        """Train a new run, or the successor of one that is there, as the command line does; return the exit code."""

        def command() -> None:
            with failures.guarded_training(run, "the command"):
                train_run(
                    load_config(self.config, ()),
                    run,
                    resume=resume,
                    overwrite=not resume,
                    on_event=on_event,
                    draw=False,
                    execution=self.execution,
                )

        return failures.call(command, show_traceback=True)

    def go_on(self, run: Path) -> None:
        """Do what a user does after a crash: resume, or train again if there is nothing to resume."""
        run_folder.settle(run)
        resume = run_folder.unfinished(run) is not None
        if resume or not run_folder.is_finished(run) or (run / run_folder.NEXT).exists():
            assert self.train(run, resume=resume) == 0
        else:
            with Run.open(run).held():  # the next writer tidies up
                pass

    def begin(self, *, succeeds: bool) -> None:
        """Make the folder ready for a new run, or for the successor of a finished one."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        if succeeds:
            shutil.copytree(self.finished, self.run)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    folder = tmp_path_factory.mktemp("kills")
    config = write_configuration(folder, steps=75)
    found = Trainings(config, folder / "work", folder / "finished", {}, OneWorker())
    assert found.train(found.finished) == 0
    found.essence = essence(found.finished)
    assert {f"posterior/{name}" for name in ("arrays.npz", "spec.json")} < set(found.essence)
    assert [entry["step"] for entry in found.essence["history"]] == [25, 50, 75] * 2
    return found


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(("succeeds", "most"), [(False, 30), (True, 150)], ids=["new", "successor"])
def test_a_training_that_dies_before_any_system_call_resumes_to_the_same_bytes(
    succeeds: bool, most: int, trainings: Trainings, tmp_path: Path
) -> None:
    trainings.begin(succeeds=succeeds)
    calls = calls_of(trainings.work, lambda: trainings.train(trainings.run))
    chosen = set(choose_calls(calls, most=most, seed=1))
    assert len(chosen) == most
    assert not succeeds or {calls[number].place for number in chosen} == {call.place for call in calls}
    trainings.begin(succeeds=succeeds)

    def before(call: Call) -> None:
        if succeeds and (call.name != "write" or call.number in chosen):
            Run.open(trainings.run)  # which checks the hashes of the old or of the new run
        if call.number in chosen:
            watcher.copy(tmp_path / str(call.number), loses_power=call.number % 2 == 1)

    with watched(trainings.work, before) as watcher:
        assert trainings.train(trainings.run) == 0
    assert essence(trainings.run) == trainings.essence
    for number in sorted(chosen):
        run = tmp_path / str(number) / "run"
        trainings.go_on(run)
        assert essence(run) == trainings.essence, calls[number]
        assert verify_run(run)
        shutil.rmtree(tmp_path / str(number))
    print(f"{len(chosen)} of {len(calls)} calls at {len({call.place for call in calls})} places")


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(("succeeds", "most"), [(False, 12), (True, 24)], ids=["new", "successor"])
def test_a_training_that_is_refused_any_system_call_says_so_and_resumes_to_the_same_bytes(
    succeeds: bool, most: int, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.begin(succeeds=succeeds)
    calls = calls_of(trainings.work, lambda: trainings.train(trainings.run))
    chosen = choose_calls(calls, most=most, seed=2)
    refused = 0
    for number in chosen:
        trainings.begin(succeeds=succeeds)
        capsys.readouterr()
        with watched(trainings.work, refusing(number)):
            code = trainings.train(trainings.run)
        err = capsys.readouterr().err
        if code == 0:  # what was refused was no more than tidying up
            assert err == "", calls[number]
        else:
            refused += 1
            assert code == 6, (calls[number], err)
            assert REFUSED.fullmatch(err), (calls[number], err)
        if succeeds:
            Run.open(trainings.run)
        trainings.go_on(trainings.run)
        assert essence(trainings.run) == trainings.essence, calls[number]
        assert verify_run(trainings.run)
    print(f"{refused} of {len(chosen)} refused; {len(calls)} calls at {len({call.place for call in calls})} places")


@needs_tensorflow
@pytest.mark.slow
def test_a_training_without_memory_says_how_to_resume_and_does_so_to_the_same_bytes(
    trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    for step, is_kept in ((None, False), (25, True), (75, True)):
        trainings.begin(succeeds=False)
        capsys.readouterr()

        def exhaust(event: Progress, step: int | None = step) -> None:
            if event.step == step and event.stage in ("warm start", "training"):
                raise MemoryError("8 GB")

        assert trainings.train(trainings.run, on_event=exhaust) == 8
        advice = "Lower --workers or use a larger machine, and resume with: the command"
        if not is_kept:
            advice = f"{HOW_TO_LOWER}, lower --workers, or use a larger machine."
        got = "error: expected enough memory for this; got too little (8 GB). "
        assert capsys.readouterr().err == f"{got}{advice}\n"
        trainings.go_on(trainings.run)
        assert essence(trainings.run) == trainings.essence


# --- real processes -------------------------------------------------------------------------------------------------

MOST_RUNS = 25
"""Trainings from start to end in which the blows may fall; usually several fall in one."""
SECONDS_TO_NOTICE = 60.0
"""How long a worker may take to notice that its command has died: the longest step of a training on a busy machine."""


@dataclass(frozen=True)
class Blow:
    """What ends a training from outside."""

    number: signal.Signals
    to_all: bool
    """Whether the workers get it too, as by Ctrl-C in a terminal or by the end of a session."""
    at_checkpoint: int | None
    """Strike while this checkpoint, counted from the start of the process, is being written."""
    moment: float
    """Otherwise: strike after this share of the time that a whole training takes."""


def blows(number: int, *, seed: int) -> list[Blow]:
    """Draw what ends trainings: mostly SIGKILL, and every second time while a checkpoint is written."""
    rng = np.random.default_rng(seed)
    kinds = [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM]
    return [
        Blow(
            kinds[place % len(kinds)],
            to_all=bool(rng.integers(2)),
            at_checkpoint=int(rng.integers(1, 6)) if place % 2 else None,
            moment=float(rng.uniform(0, 1)),
        )
        for place in range(number)
    ]


def start(config: Path, run: Path) -> subprocess.Popen[str]:
    """Begin or resume a training with two processes, in a session of its own."""
    return start_command("train", config, run, *(["--resume"] if run_folder.unfinished(run) else ["--overwrite"]))


def start_command(command: str, config: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Begin a command with two processes, in a session of its own."""
    arguments = [command, str(config), "--out", str(out), "--quiet", "--threads", "1", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "cde_app", *arguments, "--executor", "processes", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background would ignore it
    )


def strike(process: subprocess.Popen[str], run: Path, blow: Blow, *, usual_seconds: float) -> None:
    """Wait for the moment, unless the process ends before, and strike."""
    begun, seen, was_writing = time.monotonic(), 0, False
    while process.poll() is None:
        if blow.at_checkpoint is None:
            if time.monotonic() - begun >= blow.moment * usual_seconds:
                break
            time.sleep(0.005)
            continue
        folder = run / "checkpoints"
        is_writing = folder.is_dir() and any(name.startswith(".tmp-") for name in os.listdir(folder))
        seen += is_writing and not was_writing
        was_writing = is_writing
        if seen == blow.at_checkpoint and is_writing:
            break
        time.sleep(0.0005)
    if process.poll() is None:
        (os.killpg if blow.to_all else os.kill)(process.pid, blow.number)


def wait_for_workers(group: int) -> None:
    """Wait until no process of a session is left."""
    deadline = time.monotonic() + SECONDS_TO_NOTICE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("a worker has outlived its command")


@pytest.fixture(scope="module")
def processes_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], float]:
    """A configuration, what two processes make of it, and how long that takes [s]."""
    folder = tmp_path_factory.mktemp("processes")
    config, begun = write_configuration(folder, steps=300), time.monotonic()
    process = start(config, folder / "run")
    assert process.wait() == 0, process.stderr and process.stderr.read()
    return config, essence(folder / "run"), time.monotonic() - begun


@needs_tensorflow
@pytest.mark.slow
def test_trainings_in_two_processes_that_are_killed_again_and_again_end_in_the_same_bytes(
    processes_run: tuple[Path, dict[str, Any], float], tmp_path: Path
) -> None:
    config, expected, usual_seconds = processes_run
    waiting, num_runs = blows(15, seed=3), 0
    struck: list[tuple[Blow, int]] = []
    while waiting:
        # A blow misses a run that ends before it. Then it comes earlier in the next run, and without a checkpoint that
        # a busy machine has not let us see.
        assert num_runs < MOST_RUNS, f"{len(waiting)} blows, the first {waiting[0]}, miss their runs; struck: {struck}"
        run = tmp_path / str(num_runs)
        num_runs += 1
        while True:
            process = start(config, run)
            if waiting:
                strike(process, run, waiting[0], usual_seconds=usual_seconds)
            _, err = process.communicate(timeout=300)
            wait_for_workers(process.pid)
            if process.returncode == 0:
                if waiting:
                    waiting[0] = replace(waiting[0], at_checkpoint=None, moment=waiting[0].moment / 2)
                break
            blow = waiting.pop(0)
            struck.append((blow, process.returncode))
            if blow.number == signal.SIGKILL:
                assert (process.returncode, err) == (-signal.SIGKILL, "")
            elif "interrupted" in err:
                assert process.returncode == 128 + blow.number, err
            else:  # Python had not come to our handlers
                assert process.returncode in (-blow.number, 1), (process.returncode, err)
        assert essence(run) == expected, struck
        assert verify_run(run)
    print(f"{len(struck)} blows, {num_runs} runs; {[(b.number.name, b.to_all, b.at_checkpoint) for b, _ in struck]}")


SWEEP = """\
sweep:
  batch: 2
  space:
    training.learning_rate: {low: 1e-3, high: 0.1, log: true}
"""
STUDIES = {"cv": ("--folds", "3"), "sweep": ("--trials", "4")}


def results_of(out: Path) -> dict[str, Any]:
    """Return what a study decides: the essence of its runs, and its tables but for times."""
    runs = {path.parent.name: essence(path.parent) for path in out.glob("*/manifest.json")}
    files = {path.name: path.read_bytes() for path in (*out.glob("*.csv"), *out.glob("*.yaml"))}
    tables = {path.name: _without_times(json.loads(path.read_text())) for path in out.glob("[!m]*.json")}
    return {"runs": runs, **files, **tables}


def _without_times(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_times(value) for key, value in tree.items() if key not in VOLATILE}
    return [_without_times(value) for value in tree] if isinstance(tree, list) else tree


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("command", STUDIES)
def test_a_study_that_is_killed_again_and_again_ends_in_the_same_results(command: str, tmp_path: Path) -> None:
    config, options, begun = write_configuration(tmp_path, steps=75), STUDIES[command], time.monotonic()
    with config.open("a") as file:
        file.write(SWEEP)
    process = start_command(command, config, tmp_path / "whole", *options)
    _, err = process.communicate()
    assert process.returncode == 0, err
    usual_seconds, expected = time.monotonic() - begun, results_of(tmp_path / "whole")
    assert len(expected["runs"]) == int(options[1])
    rng, struck = np.random.default_rng(4), list[float]()
    while True:
        process = start_command(command, config, tmp_path / "out", *options)
        moment = float(rng.uniform(0.1, 0.6)) if len(struck) < 5 else math.inf
        blow = Blow(signal.SIGKILL, to_all=bool(rng.integers(2)), at_checkpoint=None, moment=moment)
        strike(process, tmp_path / "out", blow, usual_seconds=usual_seconds)
        _, err = process.communicate(timeout=300)
        wait_for_workers(process.pid)
        if process.returncode == 0:
            break
        assert (process.returncode, err) == (-signal.SIGKILL, "")
        struck.append(moment)
    assert struck
    assert results_of(tmp_path / "out") == expected, struck
    print(f"{len(struck)} blows, after {struck} of {usual_seconds:.0f} s")
