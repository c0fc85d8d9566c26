"""The executor that uses worker processes of this machine.

A new interpreter, the template, imports what the workers need, and every worker is a fork of it: TensorFlow is imported
once, and before its runtime has started. The template is started by itself and not by `multiprocessing`, whose fork
server runs the caller's main module again: a script that trains without `if __name__ == "__main__"` would train in
every worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from types import TracebackType
from typing import Any

from cde_app.errors import WorkerError
from cde_app.execution.executor import MAX_ATTEMPTS, Executor, OnMessage, Outcome, R, Work, ignore
from cde_app.machine.threads import num_threads, of_threads

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from cde_app.execution.process_worker import main; main()"
)
CAN_FORK_LATE = sys.platform == "linux"
"""Whether a process may fork after it has imported numerical libraries; those of macOS do not allow it."""
MOST_AHEAD = 4
"""How many units per worker may be ahead of the oldest that has not ended, if they are taken one by one."""
SECONDS_TO_STOP = 20.0
"""How long a unit may take to notice that it should stop: the longest time between two events, a compilation."""


@dataclass
class Processes(Executor):
    """Runs units in worker processes of one thread each, unless a unit asks for more.

    Args:
        num_workers: how many; they are started when they are first needed.
    """

    num_workers: int = 1
    _template: _Template | None = field(default=None, init=False)
    _workers: list[_Process] = field(default_factory=list, init=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        if self._template is not None:
            self._template.end()
            self._template = None

    def import_early(self, module: str) -> None:
        """Let the workers import a module while the caller does something else."""
        if CAN_FORK_LATE:
            self._template = self._template or _Template()
            self._template.send("import", module)

    def threads_each(self, num_units: int) -> int:
        """Return how many threads a unit may use if so many run."""
        return max(1, num_threads() // max(1, min(self.num_workers, num_units)))

    def run(
        self, units: Iterable[Work[R]], *, on_event: OnMessage = ignore, on_state: OnMessage = ignore
    ) -> Generator[Outcome[R], None, None]:
        """Run the units; see `Executor.run`."""
        source, attempts, num_taken = enumerate(units), Counter[int](), 0
        waiting: dict[int, Work[R]] = {}
        busy: dict[Connection, tuple[int, Work[R], _Process]] = {}

        def take() -> None:
            nonlocal num_taken
            room = len(units) if isinstance(units, Sequence) else self._room(num_taken, waiting, busy)
            taken = dict(islice(source, room))
            num_taken += len(taken)
            waiting.update(taken)

        def start() -> None:
            number = min(self.num_workers, len(waiting) + len(busy))
            idle = [worker for worker in self._started(number) if worker.connection not in busy]
            for worker in idle[: len(waiting)]:
                index = self._next(worker, waiting)
                unit = waiting.pop(index)
                attempts[index] += 1
                worker.kind = unit.kind
                busy[worker.connection] = index, unit, worker
                worker.send("run", unit)

        try:
            take()
            while waiting or busy:
                start()
                take()  # while the workers work
                ended: list[Outcome[R]] = []
                for connection in wait(list(busy)):
                    index, unit, worker = busy[connection]  # type: ignore[index]  # these are connections
                    kind, content = worker.receive()
                    match kind:
                        case "event":
                            on_event(index, content)
                        case "state":
                            on_state(index, content)
                        case "pid":
                            pass
                        case "died":
                            del busy[worker.connection]
                            self._workers.remove(worker)
                            if attempts[index] < MAX_ATTEMPTS:
                                waiting[index] = unit
                                continue
                            ended.append(Outcome(index, None, _died(unit.name), attempts[index]))
                        case _:
                            del busy[worker.connection]
                            value, error = content
                            ended.append(Outcome(index, value, error, attempts[index]))
                start()  # before the caller has what has ended, and works with it
                yield from ended
                take()  # if none was left, because the oldest had fallen behind
        finally:
            self._stop(busy, on_event, on_state)

    def _room(
        self,
        num_taken: int,
        waiting: Mapping[int, Work[R]],
        busy: Mapping[Connection, tuple[int, Work[R], _Process]],
    ) -> int:
        """Return how many units may be taken: one waits for each worker, and none is far ahead of the oldest."""
        oldest = min([*waiting, *(index for index, *_ in busy.values())], default=num_taken)
        ahead = num_taken - oldest
        return max(0, min(self.num_workers - len(waiting), MOST_AHEAD * self.num_workers - ahead))

    def _next(self, worker: _Process, waiting: Mapping[int, Work[R]]) -> int:
        """Return the next unit for a worker: of its last kind, else of a kind that no other worker has, else any."""
        others = {other.kind for other in self._workers if other is not worker}
        own = [index for index, unit in waiting.items() if unit.kind == worker.kind]
        free = [index for index, unit in waiting.items() if unit.kind not in others]
        return min(own or free or waiting)

    def _started(self, number: int) -> list[_Process]:
        """Return the first workers, as many as asked for; start those that are missing."""
        while len(self._workers) < number:
            self._template = self._template or _Template()
            try:
                self._workers.append(self._template.fork())
            except OSError:  # it has died: the unit that is given to a dead worker is started again
                self._template.end()
                self._template = None
        return self._workers[:number]

    def _stop(
        self, busy: dict[Connection, tuple[int, Work[R], _Process]], on_event: OnMessage, on_state: OnMessage
    ) -> None:
        """Stop the units that run, and take what they report and keep; end their workers."""
        for *_, worker in busy.values():
            worker.send("stop", None)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while busy and (left := deadline - time.monotonic()) > 0:
            for connection in wait(list(busy), timeout=left):
                index, _, worker = busy[connection]  # type: ignore[index]
                kind, content = worker.receive()
                if kind == "event":  # of steps that the state has, which comes next
                    with contextlib.suppress(Exception, KeyboardInterrupt):  # one of which is why they are stopped
                        on_event(index, content)
                elif kind == "state":
                    on_state(index, content)
                elif kind != "pid":
                    del busy[connection]  # type: ignore[arg-type]
                    worker.end()
                    self._workers.remove(worker)
        for *_, worker in busy.values():  # too slow to stop
            worker.end()
            self._workers.remove(worker)


class _Template:
    """The process that workers are forked from, and the connection to it."""

    def __init__(self) -> None:
        own, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, json.dumps(sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                env=os.environ | of_threads(1),
            )
        self._connection = Connection(own.detach())

    def send(self, kind: str, content: object) -> None:
        """Send a message."""
        with contextlib.suppress(OSError):
            self._connection.send((kind, content))

    def fork(self) -> _Process:
        """Return a new worker.

        Raises:
            OSError: the template has died.
        """
        own, theirs = socket.socketpair()
        with theirs:
            self._connection.send(("fork", None))
            send_handle(self._connection, theirs.fileno(), self._process.pid)
        return _Process(Connection(own.detach()))

    def end(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class _Process:
    """A worker process and the connection to it, whose first message is its number."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.kind: Hashable = self
        """The kind of its last unit; before that, one that no unit has."""
        self.pid: int | None = None

    def send(self, kind: str, content: object) -> None:
        """Send a message; a worker that has died is noticed when it is read from."""
        with contextlib.suppress(OSError):
            self.connection.send((kind, content))

    def receive(self) -> tuple[str, Any]:
        """Return the next message of the worker, or ("died", None)."""
        try:
            kind, content = self.connection.recv()
            if kind == "pid":
                self.pid = content
        except (EOFError, OSError):
            self.connection.close()
            return "died", None
        return kind, content

    def end(self) -> None:
        """End the process, which would otherwise notice only at its next message that nobody listens."""
        while self.pid is None and self.receive()[0] != "died":
            pass
        self.connection.close()
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _died(name: str) -> WorkerError:
    return WorkerError(
        f"{name}: expected its worker process to go on; got one that died in each of {MAX_ATTEMPTS} attempts. "
        "The memory may be too small for so many workers: lower --workers (of cde predict: --threads)."
    )
