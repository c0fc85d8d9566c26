"""How many threads this process may use: told to every library by environment variables, before it is loaded."""

from __future__ import annotations

import os

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""What the linear algebra of NumPy and SciPy, and TensorFlow, read when they are loaded."""


def limit_threads(number: int | None) -> None:
    """Let every library that is loaded from now on use so many threads; None changes nothing that the user has set."""
    if number is not None:
        os.environ.update(dict.fromkeys(VARIABLES, str(number)))


def num_threads() -> int:
    """Return how many threads predictions use: OMP_NUM_THREADS, or else one per core that this process may use."""
    first_level = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first_level) if first_level.isdecimal() and int(first_level) else num_cores()


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
