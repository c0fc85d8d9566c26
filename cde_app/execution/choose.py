"""Which executor a command uses, and with how many workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, cast, get_args

from cde_app.errors import UsageError
from cde_app.execution.executor import Executor, Serial
from cde_app.execution.processes import Processes
from cde_app.machine.memory import is_limited, num_side_by_side

Kind = Literal["serial", "processes", "dask"]
VARIABLE = "CDE_EXECUTOR"
"""The environment variable with the default."""


@dataclass(frozen=True)
class Execution:
    """Where the work of a command runs: what `--executor`, `--scheduler` and `--workers` say."""

    kind: Kind | None = None
    """None is `dask` if there is a scheduler, else what the variable CDE_EXECUTOR says, else `processes`."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://host:8786; None lets Dask make a cluster on this machine."""
    num_workers: int | None = None
    """None is one per core, as far as there are units and memory. With a scheduler, its workers."""

    def __post_init__(self) -> None:
        self.resolved_kind()

    def resolved_kind(self) -> Kind:
        """Return the kind of executor.

        Raises:
            UsageError: there is a scheduler, but another executor than Dask; or there is no executor of that name.
        """
        if self.scheduler is not None and self.kind in (None, "dask"):
            return "dask"
        kind = self.kind or os.environ.get(VARIABLE) or "processes"
        if kind not in get_args(Kind):
            raise UsageError(f"executor: expected {', '.join(get_args(Kind))}; got {kind!r}. Choose one of them.")
        if self.scheduler is not None:
            raise UsageError(
                f"--scheduler: expected with --executor dask; got {self.scheduler!r} with --executor {kind}. "
                "Leave one of them out."
            )
        return cast(Kind, kind)

    def most_workers(self, num_units: int, *, bytes_per_worker: float) -> int:
        """Return how many workers the work can use; the machines of a cluster know their own limits.

        Args:
            num_units: the largest number of units that can run at the same time.
            bytes_per_worker: memory that a worker takes.
        """
        if self.resolved_kind() == "serial":
            return 1
        if self.scheduler is not None:
            return max(1, min(num_units, self.num_workers or num_units))
        fitting = num_side_by_side(num_units, bytes_per_worker)
        wanted = self.num_workers or fitting
        return max(1, min(num_units, wanted, fitting if is_limited() else wanted))

    def open(self, num_units: int, *, bytes_per_worker: float) -> Executor:
        """Return the executor, a context manager that connects to a cluster; the arguments are those of `most_workers`.

        Raises:
            UsageError: the scheduler cannot be reached, or its workers have another version of cde.
            InstallError: Dask is asked for and not installed.
        """
        number = self.most_workers(num_units, bytes_per_worker=bytes_per_worker)
        match self.resolved_kind():
            case "serial":
                return Serial()
            case "processes":
                return Processes(number)
            case "dask":
                from cde_app.execution.dask import DaskCluster

                return DaskCluster(self.scheduler, num_workers=number)
