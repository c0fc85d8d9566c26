"""How many threads this process may use. Environment variables pass it to each library before that is loaded."""

from __future__ import annotations

import os

BLAS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that the linear algebra of NumPy and SciPy reads when it is loaded."""
INTRAOP_VARIABLE, INTEROP_VARIABLE = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
"""Variables that TensorFlow reads: threads per operation, and how many operations may run at a time."""
VARIABLES = (*BLAS_VARIABLES, INTRAOP_VARIABLE, INTEROP_VARIABLE)
"""All of them."""


def limit_threads(number: int | None) -> None:
    """Set the number of threads for every library that is loaded later; None leaves the user's settings unchanged."""
    if number is not None:
        os.environ.update(dict.fromkeys(BLAS_VARIABLES, str(number)))
        for name in (INTRAOP_VARIABLE, INTEROP_VARIABLE):
            os.environ.pop(name, None)
        spread_operations()


def of_threads(number: int) -> dict[str, str]:
    """Return the environment variables of a process that uses `number` threads and imports everything anew."""
    return {**dict.fromkeys((*BLAS_VARIABLES, INTEROP_VARIABLE), str(number)), INTRAOP_VARIABLE: "1"}


def spread_operations() -> None:
    """Let TensorFlow give each operation one thread and run as many at a time as there are threads.

    A training step has more than a thousand small operations, which lose more by being split than they gain. An
    operation that is not split gives the same bits with any number of threads. Variables that the user has set stay.
    The settings apply to this process and its children.
    """
    os.environ.setdefault(INTRAOP_VARIABLE, "1")
    os.environ.setdefault(INTEROP_VARIABLE, str(num_threads()))


def num_threads() -> int:
    """Return how many threads to use: OMP_NUM_THREADS, or else one per core that this process may use."""
    first_level = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first_level) if first_level.isascii() and first_level.isdecimal() and int(first_level) else num_cores()


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
