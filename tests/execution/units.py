"""Units of work that the tests of the executors run; worker processes import this module."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cde_app.errors import DataError
from cde_app.execution.executor import Worker


@dataclass(frozen=True)
class Square:
    """Reports and keeps some messages, then returns the square of a number."""

    number: int
    num_messages: int = 0
    bytes_each: int = 0
    seconds: float = 0.0

    kind: str = "square"

    @property
    def name(self) -> str:
        return f"square {self.number}"

    def run(self, worker: Worker) -> int:
        for message in range(self.num_messages):
            worker.report((message, b"x" * self.bytes_each))
            worker.keep(message)
        time.sleep(self.seconds)
        return self.number**2


@dataclass(frozen=True)
class Fails:
    """Raises an error with two faults, or one that cannot be pickled."""

    can_be_sent: bool = True
    name: str = "fails"
    kind: str = "any"

    def run(self, worker: Worker) -> None:
        if self.can_be_sent:
            raise DataError("a.csv: one", "a.csv: two")
        error = ValueError("cannot be sent")
        error.stream = sys.stderr.buffer  # type: ignore[attr-defined]
        raise error


@dataclass(frozen=True)
class Dies:
    """Kills its process, a number of times that a folder remembers."""

    folder: Path
    times: int
    name: str = "dies"
    kind: str = "any"

    def run(self, worker: Worker) -> str:
        worker.report("begins")
        attempt = len(list(self.folder.iterdir()))
        if attempt < self.times:
            (self.folder / str(attempt)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"


@dataclass(frozen=True)
class Counts:
    """Counts until it is stopped, and then keeps how far it has come; the folder says whether it was."""

    folder: Path
    name: str = "counts"
    kind: str = "any"

    def run(self, worker: Worker) -> None:
        reached = 0
        try:
            while True:
                worker.report(reached)
                reached += 1
                time.sleep(0.02)
        except KeyboardInterrupt:
            worker.keep(("stopped", reached))
            (self.folder / "stopped").touch()
            raise


@dataclass(frozen=True)
class MakesOnce:
    """Returns its process and how often something was made in it for a key."""

    key: Any
    name: str = "makes once"
    kind: str = "any"

    def run(self, worker: Worker) -> tuple[int, Any]:
        return (
            os.getpid(),
            worker.once("thing", self.key, lambda: (self.key, object()))[0],
            id(worker.once("thing", self.key, object)),
        )


@dataclass(frozen=True)
class Looks:
    """Returns what its process has loaded and how many threads it may use."""

    name: str = "looks"
    kind: str = "any"

    def run(self, worker: Worker) -> dict[str, Any]:
        import numpy as np
        from threadpoolctl import threadpool_info

        from cde_app.machine.threads import num_threads

        np.ones((2, 2)) @ np.ones((2, 2))
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return {"tensorflow": "tensorflow" in sys.modules, "blas": pools, "threads": num_threads()}


@dataclass(frozen=True)
class Unreadable:
    """Cannot be read by a worker."""

    name: str = "unreadable"
    kind: str = "any"

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)

    def run(self, worker: Worker) -> None:
        """Never runs."""
