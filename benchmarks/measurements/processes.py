"""Run things beside each other: in turn, in fresh processes, with their seconds and their peak memory."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
PACKAGES = ("numpy", "scipy", "pandas", "tensorflow", "tensorflow-probability", "gpflow", "gpflux")


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    repeats: int
    data: Path | None
    """Folder of the panel's tables."""
    panel: Path | None
    """The panel's description: tables, targets, split rules."""
    rows: int | None
    """Rows of the largest table whose memory is measured; None for the usual one."""

    def sizes(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        """Return the rows of the tables whose memory is measured: the usual ones, or those asked for and a tenth."""
        return usual if self.rows is None else (self.rows // 10, self.rows)


@dataclass(frozen=True)
class Usage:
    """What a process has used."""

    seconds: float
    peak_gigabytes: float
    """Largest resident set."""


def clean_environment() -> None:
    """Let every process use all cores, and import the tree that this script belongs to."""
    for name in THREAD_VARIABLES:
        os.environ.pop(name, None)
    sys.path.insert(0, str(PROJECT))  # which fresh interpreters take over
    os.environ["PYTHONPATH"] = str(PROJECT)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def machine_facts() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, versions, commit."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    git = ["git", "-C", str(PROJECT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "cde_app"], capture_output=True, text=True).stdout.strip()
    return {
        "kind": "machine",
        "name": "machine",
        "cpu": ", ".join(sorted(models)),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "commit": commit + (" with changes" if changed else ""),
    }


def in_fresh_process(module: str, function: str, *arguments: Any) -> Any:
    """Return the function's result, computed by a new interpreter that has imported nothing yet.

    The module is named, not passed: its imports, TensorFlow's above all, stay out of the calling process, whose memory
    a child's peak would begin with.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_call, module, function, arguments).result()


@contextmanager
def companions(module: str, function: str, sides: Iterable[str]) -> Iterator[dict[str, Callable[[], Any]]]:
    """Yield, for each side, what calls `function(side)` in a process of its own, the same one every time.

    What the function keeps between calls stays there, and so do the settings of libraries, such as TensorFlow's
    threads, that a process has once.
    """
    with ExitStack() as stack:
        pools = {side: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for side in sides}
        yield {
            side: lambda pool=pool, side=side: pool.submit(_call, module, function, (side,)).result()
            for side, pool in pools.items()
        }


def _call(module: str, function: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(importlib.import_module(f"measurements.{module}"), function)(*arguments)


def in_turn(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call the sides one after another, A B A B ..., so that other load hits all alike; return what they returned."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
    return found


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run(command: Sequence[str | Path], *, folder: Path | None = None) -> Usage:
    """Run a command to its end, its output thrown away.

    Raises:
        RuntimeError: it failed; the message has what it wrote to standard error.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    told = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{told}")
    return Usage(time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e9)


def cde(*arguments: str | Path) -> list[str | Path]:
    """Return a `cde` command."""
    return [sys.executable, "-m", "cde_app", *arguments]
