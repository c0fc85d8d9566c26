"""The template that worker processes are forked from, and a worker: it runs the units that the caller sends."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NoReturn

from cde_app.execution.executor import Worker, portable
from cde_app.machine import interruption
from cde_app.machine.silence import silenced_stderr


class ProcessWorker(Worker):
    """The worker of this process.

    Args:
        connection: to the caller.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection, self._stopping = connection, False

    def report(self, event: Any) -> None:
        """Send an event to the caller, and stop if that says so."""
        self._connection.send(("event", event))
        if self._connection.poll():
            self._stopping = True
            raise KeyboardInterrupt

    def keep(self, state: Any) -> None:
        """Send a state to the caller."""
        self._connection.send(("state", state))

    def serve(self) -> None:
        """Run what the caller sends, until it stops this worker or ends."""
        while not self._stopping:
            kind, content = self._connection.recv()
            if kind == "stop":
                return
            self._run(content)

    def _run(self, unit: Any) -> None:
        """Run a unit, and send what it returns or raises; what cannot be sent is sent as text."""
        try:
            self._connection.send(("ended", (unit.run(self), None)))
        except (KeyboardInterrupt, BrokenPipeError):  # told to stop, or the caller has ended
            self._connection.send(("ended", (None, None)))
        except Exception as error:
            try:
                self._connection.send(("ended", (None, portable(error))))
            except Exception:
                self._connection.send(("ended", (None, portable(error, as_text=True))))


def main() -> None:
    """Import and fork as the caller says, at the socket whose descriptor is the last argument, until it closes that."""
    for number in interruption.USUAL:  # which a terminal or a supervisor sends to all: the caller decides what stops
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers that end need not be waited for
    caller = Connection(int(sys.argv[-1]))
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            kind, content = caller.recv()
            if kind == "import":
                with contextlib.suppress(Exception), silenced_stderr():  # the unit that needs it will say so
                    importlib.import_module(content)
                continue
            descriptor = recv_handle(caller)
            if os.fork() == 0:
                caller.close()
                work(Connection(descriptor))
            os.close(descriptor)


def work(connection: Connection) -> NoReturn:
    """Be a worker, and end the process without what the template has yet to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        connection.send(("pid", os.getpid()))
        ProcessWorker(connection).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the caller has ended
        pass
    finally:
        sys.stderr.flush()
        os._exit(0)
