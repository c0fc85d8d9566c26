"""The weights of a mixture's components: the same in all rows, [C], or each row's own, [N, C]."""

from __future__ import annotations

from typing import Any

import numpy as np

from cde_app.arrays import Array, IndexArray


def of_rows(weights: Array, rows: Any) -> Array:
    """Return the weights of some rows: a slice, a mask or an index array."""
    return weights if weights.ndim == 1 else weights[rows]


def average(values: Array, weights: Array) -> Array:
    """Return each row's weighted sum; [N, C] to [N]."""
    return values @ weights if weights.ndim == 1 else np.einsum("nc,nc->n", values, weights)


def axes_of(weights: Array) -> str:
    """Return the axes of the weights for `numpy.einsum`."""
    return "c" if weights.ndim == 1 else "nc"


def present(weights: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the components that have a weight in at least one row, [C]."""
    return weights > 0 if weights.ndim == 1 else (weights > 0).any(axis=0)


def chosen_components(weights: Array, uniforms: Array) -> IndexArray:
    """Return the component that each uniform number selects; [n, S] in [0, 1) to [n, S]."""
    cumulative = np.cumsum(weights, axis=-1)
    cumulative[..., -1] = np.inf
    if weights.ndim == 1:
        return np.searchsorted(cumulative, uniforms, side="right")
    # One search for all rows: row n's numbers run from 2 n to 2 n + 1.
    offsets = 2.0 * np.arange(len(weights))[:, None]
    found = np.searchsorted((np.minimum(cumulative, 1.5) + offsets).ravel(), uniforms + offsets, side="right")
    return np.minimum(found - np.arange(len(weights))[:, None] * weights.shape[1], weights.shape[1] - 1)
