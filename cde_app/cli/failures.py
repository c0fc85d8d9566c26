"""The only place that turns an exception into lines on standard error and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cde_app.cli.console import say
from cde_app.errors import CdeError
from cde_app.machine import interruption

BUG, OUT_OF_MEMORY = 1, 8
INTERRUPTED = 130


class InterruptedTrainingError(Exception):
    """Ctrl-C during a training; the message says how to resume."""


class OutOfMemoryInTrainingError(MemoryError):
    """Too little memory for a training.

    Args:
        what: what did not fit; "" if that is unknown.
        advice: what to do.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


class TrainingBugError(Exception):
    """An unexpected exception during a training, which is its `__cause__`.

    Args:
        log: the run's log, where the traceback goes.
    """

    def __init__(self, log: Path) -> None:
        super().__init__(str(log))
        self.log = log


@contextmanager
def guarded_training(run: Path, resume_command: str) -> Iterator[None]:
    """Add to an interruption how to resume the training, to too little memory what a training can do about it.

    Add to a bug which log takes its traceback.
    """
    from cde_app.data.cost import HOW_TO_LOWER
    from cde_app.runs import folder as run_folder

    try:
        yield
    except CdeError:
        raise
    except KeyboardInterrupt:
        can_resume = run_folder.has_checkpoint(run)
        advice = f"resume with: {resume_command}" if can_resume else "there was no checkpoint yet, and nothing was kept"
        raise InterruptedTrainingError(advice) from None
    except MemoryError as error:
        advice = f"{HOW_TO_LOWER}, lower --workers, or use a larger machine."
        if run_folder.has_checkpoint(run):
            advice = f"Lower --workers or use a larger machine, and resume with: {resume_command}"
        raise OutOfMemoryInTrainingError(str(error), advice) from error
    except Exception as error:
        folder = run_folder.unfinished(run)
        if folder is None:
            raise
        raise TrainingBugError(folder / "log.txt") from error


@contextmanager
def continued_by(command: str) -> Iterator[None]:
    """Add to an interruption the command that goes on with what is done."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedTrainingError(f"continue with: {command}") from None


def call(command: Callable[[], object], *, show_traceback: bool) -> int:
    """Run a command and return its exit code; it may also set the code by SystemExit.

    Args:
        command: what to run.
        show_traceback: also write the traceback of a bug to standard error.
    """
    with interruption.remembered() as signals:
        try:
            command()
        except CdeError as error:
            for fault in error.faults:
                say(f"error: {fault}")
            return error.exit_code
        except InterruptedTrainingError as error:
            say(f"interrupted; {error}")
            return signals.exit_code
        except KeyboardInterrupt:
            say("interrupted")
            return signals.exit_code
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if code == INTERRUPTED:  # Typer turns KeyboardInterrupt into this code
                say("interrupted")
                return signals.exit_code
            return code
        except MemoryError as error:
            advice = "Lower --samples, --workers or predict.chunk_rows, or use a larger machine."
            if isinstance(error, OutOfMemoryInTrainingError):
                advice = error.advice
            got = f"too little ({error})" if str(error) else "too little"
            say(f"error: expected enough memory for this; got {got}. {advice}")
            return OUT_OF_MEMORY
        except Exception as error:
            if signals.number is not None:  # a library has turned the interruption into an error of its own
                say("interrupted")
                return signals.exit_code
            _report_bug(error, show_traceback=show_traceback)
            return BUG
    return 0


def _report_bug(error: Exception, *, show_traceback: bool) -> None:
    """Write the traceback to a log, and a line that names it."""
    log = error.log if isinstance(error, TrainingBugError) else None
    cause = error.__cause__ if isinstance(error, TrainingBugError) and error.__cause__ else error
    text = "".join(traceback.format_exception(cause))
    try:
        if log is None:
            handle, name = tempfile.mkstemp(prefix="cde-", suffix=".log")
            os.close(handle)
            log = Path(name)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{' '.join(sys.argv)}\n{text}")
    except OSError:
        log, show_traceback = None, True
    summary = textwrap.shorten((str(cause).strip().splitlines() or [""])[0], 200, placeholder=" ...")
    where = f"The traceback is in {log}." if log else "The traceback cannot be written to a file."
    say(f"error: this is a bug in cde: {type(cause).__name__}: {summary}. {where}")
    if show_traceback:
        for line in text.splitlines():
            say(line)
