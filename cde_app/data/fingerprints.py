"""Rows that are recognised again: 64 bits per row, and those of the rows that a run was trained on.

NumPy only, and no library's hash: what a run has stored must mean the same to every later version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cde_app.arrays import Array

Fingerprints = NDArray[np.uint64]

LAST_BITS = 12
MOST_STORED = 1_000_000
"""Of more rows those with the smallest fingerprints are stored, which are a random sample: 8 MB."""


def fingerprint_rows(values: Array) -> Fingerprints:
    """Return a number for each row of values [N, C], equal for rows of equal values; gaps are equal too, and -0 is 0.

    Values are equal if their first 40 bits, twelve digits, are: reading and writing a table may change the last ones.

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
        stored: [n], the smallest of the rows' fingerprints, sorted, equal ones repeated.
        num_rows: rows that the training has seen.
    """

    stored: Fingerprints
    num_rows: int

    @classmethod
    def of(cls, rows: Fingerprints) -> SeenRows:
        """Keep the smallest fingerprints of the rows, [N]."""
        return cls(np.sort(rows)[:MOST_STORED], len(rows))

    def count(self, rows: Fingerprints) -> int:
        """Return how many of some rows, [N], the training has seen, as far as chance does not explain it; else 0.

        A new row may equal a training row where there are few different ones. The chance of it is the share p of the
        training rows that equal another one, (number + 1) / (n + 2); up to N p + 4 sqrt(N p) rows are no evidence.
        """
        if not len(self.stored):
            return 0
        is_whole = len(self.stored) == self.num_rows
        comparable = rows if is_whole else rows[rows <= self.stored[-1]]
        places = np.minimum(np.searchsorted(self.stored, comparable), len(self.stored) - 1)
        found = int(np.count_nonzero(self.stored[places] == comparable))
        _, counts = np.unique(self.stored, return_counts=True)
        chance = len(comparable) * (counts[counts > 1].sum() + 1) / (len(self.stored) + 2)
        if found <= chance + 4 * np.sqrt(chance):
            return 0
        return round(found * len(rows) / len(comparable))
