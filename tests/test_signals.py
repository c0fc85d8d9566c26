"""What ends a command from outside: SIGTERM and SIGHUP are as orderly as Ctrl-C, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cde_app.cli import failures
from cde_app.machine import interruption
from tests.conftest import PROJECT

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def start(*arguments: object, temporary: Path, ignoring: int | None = None) -> subprocess.Popen[str]:
    """Start `cde` with usual handlers, and a folder for its temporary files."""
    temporary.mkdir()

    def handlers() -> None:
        for number in SIGNALS:  # a job in the background would ignore SIGINT
            signal.signal(number, signal.SIG_IGN if number == ignoring else signal.SIG_DFL)

    command = [sys.executable, "-m", "cde_app", *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=handlers)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def long_table(line_run: Any, tmp_path: Path) -> Path:
    header, *rows = line_run.table.read_text().splitlines()
    path = tmp_path / "long.csv"
    path.write_text("\n".join([header, *(rows * 4000)]) + "\n")
    return path


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
def test_a_signal_leaves_nothing_of_a_prediction(number: int, line_run: Any, long_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start("predict", line_run.run, long_table, "--out", out, temporary=tmp_path / "temporary") as process:
        wait_for(lambda: (out / ".cde-next").exists())
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (SIGNALS[number], "interrupted\n")
    assert not out.exists()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.slow
def test_under_nohup_a_hangup_ends_nothing(line_run: Any, long_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("predict", line_run.run, long_table, "--out", out, "--samples", "0")
    with start(*arguments, temporary=tmp_path / "temporary", ignoring=signal.SIGHUP) as process:
        wait_for(lambda: (out / ".cde-next").exists())
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=300)
    assert process.returncode == 0
    assert (out / "manifest.json").exists()


def test_the_second_sigterm_does_not_interrupt_what_the_first_began() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with interruption.remembered() as received:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                interruption.check()
            assert received.exit_code == 143
        interruption.check()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interruption_that_a_library_turns_into_its_own_error_is_still_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("error building something") from None

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        assert failures.call(command, show_traceback=False) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
def test_the_exit_code_is_ours_although_an_import_was_interrupted(number: int, tmp_path: Path) -> None:
    """Python ends itself by SIGINT if a plain KeyboardInterrupt has passed through an import."""
    (tmp_path / "slow.py").write_text("import os, sys, time; os.kill(os.getpid(), int(sys.argv[1])); time.sleep(5)")
    code = "import sys; from cde_app.cli import failures\n"
    code += "sys.exit(failures.call(lambda: __import__('slow'), show_traceback=False))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(int(number))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{tmp_path}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == SIGNALS[number]
