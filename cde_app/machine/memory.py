"""How much memory the work may take: what the machine has left, or what the user allows."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import NamedTuple

from cde_app.errors import MemoryNeedError, UsageError
from cde_app.machine.threads import num_threads

VARIABLE = "CDE_MAX_MEMORY"
"""The environment variable with what the user allows, as a size; `--max-memory` sets it."""


class Limit(NamedTuple):
    """The files in which Linux says what a container may use."""

    most: str
    """How much it may use [bytes]."""
    used: str
    """How much it uses, files that the kernel has cached among it [bytes]."""
    parts: str
    """What that consists of, a name and a number a line."""
    cached: str
    """The name of the cached files that the kernel gives up first."""


LIMITS = (
    Limit(
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory.current",
        "/sys/fs/cgroup/memory.stat",
        "inactive_file",
    ),
    Limit(
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Of the second and of the first version of control groups."""


def read_size(text: str) -> int:
    """Read a number of bytes: `2GB`, `1.5 GiB`, `500MB`.

    Raises:
        ValueError: it is none; the message says so.
    """
    parts = re.fullmatch(r"([0-9]+\.?[0-9]*) ?(?:([KMGT])(i?))?B?", text, re.IGNORECASE | re.ASCII)
    size = 0.0
    if parts is not None:
        size = float(parts[1]) * (1024 if parts[3] else 1000) ** " KMGT".index((parts[2] or " ").upper())
    if not 1 <= size < math.inf:
        raise ValueError(f"expected a size such as 2GB or 500MB; got {text!r}.")
    return int(size)


def limit_memory(num_bytes: int | None) -> None:
    """Set the memory that the command may take, its workers included; None leaves that to the variable.

    Raises:
        UsageError: the variable has no size.
    """
    if num_bytes is not None:
        os.environ[VARIABLE] = str(num_bytes)
    _limit()


def is_limited() -> bool:
    """Return whether the user has set a limit."""
    return bool(os.environ.get(VARIABLE))


def share(num_workers: int) -> int | None:
    """Return what each of several worker processes may take of the rest of the user's limit; None without one."""
    return max(1, available_bytes() // num_workers) if is_limited() else None


def how_to_have_more() -> str:
    """Return what else a message advises, after what to lower."""
    return f"allow more with --max-memory or {VARIABLE}" if is_limited() else "use a machine with more memory"


def require(num_bytes: float, *, of: str, available: float, advice: str) -> None:
    """Check that work fits into the memory before it is begun.

    Args:
        num_bytes: what it needs.
        of: what it is, for the message.
        available: what there is, as `available_bytes` returned it.
        advice: what to lower.

    Raises:
        MemoryNeedError: it does not fit.
    """
    if num_bytes > available:
        where = "left of the limit" if is_limited() else "free"
        raise MemoryNeedError(
            f"{of}: expected {gigabytes(num_bytes)} of memory (rough); got {gigabytes(available)} {where}. {advice}, "
            f"or {how_to_have_more()}."
        )


def gigabytes(num_bytes: float) -> str:
    """Write a size for a message."""
    return f"{num_bytes / 1e9:.2g} GB"


def num_side_by_side(num_units: int, bytes_each: float) -> int:
    """Return how many units of work can run in processes side by side: one per core, as far as there is memory."""
    return max(1, min(num_units, num_threads(), int(available_bytes() // bytes_each)))


def available_bytes(*, held: int = 0) -> int:
    """Return how much memory the work can use [bytes]: the rest of the user's limit, if there is one.

    Otherwise it is what the kernel can free, or the rest of the container's limit.

    Args:
        held: memory that this process has already and the work uses again [bytes].

    Raises:
        UsageError: the variable has no size.
    """
    limit = _limit()
    if limit is not None:
        return max(0, limit - resident_bytes() + held)
    return max(0, min([_of_machine(), *_of_containers()]) + held)


def _limit() -> int | None:
    text = os.environ.get(VARIABLE)
    try:
        return read_size(text) if text else None
    except ValueError as error:
        raise UsageError(f"{VARIABLE}: {error}") from None


def _of_containers() -> list[int]:
    found = []
    for limit in LIMITS:
        try:
            most, used = (int(Path(path).read_text()) for path in (limit.most, limit.used))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
        found.append(most - used + _cached(limit))
    return found


def _cached(limit: Limit) -> int:
    try:
        return int(dict(line.split() for line in Path(limit.parts).read_text().splitlines())[limit.cached])
    except (OSError, ValueError, KeyError):
        return 0


def resident_bytes() -> int:
    """Return how much memory this process has [bytes]; 0 if the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 0


def _of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
