"""Process rows in blocks that fit into the cache of a core, on all threads that predictions may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from cde_app.machine.rows import blocks_of
from cde_app.machine.threads import num_threads

T = TypeVar("T")

FLOATS_IN_CACHE = 65_536
"""Numbers per block, half a MiB: the temporaries of a block stay in the cache of a core."""
WORKER = "cde-rows"
"""Prefix of the names of the threads."""


def cache_blocks(num_rows: int, floats_per_row: int) -> Iterator[slice]:
    """Yield consecutive rows, as many at a time as fit into the cache of a core."""
    return blocks_of(num_rows, max(1, FLOATS_IN_CACHE // floats_per_row))


def work_in_blocks(work: Callable[[slice], None], num_rows: int, floats_per_row: int) -> None:
    """Do some work for every block of rows, on all threads.

    NumPy and SciPy release Python's lock while they compute. Each of their matrix products runs on one thread, so that
    the blocks, and all bits of the results, do not depend on the number of threads. The threads share the blocks
    because elementwise work, which takes half of the time, would otherwise stay on one core.

    Args:
        work: computes a block and writes its result; called from several threads at once. If it uses blocks itself,
            these are processed one after another.
        num_rows: N.
        floats_per_row: numbers that the work holds per row.
    """
    todo = list(cache_blocks(num_rows, floats_per_row))
    with one_blas_thread():
        if len(todo) <= 1 or num_threads() == 1 or threading.current_thread().name.startswith(WORKER):
            for rows in todo:
                work(rows)
        else:
            for _ in _pool(num_threads()).map(work, todo):
                pass


def map_blocks(work: Callable[[slice], T], num_rows: int, floats_per_row: int) -> dict[int, T]:
    """Return the result of every block by its first row, in order; see `work_in_blocks`."""
    found: dict[int, T] = {}

    def store(rows: slice) -> None:
        found[rows.start] = work(rows)

    work_in_blocks(store, num_rows, floats_per_row)
    return dict(sorted(found.items()))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run each matrix product and factorisation on one thread.

    For matrices of some hundred rows this is faster than sharing them: two threads that wait for each other took twenty
    times as long for an inverse of 128 rows as one thread.
    """
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    """Find the linear algebra library that NumPy has loaded."""
    return ThreadpoolController()


@cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix=WORKER)
