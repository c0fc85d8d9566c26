"""Columns on one scale."""

from __future__ import annotations

import numpy as np

from cde_app.arrays import Array


def standardised_columns(values: Array, *, smallest_sd: float) -> Array:
    """Return columns, [N, D], with mean 0 and standard deviation 1; those that are constant are 0.

    Args:
        values: [N, D].
        smallest_sd: a column that varies less is constant up to rounding [its unit].
    """
    centred = values - values.mean(axis=0)
    sds = centred.std(axis=0)
    return np.asarray(centred / np.where(sds > smallest_sd, sds, np.inf))
