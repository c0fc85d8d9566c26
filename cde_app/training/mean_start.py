"""Where the mean function of the output layer starts.

Letters: N rows, D inputs, P targets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cde_app import config
from cde_app.model.start import MeanStart
from cde_app.predictive.mean_function import MeanFunction, zero_mean

Array = NDArray[np.float64]


def least_squares_mean(settings: config.OutputMean, X: Array, Y: Array) -> MeanFunction:
    """Return the mean function of its kind that is nearest to Y [N, P] at X [N, D]; the shortest of several."""
    match settings.kind:
        case "zero":
            return zero_mean(X.shape[1], Y.shape[1])
        case "identity":
            return MeanFunction(None)
        case "constant":
            return MeanFunction(zero_mean(X.shape[1], Y.shape[1]).slope, Y.mean(0))
        case "linear":
            centre = X.mean(0)
            slope = np.linalg.lstsq(X - centre, Y - Y.mean(0), rcond=1e-6)[0]
            return MeanFunction(slope, Y.mean(0) - centre @ slope)


def start_mean(settings: config.OutputMean | config.InnerMean, function: MeanFunction) -> MeanStart:
    """Return a mean function with what its kind trains: the offset of a constant, both parts of a linear one."""
    return MeanStart(
        function, trains_slope=settings.kind == "linear", trains_offset=settings.kind in ("constant", "linear")
    )
