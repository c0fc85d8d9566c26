"""A Ctrl-C that counts although a library has swallowed it.

TensorFlow catches whatever is raised in some places of its start, KeyboardInterrupt among it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_pressed = threading.Event()


@contextmanager
def remembered() -> Iterator[None]:
    """Remember every Ctrl-C of a block, besides raising KeyboardInterrupt as usual.

    Where Ctrl-C means something else, as for a job in the background, it keeps its meaning.
    """
    usual = signal.default_int_handler
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is usual

    def remember(number: int, frame: FrameType | None) -> None:
        _pressed.set()
        usual(number, frame)

    _pressed.clear()
    if ours:
        signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        _pressed.clear()
        if ours:
            signal.signal(signal.SIGINT, usual)


def check() -> None:
    """Raise the KeyboardInterrupt that was swallowed, if one was.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed in a block of `remembered`.
    """
    if _pressed.is_set():
        raise KeyboardInterrupt


@contextmanager
def heeded() -> Iterator[None]:
    """Take an exception that follows on a Ctrl-C in the block for the Ctrl-C: half of an import breaks the rest.

    Raises:
        KeyboardInterrupt: in place of the exception.
    """
    try:
        yield
    except Exception as error:  # TensorFlow swallows a KeyboardInterrupt in places, and fails of what it left undone
        if _pressed.is_set():
            raise KeyboardInterrupt from error
        raise
