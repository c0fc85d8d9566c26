"""The maps of a recalibrated model, as they are stored: one for each target and group of rows.

Letters: N rows, D features, P targets, M groups, K pieces of a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cde_app.arrays import Array, IndexArray
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.predictive.probability_map import ProbabilityMap
from cde_app.predictive.recalibrated import Recalibrated, RecalibratedMarginal


@dataclass(frozen=True)
class Recalibration:
    """Which map the probabilities of a row take."""

    levels: Array
    """[K + 1], what the points of all maps are mapped to."""
    places: Array
    """[P, 1 + M, K + 1], where the points are: in the map of all rows, then in the map of each group."""
    features: tuple[int, ...]
    """The features that tell the groups apart; none without groups."""
    groups: Array
    """[M, features], their values in each group."""
    regions: Array | None = None
    """[K + 1], where the points of the map of the joint highest-density regions are; None for one target."""

    def apply(self, forecast: Forecast, X: Array) -> Forecast:
        """Return the recalibrated forecast of N rows; X [N, D or more], standardised."""
        own = self.map_of_row(X)
        each = tuple(
            RecalibratedMarginal(one, ProbabilityMap(places[own], self.levels))
            for one, places in zip(forecast.marginals(), self.places, strict=True)
            if isinstance(one, Mixture)  # as all marginals of what is not recalibrated are
        )
        if len(each) == 1:
            return each[0]
        regions = None if self.regions is None else ProbabilityMap(self.regions[None], self.levels)
        return Recalibrated(forecast, each, regions)

    def map_of_row(self, X: Array) -> IndexArray:
        """Return the index of each row's map, [N], or of the one that all rows have, [1]."""
        if not len(self.groups):
            return np.zeros(1, np.intp)
        is_of = np.all(np.isclose(X[:, None, list(self.features)], self.groups, rtol=0.0, atol=1e-9), axis=2)
        return np.where(is_of.any(axis=1), 1 + is_of.argmax(axis=1), 0)
