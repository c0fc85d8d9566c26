"""The error boundary: which lines and which exit code a failure becomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from cde_app.cli import failures
from cde_app.errors import CdeError, ConfigError, DataError, GateError, NumericalError, RunError, UsageError
from cde_app.runs.run import Run


def raiser(error: BaseException) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise error

    return command


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send the logs of bugs into the test's own folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "code"),
    [(UsageError, 2), (ConfigError, 2), (DataError, 3), (NumericalError, 4), (GateError, 5), (RunError, 6)],
)
def test_every_fault_is_one_line_and_the_kind_is_the_exit_code(
    capsys: pytest.CaptureFixture[str], kind: type[CdeError], code: int
) -> None:
    assert failures.call(raiser(kind("a.csv: one", "a.csv: two")), show_traceback=False) == code
    captured = capsys.readouterr()
    assert captured.err == "error: a.csv: one\nerror: a.csv: two\n"
    assert captured.out == ""


def test_brackets_in_a_message_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    failures.call(raiser(ConfigError("a.yaml:1:1: got [red]x[/red] and ['a', 'b'] \\[c]")), show_traceback=False)
    assert capsys.readouterr().err == "error: a.yaml:1:1: got [red]x[/red] and ['a', 'b'] \\[c]\n"


def test_a_bug_is_a_short_line_that_names_the_log_with_the_traceback(
    capsys: pytest.CaptureFixture[str], temporary_folder: Path
) -> None:
    assert failures.call(raiser(ZeroDivisionError("no\nmore")), show_traceback=False) == 1
    (line,) = capsys.readouterr().err.splitlines()
    match = re.fullmatch(r"error: this is a bug in cde: ZeroDivisionError: no\. The traceback is in (.*)\.", line)
    assert match
    assert Path(match[1]).parent == temporary_folder
    assert "Traceback (most recent call last)" in Path(match[1]).read_text()


def test_verbose_shows_the_traceback_of_a_bug_too(capsys: pytest.CaptureFixture[str], temporary_folder: Path) -> None:
    assert failures.call(raiser(ZeroDivisionError()), show_traceback=True) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_bug_after_a_checkpoint_goes_to_the_log_of_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def command() -> None:
        with failures.guarded_training(tmp_path / "a", "cde train"), Run.create(tmp_path / "a", overwrite=False) as run:
            run.write_bytes("checkpoints/1.npz", b"")
            raise ZeroDivisionError("no")

    assert failures.call(command, show_traceback=False) == 1
    assert f"The traceback is in {tmp_path / 'a/log.txt'}." in capsys.readouterr().err
    assert "ZeroDivisionError: no" in (tmp_path / "a/log.txt").read_text()


def test_an_interrupted_training_prints_how_to_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def command() -> None:
        with (
            failures.guarded_training(tmp_path / "a", "cde train x.yaml --resume"),
            Run.create(tmp_path / "a", overwrite=False) as run,
        ):
            run.write_bytes("checkpoints/1.npz", b"")
            raise KeyboardInterrupt

    assert failures.call(command, show_traceback=False) == 130
    assert capsys.readouterr().err == "interrupted; resume with: cde train x.yaml --resume\n"


def test_a_training_interrupted_before_its_first_checkpoint_says_that_nothing_was_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def command() -> None:
        with failures.guarded_training(tmp_path / "a", ""), Run.create(tmp_path / "a", overwrite=False):
            raise KeyboardInterrupt

    assert failures.call(command, show_traceback=False) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(130)])
def test_any_other_command_that_is_interrupted_exits_with_130(
    capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert failures.call(raiser(error), show_traceback=False) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("value", "code"), [(None, 0), (0, 0), (2, 2), ("text", 1)])
def test_an_exit_keeps_its_code(value: int | str | None, code: int) -> None:
    assert failures.call(raiser(SystemExit(value)), show_traceback=False) == code
