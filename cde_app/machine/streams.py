"""Random numbers: a stream of its own for everything that is drawn with the seed of a run."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are used for; two streams of the same seed are independent."""

    WARM_START_ROWS = 1
    CLUSTERS = 2
    INNER_SCORES = 4
    LATENT_PLANE = 5
    BATCHES = 6
    SCREENING_ROWS = 7
    VALIDATION_ROWS = 8
    LEFT_OUT_ROWS = 9
    NEIGHBOUR_ROWS = 10
    START_ROWS = 11
    BASELINE_ROWS = 12
    SCORED_ROWS = 13
    MEAN_ROWS = 14
    CALIBRATION_ROWS = 15
    DEFENCE_ROWS = 16
    INDUCING_ROWS = 17
    DRAWS = 18
    FUNCTIONS = 21
    TOTALS = 22


def generator(seed: int, stream: Stream, *more: int) -> np.random.Generator:
    """Return the generator of a seed for one purpose; `more` distinguishes several generators of that purpose."""
    return np.random.default_rng([seed, stream, *more])
