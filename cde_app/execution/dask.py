"""The executor that uses a Dask cluster: that of a scheduler, or one of worker processes on this machine.

A unit is a future, and what it sends goes through a queue of the scheduler. Its end is a message too, so that none of
its messages can arrive after it. A future that is released, by this process or by its death, stops the unit: its next
report finds that nobody wants it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import platform
import queue
import signal
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from cde_app import __version__
from cde_app.errors import UsageError, WorkerError
from cde_app.execution.executor import MAX_ATTEMPTS, Executor, OnMessage, Outcome, R, Work, Worker, ignore, portable
from cde_app.machine.blocks import one_blas_thread
from cde_app.machine.packages import require_dask
from cde_app.machine.silence import silenced_stderr
from cde_app.machine.threads import limit_threads, of_threads

T = TypeVar("T")

SECONDS_TO_CONNECT = 5.0
"""How long a scheduler may take to answer, and its first worker to be there."""
SECONDS_BETWEEN_LOOKS = 0.5
"""How often the futures are looked at while no message comes: a dead worker sends none."""
SECONDS_WITHOUT_WORKERS = 60.0
"""How long the cluster may be without any worker; a nanny replaces one in seconds."""
SECONDS_TO_STOP = 20.0
"""How long a unit may take to notice that it should stop: the longest time between two events, a compilation."""
LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application")
"""Whose messages are not for the terminal: what matters is an error here."""


@dataclass
class DaskCluster(Executor):
    """Runs units on the workers of a Dask cluster, one per thread of theirs, each with one thread.

    A script in which it makes its own cluster needs `if __name__ == "__main__"`, because Dask's worker processes run
    the main module again.

    Args:
        scheduler: address; None makes a cluster of processes on this machine, which only this machine can reach.
        num_workers: the largest number of units at the same time; with a scheduler there may be fewer.
    """

    scheduler: str | None = None
    num_workers: int = field(default=1, kw_only=True)
    _client: Any = field(default=None, init=False, repr=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False, repr=False)
    _imports: list[Any] = field(default_factory=list, init=False, repr=False)

    def __enter__(self) -> Self:
        """Connect to the cluster.

        Raises:
            InstallError: Dask is not installed.
            UsageError: the scheduler cannot be reached, has no workers, or they have another version of cde.
        """
        require_dask()
        with ExitStack() as stack:
            stack.enter_context(_silent())
            self._client = stack.enter_context(
                _own_cluster(self.num_workers) if self.scheduler is None else _connected(self.scheduler)
            )
            threads = _threads_of(self._client, self.scheduler)
            self.num_workers = max(1, min(self.num_workers, threads))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; one that was made here ends."""
        self._imports.clear()
        self._stack.close()

    def import_early(self, module: str) -> None:
        """Let the workers import a module while the caller does something else."""
        addresses = list(self._client.nthreads())[: self.num_workers]
        self._imports += [self._client.submit(_import, module, workers=[address], pure=False) for address in addresses]

    def threads_each(self, num_units: int) -> int:
        """Return 1: a cluster has one unit per thread."""
        return 1

    def memory_each(self, num_units: int) -> int | None:
        """Return what a unit may take; with a scheduler None, as its machines know their own limits."""
        return super().memory_each(num_units) if self.scheduler is None else None

    def run(
        self, units: Iterable[Work[R]], *, on_event: OnMessage = ignore, on_state: OnMessage = ignore
    ) -> Generator[Outcome[R], None, None]:
        """Run the units; see `Executor.run`.

        Raises:
            WorkerError: the scheduler has ended, or all workers have and none comes back.
        """
        mailbox = _Mailbox(self._client)
        units = list(units)
        waiting, attempts = deque(range(len(units))), [0] * len(units)
        busy: dict[int, _Running] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.num_workers:  # no more, so that the scheduler never holds them all
                    index = waiting.popleft()
                    future = self._client.submit(run_unit, units[index], index, mailbox.name, pure=False, retries=0)
                    busy[index] = _Running(future)
                for index, attempt, kind, content in self._messages(mailbox, SECONDS_BETWEEN_LOOKS):
                    running = busy.get(index)
                    if running is None or (kind != "started" and attempt != running.attempt):
                        continue  # of a worker that was given up
                    match kind:
                        case "started":
                            running.attempt = attempt
                            attempts[index] += 1
                            if attempts[index] > MAX_ATTEMPTS:  # Dask itself tries once more
                                self._client.cancel([busy.pop(index).future])
                                yield Outcome(index, None, self._died(units[index].name), MAX_ATTEMPTS)
                        case "event":
                            on_event(index, content)
                        case "state":
                            on_state(index, content)
                        case _:
                            del busy[index]
                            value, error = content
                            yield Outcome(index, value, error, attempts[index])
                for index in [index for index, running in busy.items() if running.has_died()]:
                    running = busy.pop(index)
                    attempts[index] += not running.attempt  # it has not even begun
                    if (error := running.error()) is not None:
                        yield Outcome(index, None, error, attempts[index])
                    elif attempts[index] < MAX_ATTEMPTS:
                        waiting.appendleft(index)
                    else:
                        yield Outcome(index, None, self._died(units[index].name), attempts[index])
        finally:
            self._stop(busy, mailbox, on_event, on_state)

    def _messages(self, mailbox: _Mailbox, seconds: float) -> Iterator[tuple[int, str, str, Any]]:
        """Yield the messages that are there, or that come within some seconds: index, attempt, kind and content.

        Raises:
            WorkerError: the scheduler has ended, or all workers have and none comes back.
        """
        try:
            messages = mailbox.take(seconds)
            has_workers = bool(messages or self._client.nthreads())
        except Exception as error:  # Dask raises many kinds of them when a connection ends
            raise WorkerError(
                f"{self.scheduler or 'Dask'}: expected the scheduler to go on; got "
                f"{str(error) or type(error).__name__!r}. Start it again, and repeat the command."
            ) from error
        if not has_workers:
            self._wait_for_workers()
        yield from messages

    def _wait_for_workers(self) -> None:
        """Wait until there is a worker.

        Raises:
            WorkerError: none comes.
        """
        try:
            self._client.wait_for_workers(1, timeout=SECONDS_WITHOUT_WORKERS)
        except Exception as error:  # or the scheduler has ended too
            raise WorkerError(
                f"{self.scheduler or 'Dask'}: expected workers; got none for {SECONDS_WITHOUT_WORKERS:.0f} s. Start "
                "some, and repeat the command."
            ) from error

    def _stop(self, busy: dict[int, _Running], mailbox: _Mailbox, on_event: OnMessage, on_state: OnMessage) -> None:
        """Stop the units that run, and take what they report and keep; nothing, if the cluster has ended before."""
        with contextlib.suppress(Exception):
            self._client.cancel([running.future for running in busy.values()])
        deadline = time.monotonic() + SECONDS_TO_STOP
        while busy and (left := deadline - time.monotonic()) > 0:
            try:
                messages = list(self._messages(mailbox, min(left, SECONDS_BETWEEN_LOOKS)))
            except WorkerError:
                break
            for index, attempt, kind, content in messages:
                if kind == "started" and index in busy:
                    busy[index].attempt = attempt
                elif index in busy and attempt == busy[index].attempt:
                    if kind == "event":
                        with contextlib.suppress(Exception, KeyboardInterrupt):  # one of which is why they are stopped
                            on_event(index, content)
                    elif kind == "state":
                        on_state(index, content)
                    elif kind == "ended":
                        del busy[index]
            if not messages:  # those that have not started never will
                busy = {index: running for index, running in busy.items() if running.attempt}
        mailbox.close()

    def _died(self, name: str) -> WorkerError:
        return WorkerError(
            f"{name}: expected its Dask worker to go on; got one that died in each of {MAX_ATTEMPTS} attempts. The "
            "memory may be too small for so many workers: lower --workers."
        )


class _Mailbox:
    """The queue through which the units of a run send.

    A thread reads it, because a Ctrl-C, which reaches the main thread only, would lose a message amid a request.

    Args:
        client: the connection to the cluster.
    """

    def __init__(self, client: Any) -> None:
        from distributed import Queue

        self.name = f"cde-{uuid.uuid4().hex}"
        self._queue = Queue(self.name, client=client)
        self._arrived = queue.SimpleQueue[list[bytes]]()
        self._error: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name="cde-mailbox", daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> list[tuple[int, str, str, Any]]:
        """Return the messages that are there, or the first within some seconds: index, attempt, kind and content.

        Raises:
            Exception: the connection has ended.
        """
        # As Dask itself does with all that its workers send; whoever can write to this queue can run code on the
        # cluster anyway. Nothing that is read from a file comes here.
        from distributed.protocol import pickle

        if self._error is not None and self._arrived.empty():
            raise self._error
        try:
            texts = self._arrived.get(timeout=seconds)
        except queue.Empty:
            return []
        return [pickle.loads(text) for text in texts]

    def close(self) -> None:
        """Leave the queue, which ends when all have left it."""
        self._closing.set()
        self._thread.join(timeout=SECONDS_TO_CONNECT)
        with contextlib.suppress(Exception):  # the cluster has ended before us
            self._queue.close()

    def _read(self) -> None:
        while not self._closing.is_set():
            try:
                self._arrived.put([self._queue.get(timeout=SECONDS_BETWEEN_LOOKS), *self._queue.get(batch=True)])
            except TimeoutError:
                continue
            except Exception as error:
                self._error = error
                return


@dataclass
class _Running:
    """A unit that the cluster has."""

    future: Any
    attempt: str = ""
    """Names the attempt; empty until its worker has sent that it has started."""
    seen_dead: float = 0.0
    """When it was first seen to have ended; 0 before that."""

    def has_died(self) -> bool:
        """Return whether the unit has ended without having said so; its last messages may still be on their way."""
        if self.future.status not in ("error", "cancelled", "lost"):
            return False
        self.seen_dead = self.seen_dead or time.monotonic()
        return time.monotonic() - self.seen_dead > SECONDS_BETWEEN_LOOKS

    def error(self) -> Exception | None:
        """Return why the unit could not begin, such as a module that its worker lacks; None if its worker has died."""
        from distributed import KilledWorker

        error = self.future.exception() if self.future.status == "error" else None
        return None if isinstance(error, KilledWorker) else error


# --- the cluster --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _own_cluster(num_workers: int) -> Iterator[Any]:
    """Make a cluster of processes that only this machine can reach; a worker that dies is replaced."""
    import dask
    from distributed import Client, LocalCluster

    environment = dict(os.environ)  # which Dask's nannies change
    settings: dict[str, Any] = {
        "distributed.worker.daemon": True,
        "distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1,
    }
    settings["distributed.admin.system-monitor.gil.enabled"] = False
    # Dask lets its workers give back every freed block at once; asking the system for it again doubles the time.
    settings["distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"] = None
    try:
        with (
            dask.config.set(settings),
            LocalCluster(
                n_workers=num_workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # there is always a server, for health checks
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,  # `Execution` has counted the memory
                silence_logs=logging.CRITICAL,
                env=of_threads(1),
                preload=[__name__],  # calls `dask_setup`
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
    finally:
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    """Connect to a scheduler.

    Raises:
        UsageError: there is none.
    """
    from distributed import Client

    try:
        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop that runs, as in a notebook
            thread.submit(asyncio.run, _reach(scheduler)).result()
        with warnings.catch_warnings(action="ignore"):  # of differing versions, which are checked below
            client = Client(scheduler, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except Exception as error:  # Dask raises many kinds of them for a wrong address
        raise UsageError(
            f"--scheduler: expected the address of a Dask scheduler that answers, such as tcp://host:8786; got "
            f"{scheduler!r}. Correct it, or start one with: dask scheduler"
        ) from error
    with client:
        yield client


async def _reach(scheduler: str) -> None:
    """Raise an exception if nothing answers; a `Client` that fails would wait again when it is deleted."""
    from distributed.comm import connect, normalize_address
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    await (await connect(normalize_address(scheduler), timeout=SECONDS_TO_CONNECT, **arguments)).close()


def _threads_of(client: Any, scheduler: str | None) -> int:
    """Return the number of threads of all workers, which have the version of cde that runs here.

    Raises:
        UsageError: there are no workers, or one has another version.
    """
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_CONNECT)
    except TimeoutError:
        raise UsageError(
            f"--scheduler: expected a scheduler with workers; got none at {scheduler!r}. Start some with: dask worker "
            f"{scheduler}"
        ) from None
    own = version()
    for address, found in sorted(client.run(version, on_error="return").items()):
        if found != own:
            theirs = "no cde that can be imported" if isinstance(found, Exception) else found
            raise UsageError(
                f"--scheduler: expected workers with {own}, as here; got {theirs} at {address}. Install the same "
                "version there, and start the worker again."
            )
    return sum(client.nthreads().values())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what Dask logs off the terminal."""
    import distributed  # noqa: F401  # which sets up its loggers

    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


# --- in a worker --------------------------------------------------------------------------------------------------


def dask_setup(worker: Any) -> None:
    """Prepare a worker of our own cluster, when it starts: the caller decides what a Ctrl-C stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def version() -> str:
    """Return what must be the same here and there."""
    return f"cde {__version__} on Python {'.'.join(platform.python_version_tuple()[:2])}"


def run_unit(unit: Any, index: int, mailbox: str) -> None:
    """Run a unit in a thread of a worker, and send what it returns or raises."""
    limit_threads(1)  # before the unit imports what reads it; and for what the worker has loaded already:
    with one_blas_thread(), DaskWorker(index, mailbox) as worker:
        worker.run(unit)


def _import(module: str) -> None:
    with contextlib.suppress(Exception), silenced_stderr():  # the unit that needs it will say so
        importlib.import_module(module)


class DaskWorker(Worker):
    """The worker of a unit; all units of this process share what they make once.

    Args:
        index: the unit's.
        mailbox: name of the caller's queue.
    """

    _of_process: dict[str, Any] = {}  # noqa: RUF012  # meant to be shared
    _lock = threading.Lock()

    def __init__(self, index: int, mailbox: str) -> None:
        super().__init__()
        from distributed import Queue, get_worker

        self.kept = self._of_process
        self._index, self._attempt = index, uuid.uuid4().hex
        self._worker = get_worker()
        self._key = self._worker.get_current_task()
        self._mailbox = Queue(mailbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the queue, which ends when all have left it."""
        with contextlib.suppress(Exception):
            self._mailbox.close()

    def report(self, event: Any) -> None:
        """Send an event to the caller, and stop if nobody waits for the unit any more."""
        self._send("event", event)
        self._check_wanted()

    def keep(self, state: Any) -> None:
        """Send a state to the caller."""
        self._send("state", state)

    def once(self, name: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` has made for this key in this process; threads wait for each other."""
        with self._lock:
            return super().once(name, key, make)

    def run(self, unit: Any) -> None:
        """Run a unit, and send what it returns or raises; what cannot be sent is sent as text."""
        value, error = None, None
        try:
            self._send("started", None)
            self._check_wanted()
            value = unit.run(self)
        except KeyboardInterrupt:  # told to stop
            pass
        except Exception as raised:
            error = raised
        try:
            self._send("ended", (value, error and portable(error)))
        except OSError:  # the caller has ended, and nobody waits for this
            pass
        except Exception as unsent:
            self._send("ended", (None, portable(error or unsent, as_text=True)))

    def _check_wanted(self) -> None:
        """Stop if the future was released.

        Raises:
            KeyboardInterrupt: it was.
        """
        task = self._worker.state.tasks.get(self._key)
        if task is None or task.state == "cancelled":
            raise KeyboardInterrupt

    def _send(self, kind: str, content: Any) -> None:
        from distributed.protocol import pickle

        self._mailbox.put(pickle.dumps((self._index, self._attempt, kind, content)))
