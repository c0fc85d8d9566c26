"""The scores of a cross-validation: all rows together, and how they vary from fold to fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cde_app.evaluation.scores import standard_error


def over_folds(pooled: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the scores of all rows and of each fold side by side.

    The standard error over rows takes the models as they are. That over folds, sd / sqrt(K), has their differences in
    it too; but the folds share training rows, and a few folds estimate it roughly.

    Args:
        pooled: the scores of all rows, as `cde evaluate` has them.
        folds: [K], the scores of the rows of each fold, in the same form.

    Returns:
        The same form. In place of each score {"value", "se_rows", "fold_mean", "se_folds", "folds"}: the score of all
        rows with its standard error over rows, the mean of the folds' scores with its standard error over folds, and
        the folds' scores [K]. What is unknown is None; the counts of rows remain numbers.
    """
    joined: dict[str, Any] = {}
    for key, entry in pooled.items():
        own = [fold[key] for fold in folds]
        if not isinstance(entry, Mapping):
            joined[key] = entry
        elif "value" not in entry or isinstance(entry["value"], Mapping):
            joined[key] = over_folds(entry, own)
        else:
            joined[key] = _score(entry, own)
    return joined


def _score(pooled: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join one score, and what it has for each target."""
    values = [fold["value"] for fold in folds]
    known = np.array([math.nan if value is None else value for value in values])
    mean, error = float(known.mean()), standard_error(known)
    joined = {
        "value": pooled["value"],
        "se_rows": pooled["se"],
        "fold_mean": mean if math.isfinite(mean) else None,
        "se_folds": error if error is not None and math.isfinite(error) else None,
        "folds": values,
    }
    joined |= {key: value for key, value in pooled.items() if key == "num_infinite"}
    if "per_target" in pooled:
        joined["per_target"] = over_folds(pooled["per_target"], [fold["per_target"] for fold in folds])
    return joined
