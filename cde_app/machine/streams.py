"""Random numbers: a stream of its own for everything that is drawn with the seed of a run."""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np


@unique
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
    CHOICE_ROWS = 19
    REGRESSION_ROWS = 20
    FUNCTIONS = 21
    TOTALS = 22
    TRIALS = 23
    KEPT_OUT_ROWS = 24
    STORED_NEIGHBOURS = 25
    DENSITY_RANKS = 26
    REFERENCE_ROWS = 31
    OUTCOME_RANKS = 32
    EXPLORED_ROWS = 33
    EXPLORED_TRAINED_ROWS = 34
    MOVED_ROWS = 35
    ARRIVED_ROWS = 36
    DRIFT_TESTS = 37
    RIVAL_RANKS = 38
    EXPLAINED_ROWS = 40
    PERMUTATIONS = 41
    COALITIONS = 42
    CURVE_ROWS = 43


def generator(seed: int, stream: Stream, *more: int) -> np.random.Generator:
    """Return the generator of a seed for one purpose; `more` distinguishes several generators of that purpose.

    NumPy fills up the numbers of a seed with zeros, so that none and a zero give the same generator: a purpose takes
    the same count of them wherever it is drawn for.
    """
    return np.random.default_rng([seed, stream, *more])
