"""Progress on standard error: bars on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cde_app.words import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from cde_app.progress import Progress

SECONDS_BETWEEN_LINES = 5.0
ENDS = ("done", "failed", "pruned")
"""Stages with which a unit ends."""


def say(line: str) -> None:
    """Write one line to standard error, without markup; nobody may be reading it."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it may be closed, before or after the start
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()


class ProgressDisplay:
    """Shows a workflow's events; a context manager, to be called with each event.

    A training is shown by one bar per stage. Of several side by side, each has one bar until it ends.

    Args:
        quiet: True shows only warnings, False every event as a line, None bars or a line every few seconds.
    """

    def __init__(self, quiet: bool | None) -> None:
        self._quiet = quiet
        self._stages: dict[str | int, str] = {}
        """The last stage of each unit or training; those that run side by side take turns."""
        self._warnings: set[str] = set()
        """Those of units, which often have the same ones."""
        self._last_line = -SECONDS_BETWEEN_LINES
        self._bars: Bars | None = None
        self._tasks: dict[str | int, TaskID] = {}

    def __enter__(self) -> Self:
        """Draw bars if standard error is a terminal."""
        if self._quiet is None and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.fields[stage]}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.description}", markup=False),
            )
            self._bars = Progress(*columns, console=Console(stderr=True, markup=False, highlight=False))
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the bars."""
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Progress) -> None:
        """Show an event, unless it is too soon after the last line; always show a warning."""
        warns = event.stage == "warning"
        if self._quiet and not warns:
            return
        if event.unit and warns:
            if event.message in self._warnings:
                return
            self._warnings.add(event.message)
        begins = event.stage != self._stages.get(event.unit or event.training) or warns
        self._stages[event.unit or event.training] = event.stage
        if self._bars is not None:
            self._draw(event, begins=begins)
            return
        now = time.monotonic()
        ends = event.step is not None and event.step == event.max_steps
        if self._quiet is False or begins or ends or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            say(f"[{label_of(event)}] {describe(event)}".rstrip())

    def _draw(self, event: Progress, *, begins: bool) -> None:
        """Begin a bar with each stage of a training; a bar without a known end pulses."""
        if self._bars is None:
            return
        key = event.unit or event.training
        task = self._tasks.get(key)
        if event.unit and event.stage in ENDS:
            if task is not None:
                self._bars.remove_task(self._tasks.pop(key))
            return
        if task is None or (begins and not event.unit):
            if task is not None:
                self._bars.stop_task(task)
            task = self._tasks[key] = self._bars.add_task("", total=None, stage="")
        self._bars.update(
            task,
            total=event.max_steps,
            completed=event.step or 0,
            description=printable(describe(event)),
            stage=printable(label_of(event)),
        )


def label_of(event: Progress) -> str:
    """Write the stage of an event, after the unit that it belongs to."""
    return f"{event.unit}: {event.stage}" if event.unit else event.stage


def describe(event: Progress) -> str:
    """Write an event as text, the most important parts first."""
    parts = [event.which_training] if event.which_training else []
    if event.step is not None:
        parts.append(f"{event.noun} {event.step}" + (f"/{event.max_steps}" if event.max_steps is not None else ""))
    if event.bound is not None:
        parts.append(f"bound {event.bound:.4f}")
    parts += [f"{name} {value:.4f}" for name, value in event.metrics.items()]
    if event.validation_score is not None:
        parts.append(f"validation {event.validation_score:.4f}")
    if event.steps_per_second is not None:
        parts.append(f"{event.steps_per_second:.3g} steps/s")
    if event.seconds_left is not None:
        minutes, seconds = divmod(round(event.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if event.message:
        parts.append(event.message)
    return "  ".join(parts)
