"""Progress on standard error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from cde_app.cli import console
from cde_app.progress import Progress


def event(stage: str = "train", **values: Any) -> Progress:
    return Progress(stage, **values)


FULL = event(step=3, max_steps=10, bound=-1.5, validation_score=0.25, steps_per_second=0.1074, seconds_left=65.2)


def test_an_event_is_described_by_what_is_known_of_it() -> None:
    assert console.describe(FULL) == "step 3/10  bound -1.5000  validation 0.2500  0.107 steps/s  1:05 left"
    measured = event(step=3, bound=-1.5, metrics={"causes_local_kl": 0.25})
    assert console.describe(measured) == "step 3  bound -1.5000  causes_local_kl 0.2500"
    assert console.describe(event(message="reading the table")) == "reading the table"
    assert console.describe(event(training=1, num_trainings=4, step=3)) == "2 of 4  step 3"


def test_without_a_terminal_there_is_a_line_per_stage_per_few_seconds_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.ProgressDisplay(None) as display:
        display(event("data"))
        for step in range(1, 14):
            now += 1.0
            display(event("train", step=step, max_steps=13))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "[data]",
        *(f"[train] step {step}/13" for step in (1, 6, 11, 13)),
    ]
    assert captured.out == ""


def test_every_warning_has_a_line_however_soon_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressDisplay(None) as display:
        display(event("warning", message="one"))
        display(event("warning", message="two"))
    assert capsys.readouterr().err.splitlines() == ["[warning] one", "[warning] two"]


def test_units_side_by_side_are_named_and_their_equal_warnings_are_shown_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.ProgressDisplay(None) as display:
        display(event("training", unit="fold-1", step=25, max_steps=50))
        display(event("training", unit="fold-2", step=25, max_steps=50))
        display(event("training", unit="fold-1", step=50, max_steps=50))
        for unit in ("fold-1", "fold-2"):
            display(event("warning", message="few rows", unit=unit))
        display(event("done", unit="fold-1"))
    assert capsys.readouterr().err.splitlines() == [
        "[fold-1: training] step 25/50",
        "[fold-2: training] step 25/50",
        "[fold-1: training] step 50/50",
        "[fold-1: warning] few rows",
        "[fold-1: done]",
    ]


def test_quiet_prints_nothing_and_verbose_prints_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, lines in ((True, 0), (False, 5)):
        with console.ProgressDisplay(quiet) as display:
            for step in range(5):
                display(event(step=step))
        assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize("quiet", [True, False, None])
def test_every_warning_is_printed(quiet: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    with console.ProgressDisplay(quiet) as display:
        for message in ("one", "two"):
            display(event("warning", message=message))
    assert capsys.readouterr().err == "[warning] one\n[warning] two\n"


@pytest.mark.parametrize("no_colour", [False, True])
def test_on_a_terminal_there_is_a_bar_without_colour_if_asked(no_colour: bool) -> None:
    code = (
        "from cde_app.progress import Progress; from cde_app.cli.console import ProgressDisplay\n"
        "with ProgressDisplay(None) as display:\n"
        "    for step in (1, 10):\n"
        "        display(Progress('[train]', '[a]', step=step, max_steps=10, bound=-1.5))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "120"} | ({"NO_COLOR": "1"} if no_colour else {})
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=slave, stdout=subprocess.PIPE, env=environment)
    os.close(slave)
    screen = b""
    try:
        while chunk := os.read(master, 4096):
            screen += chunk
    except OSError:  # the other end of a terminal that is closed
        pass
    os.close(master)
    assert process.communicate()[0] == b""
    assert process.returncode == 0
    text = screen.decode()
    assert "[train]" in text
    assert "step 10/10  bound -1.5000  [a]" in text
    assert ("\x1b[38;5;" in text) is not no_colour
