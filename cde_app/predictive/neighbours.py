"""Features of a row from its nearest training rows: what was measured there, and how near they are.

A sparse GP with a hundred inducing inputs sees the broad shape of a function. If a table has rows that are very similar
(repeated experiments, decoys of one protein, a house sold twice), the nearest rows contain more information. As
features, they let the GP learn from the data how far to trust them.

Letters: N rows, D features, P targets, k neighbours, R training rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream
from cde_app.machine.threads import num_threads

if TYPE_CHECKING:
    from scipy.spatial import cKDTree


SMALLEST_DISTANCE = 1e-3
"""Added to distances before the logarithm [standard deviations of a feature]."""
NEAREST_SHARE = 1e-3
"""Distances below this share of the middle neighbour's distance count as zero."""
SMALLEST_FLOAT = 1e-12
MOST_ROWS = 200_000
"""The largest number of training rows, drawn at random, among which neighbours are sought; the model stores them."""


@dataclass(frozen=True)
class Neighbours:
    """Weighted means of the targets over a row's k nearest training rows, and the log of the smallest distance.

    All are standardised over the training rows. The weights are inverse squared distances, so that a copy of a row
    outweighs all others, and several copies share the weight.

    Source: Shepard (1968), "A two-dimensional interpolation function for irregularly-spaced data", for the weighted
    mean; its use as a feature of a GP is ours.
    """

    X: Array
    """[R, D], standardised features of the training rows, at most `MOST_ROWS` of them."""
    Y: Array
    """[R, P], standardised targets of these rows."""
    count: int
    """k, less than R."""
    centre: Array
    """[P + 1], means of the features over the training rows."""
    scale: Array
    """[P + 1], standard deviations of the features."""

    def extend(self, X: Array) -> Array:
        """Append the features of rows that are not training rows; [N, D] to [N, D + P + 1]."""
        distances, indices = self._tree.query(X, range(1, self.count + 1), workers=num_threads())
        return self._append(X, distances, indices)

    def extend_training_rows(self, X: Array, indices: IndexArray) -> Array:
        """Append the features of training rows, each from all the others; [N, D] to [N, D + P + 1].

        Args:
            X: [N, D].
            indices: [N], index of each row among the R rows, -1 if it is not one of them.
        """
        distances, found = self._tree.query(X, range(1, self.count + 2), workers=num_threads())
        own = found == indices[:, None]
        own[~own.any(axis=1), -1] = True  # a row with many copies need not find itself
        shape = (len(X), self.count)
        return self._append(X, distances[~own].reshape(shape), found[~own].reshape(shape))

    def _append(self, X: Array, distances: Array, indices: IndexArray) -> Array:
        """Append the standardised features, given the distances and the indices of the neighbours, [N, k] each."""
        return np.column_stack([X, (neighbour_features(distances, self.Y[indices]) - self.centre) / self.scale])

    @cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree  # loaded only where a model has neighbours

        return cKDTree(self.X)


def draw_neighbours(num_rows: int, *, seed: int) -> IndexArray:
    """Return the training rows among which neighbours are sought, sorted."""
    return draw_rows(num_rows, MOST_ROWS, seed=seed, stream=Stream.NEIGHBOUR_ROWS)


def fit_neighbours(X: Array, Y: Array, *, count: int) -> Neighbours:
    """Return the neighbours of training rows; X [R, D] and Y [R, P], standardised."""
    size = Y.shape[1] + 1
    raw = Neighbours(X, Y, min(count, len(X) - 1), np.zeros(size), np.ones(size))
    features = raw.extend_training_rows(X, np.arange(len(X)))[:, -size:]
    scale = features.std(axis=0)
    return replace(raw, centre=features.mean(axis=0), scale=np.where(scale > 0, scale, 1.0))


def neighbour_features(distances: Array, Y: Array) -> Array:
    """Return the weighted means of the neighbours' targets and the log distance; [N, k] and [N, k, P] to [N, P + 1]."""
    middle = distances[:, [distances.shape[1] // 2]]
    weights = (distances + NEAREST_SHARE * middle + SMALLEST_FLOAT) ** -2
    weights /= weights.sum(axis=1, keepdims=True)
    return np.column_stack([np.einsum("nk,nkp->np", weights, Y), np.log(distances[:, 0] + SMALLEST_DISTANCE)])
