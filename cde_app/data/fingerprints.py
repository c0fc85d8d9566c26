"""Fingerprints of rows, 64 bits each, to recognise the rows that a run was trained on.

The hash is our own, in NumPy, because stored fingerprints must mean the same in every later version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cde_app.arrays import Array

Fingerprints = NDArray[np.uint64]

LAST_BITS = 12
MOST_STORED = 1_000_000
"""If there are more rows, the smallest fingerprints are stored, which are a random sample (8 MB)."""


def fingerprint_rows(values: Array) -> Fingerprints:
    """Return one number per row of values [N, C], the same for rows of equal values; gaps are equal, and -0 equals 0.

    Values are equal if their first 40 bits (twelve digits) are, because writing and reading a table may change the
    last bits.

    Source: the finaliser of MurmurHash3 (Appleby, fmix64), once per column.
    """
    bits = np.ascontiguousarray(np.where(np.isnan(values), np.nan, values) + 0.0).view(np.uint64)
    bits = bits + np.uint64(1 << LAST_BITS - 1) >> np.uint64(LAST_BITS)
    mixed = np.zeros(len(bits), np.uint64)
    for column in bits.T:
        mixed ^= column
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed ^= mixed >> np.uint64(33)
            mixed *= np.uint64(factor)
        mixed ^= mixed >> np.uint64(33)
    return mixed


@dataclass(frozen=True)
class SeenRows:
    """The rows that a training has seen, or a sample of them.

    Args:
        stored: [n], the smallest fingerprints of the rows, sorted, with repetitions.
        num_rows: rows that the training has seen.
    """

    stored: Fingerprints
    num_rows: int

    @classmethod
    def of(cls, rows: Fingerprints) -> SeenRows:
        """Store the smallest of some fingerprints, [N]."""
        return cls(np.sort(rows)[:MOST_STORED].copy(), len(rows))

    def joined(self, rows: Fingerprints) -> SeenRows:
        """Return these and more rows, [N]."""
        both = SeenRows.of(np.concatenate([self.stored, rows]))
        return SeenRows(both.stored, self.num_rows + len(rows))

    def count(self, rows: Fingerprints) -> int:
        """Return how many of some rows, [N], the training has seen; 0 if chance may explain them.

        A new row may equal a training row if there are few different rows. The probability p is estimated by the share
        of training rows that equal another one, (number + 1) / (n + 2); up to N p + 4 sqrt(N p) rows are no evidence.
        """
        if not len(self.stored):
            return 0
        rows = rows[:]  # which may be in a file
        is_whole = len(self.stored) == self.num_rows
        comparable = rows if is_whole else rows[rows <= self.stored[-1]]
        indices = np.minimum(np.searchsorted(self.stored, comparable), len(self.stored) - 1)
        found = int(np.count_nonzero(self.stored[indices] == comparable))
        _, counts = np.unique(self.stored, return_counts=True)
        chance = len(comparable) * (counts[counts > 1].sum() + 1) / (len(self.stored) + 2)
        if found <= chance + 4 * np.sqrt(chance):
            return 0
        return round(found * len(rows) / len(comparable))


NONE_SEEN = SeenRows(np.array([], np.uint64), 0)
"""Those of a training that has seen no rows."""


def seen_warning(num_seen: int, num_rows: int) -> str | None:
    """Warn how many of the scored rows the training has seen; None if it has seen none."""
    if not num_seen:
        return None
    return (
        f"{num_seen} of these {num_rows} rows were trained on; their scores and pictures are too good. Name a table of "
        "other rows, or none for the run's held-out rows."
    )
