"""What runs work: the contract that hides where it runs, and the executor that uses this process.

A unit of work is named by data: paths, settings and numbers, or a few rows, and never a table or an open file. A worker
therefore needs nothing but the package and the file system, and a unit can be repeated anywhere.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from cde_app.machine.memory import share

R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

MAX_ATTEMPTS = 3
"""How often a unit is started whose worker dies."""


class Worker(ABC):
    """What a unit sees of the worker that runs it."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        """What units leave in this worker for later ones, by name."""

    @abstractmethod
    def report(self, event: Any) -> None:
        """Send a progress event to the caller. A worker that is told to stop raises KeyboardInterrupt here."""

    @abstractmethod
    def keep(self, state: Any) -> None:
        """Send the caller how far the unit has come. Also a unit that is being stopped can do that."""

    def once(self, name: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` has made for this key in this worker; of each name only the latest is kept.

        Args:
            name: what it is.
            key: what it depends on.
            make: loads a model, say, which later units of this worker will want too.
        """
        if name not in self.kept or self.kept[name][0] != key:
            self.kept[name] = key, make()
        made: T = self.kept[name][1]
        return made


class Work(Protocol[R_co]):
    """A unit of work. It can be pickled, and so can its result and all that it sends."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def kind(self) -> Hashable:
        """Units of a kind have things in common that a worker keeps; it prefers the kind of its last unit."""

    def run(self, worker: Worker) -> R_co:
        """Do the work; may be called again, elsewhere, if the worker dies."""


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """How a unit has ended."""

    index: int
    """Its place among the units."""
    value: R | None
    """What it returned; None if it failed."""
    error: Exception | None = None
    """What it raised, if it failed; a `WorkerError` if its workers died."""
    attempts: int = 1
    """How often it was started."""

    def result(self) -> R:
        """Return what the unit returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only if the unit returns None


OnMessage = Callable[[int, Any], None]
"""Called in this process with the index of a unit and what it has sent."""


def portable(error: Exception, *, as_text: bool = False) -> Exception:
    """Return an error with its traceback as a note, as a worker sends it to the caller; the traceback itself cannot be.

    Args:
        error: what a unit has raised.
        as_text: replace an error that cannot be pickled either.
    """
    sent = RuntimeError(f"{type(error).__name__}: {error}") if as_text else error
    sent.add_note(f"In the worker:\n{''.join(traceback.format_exception(error))}")
    return sent


def ignore(index: int, message: Any) -> None:
    """Ignore a message."""


@dataclass
class Executor(ABC):
    """Runs units of work; a context manager, at whose end the workers stop."""

    num_workers: int = field(default=1, init=False)
    """The largest number of units that run at the same time; it may be changed between runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  # an executor without workers has nothing to stop
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers."""

    def import_early(self, module: str) -> None:  # noqa: B027  # or nothing to gain
        """Let the workers import a module while the caller does something else."""

    def threads_each(self, num_units: int) -> int | None:
        """Return how many threads a unit may use if so many run; None leaves that to the process."""
        return None

    def memory_each(self, num_units: int) -> int | None:
        """Return what a unit may take of the user's limit if so many run [bytes]; None leaves that to the process."""
        return share(max(1, min(self.num_workers, num_units)))

    @abstractmethod
    def run(
        self, units: Iterable[Work[R]], *, on_event: OnMessage = ignore, on_state: OnMessage = ignore
    ) -> Generator[Outcome[R], None, None]:
        """Run the units, in this order as far as there are workers, and yield each when it ends.

        A worker that dies is replaced and its unit started again, up to `MAX_ATTEMPTS` times. If the caller stops
        iterating, or a callback raises, or Ctrl-C is pressed, the units that run are stopped.

        Args:
            units: the work. If it is no sequence, units are taken as workers get free; on a Dask cluster all at once.
            on_event: called with what a unit reports.
            on_state: called with what a unit keeps, also of the units that are being stopped.
        """

    def run_in_order(self, units: Iterable[Work[R]]) -> Generator[R, None, None]:
        """Yield what each unit returns, in their order, or raise what it raises; see `run`."""
        ended, number = dict[int, Outcome[R]](), 0
        with closing(self.run(units)) as outcomes:
            for outcome in outcomes:
                ended[outcome.index] = outcome
                while number in ended:
                    yield ended.pop(number).result()
                    number += 1


class ThisProcess(Worker):
    """This process as a worker: what it sends goes to the caller at once."""

    def __init__(self) -> None:
        super().__init__()
        self.on_event: OnMessage = ignore
        self.on_state: OnMessage = ignore
        self.index = 0
        self.raised_by_callback: Exception | None = None

    def report(self, event: Any) -> None:
        """Call the caller back."""
        self._send(self.on_event, event)

    def keep(self, state: Any) -> None:
        """Call the caller back."""
        self._send(self.on_state, state)

    def _send(self, callback: OnMessage, message: Any) -> None:
        try:
            callback(self.index, message)
        except Exception as error:
            self.raised_by_callback = error
            raise


@dataclass
class Serial(Executor):
    """Runs one unit after another in this process."""

    worker: ThisProcess = field(default_factory=ThisProcess, init=False)

    def memory_each(self, num_units: int) -> None:
        """Return None: this process knows the limit, and counts what it has itself."""

    def run(
        self, units: Iterable[Work[R]], *, on_event: OnMessage = ignore, on_state: OnMessage = ignore
    ) -> Generator[Outcome[R], None, None]:
        """Run the units; see `Executor.run`."""
        worker = self.worker
        worker.on_event, worker.on_state = on_event, on_state
        for worker.index, unit in enumerate(units):
            try:
                value = unit.run(worker)
            except Exception as error:
                if error is worker.raised_by_callback:
                    raise
                yield Outcome(worker.index, None, error)
            else:
                yield Outcome(worker.index, value)
