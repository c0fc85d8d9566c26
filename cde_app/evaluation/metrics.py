"""All scores of a model and of its baselines, as `cde evaluate --json` prints them, from their scores of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cde_app.arrays import IntArray
from cde_app.evaluation.events import EVENT_SCORES, event_key, summarise_event
from cde_app.evaluation.scores import Rows, blank_rows, concatenate_rows, skill, summarise
from cde_app.evaluation.verdict import worth


def blank_metrics(target_names: Sequence[str], event_names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the scores of two rows of zeros, in the form of `metrics_of`: all names that scores may have."""
    rows = blank_rows(len(target_names))
    rows |= {event_key(name, what): np.zeros(2) for name in event_names for what in EVENT_SCORES}
    scored = dict.fromkeys(("model", "climatology", "linear_gaussian", "nearest_neighbours", "sparse_gp"), rows)
    metrics = metrics_of(scored, target_names, event_names)
    return metrics | {"drawn_from": 0, "local": {"num_rows": 0, "p_value": 1.0, "num_faults": 0}}


def join_scores(blocks: Sequence[Mapping[str, Rows]]) -> dict[str, Rows]:
    """Join the scores of blocks of rows, of the model and of each baseline."""
    return {name: concatenate_rows([block[name] for block in blocks]) for name in blocks[0]}


def metrics_of(
    scored: Mapping[str, Rows],
    target_names: Sequence[str],
    event_names: Sequence[str] = (),
    groups: IntArray | None = None,
) -> dict[str, Any]:
    """Summarise the scores of the model and of the baselines; rows of one of the groups, [N], count as one."""
    metrics = summarise(scored["model"], target_names=target_names, groups=groups)
    baselines = [name for name in scored if name != "model"]
    metrics["baselines"] = {
        name: summarise(scored[name], target_names=target_names, groups=groups) for name in baselines
    }
    metrics["skill"] = {name: skill(scored["model"], scored[name], groups) for name in baselines}
    metrics["worth"] = worth(metrics, None if groups is None else int(groups.max()) + 1)
    if event_names:
        metrics["thresholds"] = {name: summarise_event(name, scored, groups) for name in event_names}
    return metrics
