"""Signals that end a command in order: Ctrl-C, SIGTERM and SIGHUP, also if a library has swallowed one.

Parts of TensorFlow's initialisation catch every exception, including KeyboardInterrupt.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

USUAL: dict[int, Callable[..., Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""What is handled, and the handler that Python gives it."""
if hasattr(signal, "SIGHUP"):
    USUAL[signal.SIGHUP] = signal.SIG_DFL


class SignalKeyboardInterrupt(KeyboardInterrupt):
    """A KeyboardInterrupt by a signal.

    Python ends itself by SIGINT, whatever its exit code is, if a KeyboardInterrupt of exactly this class has passed
    through an import, even if it was caught later.
    """


@dataclass
class Received:
    """The first signal of a block of `remembered`."""

    number: int | None = None

    @property
    def exit_code(self) -> int:
        """The code with which a shell expects an interrupted command to end."""
        return 128 + (signal.SIGINT if self.number is None else self.number)


_received = Received()


@contextmanager
def remembered() -> Iterator[Received]:
    """Let the signals of a block raise KeyboardInterrupt, and remember the first of them.

    A signal that has another handler than usual keeps it, as SIGINT in a background job and SIGHUP under nohup.
    After the first, SIGTERM and SIGHUP do nothing more, so that what is being tidied up is not interrupted.
    """
    global _received
    _received = Received()

    def remember(number: int, frame: FrameType | None) -> None:
        is_first = _received.number is None
        _received.number = number if is_first else _received.number
        if is_first or number == signal.SIGINT:
            raise SignalKeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    ours = [number for number, usual in USUAL.items() if in_main and signal.getsignal(number) == usual]
    for number in ours:
        signal.signal(number, remember)
    try:
        yield _received
    finally:
        _received = Received()
        for number in ours:
            signal.signal(number, USUAL[number])


def check() -> None:
    """Raise the KeyboardInterrupt that was swallowed, if one was.

    Raises:
        KeyboardInterrupt: a signal was received in a block of `remembered`.
    """
    if _received.number is not None:
        raise KeyboardInterrupt


@contextmanager
def heeded() -> Iterator[None]:
    """Replace an exception that follows a signal in the block: an interrupted import breaks whatever comes next.

    Raises:
        KeyboardInterrupt: in place of the exception.
    """
    try:
        yield
    except Exception as error:  # TensorFlow may swallow a KeyboardInterrupt and fail later
        if _received.number is not None:
            raise KeyboardInterrupt from error
        raise
