"""The unit in which a model states how far rows are from its training rows, from rows that the training did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cde_app.predictive.ensemble import Ensemble
from cde_app.training.calibration import Unseen

FAR_SHARE = 1e-3
"""Share of unseen rows that is meant to be farther away than one unit."""
TAIL_ROWS, TAIL_SHARE = 10, 0.2
"""Number of rows from which the tail of the distances is continued, and the largest share of all that they may be: the
exponent has an error of a third, and larger ones where there are fewer than fifty rows."""
FEWEST_ROWS = 15
"""With fewer unseen rows, nothing is said of their tail."""
LARGEST_EXPONENT = 1.0
"""With a larger one, distances would have no mean: then a row is a fault, and would say of no other that it is far."""
ROUNDING = 1e-6
"""Relative rounding error of a distance, and more: rows with the same inputs are on the same side of the unit."""


def distance_unit(ensemble: Ensemble, unseen: Sequence[Unseen]) -> float | None:
    """Return the distance that one in a thousand rows exceeds.

    The logarithms of the largest of n distances are continued as a straight line against that of their share:
    d_(k+1) (1000 k / n)^g, where g <= 1 is the mean of log d_i / d_(k+1), i <= k. Training rows are nearer by
    construction, and in small tables by far, so that only unseen rows count.

    Args:
        ensemble: of the first factor.
        unseen: rows that each member did not see.

    Returns:
        None if the ensemble states no distances or has seen all but a few rows.

    Source: Weissman (1978), "Estimation of parameters and large quantiles based on the k largest observations".
    """
    found = [Ensemble((member,)).distance(rows.X) for member, rows in zip(ensemble.members, unseen, strict=True)]
    distances = np.concatenate([distance for distance in found if distance is not None] or [np.empty(0)])
    distances = distances[np.isfinite(distances)]
    if len(distances) < FEWEST_ROWS:
        return None
    num_far = min(max(TAIL_ROWS, int(np.ceil(FAR_SHARE * len(distances)))), int(TAIL_SHARE * len(distances)))
    start, *tail = np.sort(distances)[-num_far - 1 :]
    if not start > 0:  # no kernel sees an input
        return None
    exponent = min(float(np.mean(np.log(tail / start))), LARGEST_EXPONENT)
    return float((1.0 + ROUNDING) * start * (num_far / (FAR_SHARE * len(distances))) ** exponent)
