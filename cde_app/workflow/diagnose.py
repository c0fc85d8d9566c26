"""`cde diagnose`: whether a trained model uses its parts, and whether the training was long enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cde_app.evaluation.health import advice_on, inducing_health, latent_health, training_health
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.pictures import FEWEST_WITNESSES
from cde_app.workflow.scoring import own_table_warning, table_to_judge_by

LATENT_ROWS, INDUCING_ROWS = 2000, 200
"""Rows that the latent variables and the inducing inputs are compared with, evenly spaced."""


def diagnose_run(run_path: Path, data_path: Path | None) -> dict[str, Any]:
    """Describe the health of a run: its latent variables, its inducing inputs and its trainings.

    Args:
        run_path: the run directory.
        data_path: a table whose rows are used; None for the run's own. Of that, named or not, these are the held-out
            rows if there are a hundred, or else all.

    Returns:
        `warnings`, sentences about the rows; `advice`, sentences about what is wrong, none if the run is healthy;
        `trainings`, per training its `name`, `training`, and for each latent variable and GP `latent` and `inducing`,
        as `evaluation/health.py` describes.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run is missing, incomplete, corrupt or from a newer format, or its table has changed.
    """
    run = Run.open(run_path)
    model, manifest, history = TrainedModel.load(run), run.manifest(), run.history()
    with table_to_judge_by(run, model, data_path) as table:
        # A training row is its own nearest neighbour: held-out rows are more informative if there are enough.
        held_out = table.split.test
        is_enough = len(held_out) >= FEWEST_WITNESSES
        rows = held_out if is_enough else np.arange(len(table.inputs))
        warning = own_table_warning(table, data_path) if data_path is not None and is_enough else None
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), LATENT_ROWS)).astype(int)]
        X, targets = np.array(table.inputs[rows]), np.array(table.targets[rows])
    few = np.linspace(0, len(rows) - 1, min(len(rows), INDUCING_ROWS)).astype(int)
    trainings = list[dict[str, Any]]()
    for factor, own, features in model.predictor.factor_inputs(X, targets):
        for member in factor.members:
            index = len(trainings)
            facts = manifest["trainings"][index]
            latent = []
            if member.latent_dim:
                responsibilities = member.responsibilities(features, targets[:, list(own)])
                latent = latent_health(responsibilities, member.latent_nodes, member.node_weights)
            entries = [entry for entry in history if entry["training"] == index]
            trainings.append(
                {
                    "name": facts["name"],
                    "training": training_health(entries, facts["kept_step"]),
                    "latent": latent,
                    "inducing": [inducing_health(gp, points) for gp, points in member.gp_inputs(features[few])],
                }
            )
    health = {"num_rows": len(rows), "trainings": trainings}
    return {"warnings": [warning] if warning else [], "advice": advice_on(health), **health}
