"""Increasing maps of probabilities to probabilities, through given points: smooth, with a closed form both ways.

Letters: N rows, G probabilities, K pieces of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cde_app.arrays import Array, IndexArray

SMALLEST = float(np.finfo(float).tiny)
LARGEST = 1.0 - float(np.finfo(float).epsneg)


@dataclass(frozen=True)
class ProbabilityMap:
    """G, one for each of N rows or the same for all: [0, 1] to [0, 1], increasing, with a continuous slope.

    Between two points it is a rational quadratic. The slope at a point is the weighted geometric mean of the chords'
    beside it, and at an end the chord's. So every slope is positive, and the probabilities of a far tail are all
    multiplied by the same factor.

    Source: Gregory and Delbourgo (1982), "Piecewise rational quadratic interpolation to monotonic data", IMA Journal
    of Numerical Analysis 2; Durkan et al. (2019), "Neural spline flows", section 3.1.
    """

    places: Array
    """[N or 1, K + 1], where the points are: from 0 to 1, increasing."""
    levels: Array
    """[K + 1], what they are mapped to: from 0 to 1, increasing."""

    def of_rows(self, rows: Any) -> ProbabilityMap:
        """Return the maps of some rows: a slice, a mask or an index array."""
        return self if len(self.places) == 1 else ProbabilityMap(self.places[rows], self.levels)

    @cached_property
    def mirrored(self) -> ProbabilityMap:
        """The maps of 1 - u to 1 - G(u), which keep the digits of small upper probabilities."""
        return ProbabilityMap(1.0 - self.places[:, ::-1], 1.0 - self.levels[::-1])

    def forward(self, u: Array) -> Array:
        """Return G(u); [N, G] to [N, G]."""
        piece, share = self._located(u)
        rise = piece.chord * share**2 + piece.low_slope * share * (1.0 - share)
        return piece.low_level + piece.rise * rise / piece.denominator(share)

    def log_slope(self, u: Array) -> Array:
        """Return log G'(u); [N, G] to [N, G]."""
        piece, share = self._located(u)
        slope = piece.high_slope * share**2 + piece.low_slope * (1.0 - share) ** 2
        slope += 2.0 * piece.chord * share * (1.0 - share)
        return 2.0 * np.log(piece.chord / piece.denominator(share)) + np.log(slope)

    def inverse(self, v: Array) -> Array:
        """Return the u inside (0, 1) with G(u) = v; [N, G] in (0, 1) to [N, G]."""
        piece = self._piece(np.searchsorted(self.levels[1:-1], v, side="right"))
        risen = (v - piece.low_level) / piece.rise
        b = piece.low_slope - risen * piece.bend
        c = risen * piece.chord
        share = 2.0 * c / (b + np.sqrt(b**2 + 4.0 * (piece.chord - b) * c))
        return np.clip(piece.low_place + piece.run * share, SMALLEST, LARGEST)

    @cached_property
    def _chords(self) -> Array:
        """[N or 1, K], the slopes of the chords."""
        return np.diff(self.levels) / np.diff(self.places, axis=1)

    @cached_property
    def _slopes(self) -> Array:
        """[N or 1, K + 1], the slopes at the points."""
        runs, logs = np.diff(self.places, axis=1), np.log(self._chords)
        inner = (runs[:, 1:] * logs[:, :-1] + runs[:, :-1] * logs[:, 1:]) / (runs[:, 1:] + runs[:, :-1])
        return np.exp(np.column_stack([logs[:, :1], inner, logs[:, -1:]]))

    def _located(self, u: Array) -> tuple[_Piece, Array]:
        """Return the piece on which each u is, and how far along it, in [0, 1]."""
        piece = self._piece(np.sum(u[:, :, None] >= self.places[:, None, 1:-1], axis=2))
        return piece, np.clip((u - piece.low_place) / piece.run, 0.0, 1.0)

    def _piece(self, index: IndexArray) -> _Piece:
        """Return pieces by their index, [N, G]."""
        rows = np.arange(len(index))[:, None] if len(self.places) > 1 else 0
        low, high = self.places[rows, index], self.places[rows, index + 1]
        slopes = self._slopes[rows, index], self._slopes[rows, index + 1]
        return _Piece(
            low, high - low, self.levels[index], np.diff(self.levels)[index], self._chords[rows, index], *slopes
        )


class _Piece(NamedTuple):
    """Pieces of a map, each attribute [N, G]."""

    low_place: Array
    run: Array
    low_level: Array
    rise: Array
    chord: Array
    low_slope: Array
    high_slope: Array

    @property
    def bend(self) -> Array:
        """Zero for a straight piece."""
        return self.low_slope + self.high_slope - 2.0 * self.chord

    def denominator(self, share: Array) -> Array:
        """Return the denominator of the rational quadratic."""
        return self.chord + self.bend * share * (1.0 - share)
