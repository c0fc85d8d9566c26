"""A Ctrl-C that takes effect even if a library has swallowed it.

Parts of TensorFlow's initialisation catch every exception, including KeyboardInterrupt.
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

    If Ctrl-C has another handler, as in a background job, that handler stays.
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
    """Replace an exception that follows a Ctrl-C in the block: an interrupted import breaks whatever comes next.

    Raises:
        KeyboardInterrupt: in place of the exception.
    """
    try:
        yield
    except Exception as error:  # TensorFlow may swallow a KeyboardInterrupt and fail later
        if _pressed.is_set():
            raise KeyboardInterrupt from error
        raise
