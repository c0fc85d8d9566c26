"""Progress on standard error: bars on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from cde_app.progress import Progress

SECONDS_BETWEEN_LINES = 5.0


def say(line: str) -> None:
    """Write one line to standard error, without markup."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class ProgressDisplay:
    """Shows a workflow's events; a context manager, to be called with each event.

    Args:
        quiet: True shows only warnings, False every event as a line, None bars or a line every few seconds.
    """

    def __init__(self, quiet: bool | None) -> None:
        self._quiet = quiet
        self._stage: str | None = None
        self._last_line = -SECONDS_BETWEEN_LINES
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Draw bars if standard error is a terminal."""
        if self._quiet is None and sys.stderr.isatty():
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
        begins, self._stage = event.stage != self._stage or warns, event.stage
        if self._bars is not None:
            self._draw(event, begins=begins)
            return
        now = time.monotonic()
        ends = event.step is not None and event.step == event.max_steps
        if self._quiet is False or begins or ends or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            say(f"[{event.stage}] {describe(event)}".rstrip())

    def _draw(self, event: Progress, *, begins: bool) -> None:
        """Begin a bar with each stage; a bar without a known end pulses."""
        if self._bars is None:
            return
        if begins or self._task is None:
            if self._task is not None:
                self._bars.stop_task(self._task)
            self._task = self._bars.add_task("", total=None, stage=event.stage)
        self._bars.update(self._task, total=event.max_steps, completed=event.step or 0, description=describe(event))


def describe(event: Progress) -> str:
    """Write an event as text, the most important parts first."""
    parts = [event.which_training] if event.which_training else []
    if event.step is not None:
        parts.append(f"step {event.step}" + (f"/{event.max_steps}" if event.max_steps is not None else ""))
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
