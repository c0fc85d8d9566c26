"""The health of a trained model: does it use its latent variables and inducing inputs, was the training long enough?

Letters: N rows, C nodes, Dw latent variables, M inducing inputs, D inputs of a GP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import xlogy

from cde_app.arrays import Array
from cde_app.gp.sparse_gp import SparseGP

LEAST_ACTIVITY = 0.01
"""A latent variable is active if the variance of its posterior mean over the rows is a larger share of its prior's."""
CELLS = 16
"""Intervals of equal prior probability in which a latent variable is compared with its prior."""
LARGEST_MISMATCH = 0.25
"""Largest KL of the aggregate posterior from the prior [nats] that needs no remark; a shift by 0.7 sds has as much."""
SAME_INPUT, FAR_INPUT = 1 - 1e-5, 0.01
"""Correlations of the GP at two inducing inputs from which on they are the same, and at one and the closest row below
which it is far from all."""
LARGEST_SHARE = 0.5
"""Largest share of duplicate or far inducing inputs that needs no remark."""
LARGEST_CONDITION = 1e12
"""Largest condition number of k(Z, Z) with four digits left."""
LAST_PART, LARGEST_GAIN = 0.25, 0.1
"""A training is too short if the bound still gains more, in nats per row, in the last part of its steps."""
SMALLEST_SPIKE, SPIKE_FACTOR = 0.5, 10.0
"""A spike is a fall of the bound by so many nats per row and so many times its usual change."""


def latent_health(responsibilities: Array, nodes: Array, weights: Array) -> list[dict[str, Any]]:
    """Compare the posterior of each latent variable with its prior.

    Both are discrete, on the nodes. Per latent variable they are compared in `CELLS` intervals of equal prior
    probability, so that a KL is a lower bound of the continuous one, and at most log 16 = 2.8.

    Args:
        responsibilities: [N, C], p(node | x, y) of each row.
        nodes: [C, Dw].
        weights: [C], the prior's.

    Returns:
        Per latent variable `kl`, the mean over the rows of KL[p(w | x, y) || p(w)] in nats; `activity`, the variance
        over the rows of E[w | x, y] as a share of the prior's; whether it is `active`; and `mismatch`, the KL from the
        prior of the aggregate posterior, the mean of p(w | x, y) over the rows, in nats.

    Source: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders", ICLR, section 5.1 (active
    units); Hoffman and Johnson (2016), "ELBO surgery" (aggregate posterior).
    """
    found = []
    for values in nodes.T:
        order = np.argsort(values, kind="stable")
        middle = np.cumsum(weights[order]) - 0.5 * weights[order]
        cell = np.empty(len(values), dtype=np.intp)
        cell[order] = np.minimum((CELLS * middle).astype(np.intp), CELLS - 1)
        in_cell = cell[:, None] == np.arange(CELLS)
        prior, posterior = weights @ in_cell, responsibilities @ in_cell
        used = prior > 0
        prior, posterior = prior[used], posterior[:, used]
        mean = weights @ values
        activity = np.var(responsibilities @ values) / (weights @ (values - mean) ** 2)
        found.append(
            {
                "kl": float(xlogy(posterior, posterior / prior).sum(axis=1).mean()),
                "activity": float(activity),
                "active": bool(activity > LEAST_ACTIVITY),
                "mismatch": float(xlogy(posterior.mean(axis=0), posterior.mean(axis=0) / prior).sum()),
            }
        )
    return found


def inducing_health(gp: SparseGP, points: Array) -> dict[str, Any]:
    """Describe the inducing inputs of a GP.

    Args:
        gp: the GP.
        points: [N, D], inputs that it sees at some rows.

    Returns:
        `number`, M; `duplicates`, those that are the same as an earlier one to the kernel; `far`, those that are far
        from all points; `informed`, the mean over the GPs of sum_i (1 - lambda_i) with the eigenvalues lambda of
        q(v)'s covariance: how many of M directions the data have determined; `condition`, of k(Z, Z) with jitter.
    """
    Z = gp.inducing_inputs
    sds = np.sqrt(gp.kernel.diagonal(Z))
    same = np.abs(gp.kernel.covariance(Z, Z) / np.outer(sds, sds)) > SAME_INPUT
    closeness = np.abs(gp.kernel.covariance(points, Z)) / np.outer(np.sqrt(gp.kernel.diagonal(points)), sds)
    singular = np.linalg.svd(gp.whitening, compute_uv=False)
    informed = [
        float(np.clip(1 - np.linalg.eigvalsh(factor.T @ factor), 0, 1).sum())
        for factor in (np.linalg.solve(gp.whitening.T, projection.T) for projection in gp.q_projection)
    ]
    return {
        "number": len(Z),
        "duplicates": int(np.tril(same, -1).any(axis=1).sum()),
        "far": int((closeness.max(axis=0) < FAR_INPUT).sum()),
        "informed": float(np.mean(informed)),
        "condition": float((singular[0] / singular[-1]) ** 2),
    }


def training_health(history: Sequence[Mapping[str, Any]], kept_step: int) -> dict[str, Any]:
    """Describe a training by its history.

    Args:
        history: its entries, with `step` and `bound` [nats per row], which is None where it was not finite.
        kept_step: the step whose parameters were kept.

    Returns:
        `steps`; `gain`, by how much the bound rose in the last quarter of the steps along a straight line; `too_short`,
        whether that is much and the last step was kept; `spikes`, the steps after which the bound fell far; `infinite`,
        the number of entries without a finite bound.
    """
    finite = [(entry["step"], entry["bound"]) for entry in history if entry["bound"] is not None]
    last = max((entry["step"] for entry in history), default=0)
    steps, bounds = np.array(finite, dtype=float).reshape(-1, 2).T
    start, gain = (1 - LAST_PART) * last, 0.0
    late = steps > start
    if len(steps) > 1 and late.any():
        line = np.polyfit([start, *steps[late]], [np.interp(start, steps, bounds), *bounds[late]], 1)
        gain = float(line[0]) * LAST_PART * last
    changes = np.diff(bounds)
    limit = max(SMALLEST_SPIKE, SPIKE_FACTOR * float(np.median(np.abs(changes))) if len(changes) else 0.0)
    return {
        "steps": int(last),
        "gain": gain,
        "too_short": bool(gain > LARGEST_GAIN and kept_step >= last),
        "spikes": [int(step) for step in steps[1:][changes < -limit]],
        "infinite": len(history) - len(finite),
    }


def advice_on(health: Mapping[str, Any]) -> list[str]:
    """Write what is wrong with a model and what to do, one sentence or two for each; none if it is healthy.

    Args:
        health: `trainings`, each with its `name`, `training`, `latent` and `inducing`, as the functions above return
            them.
    """
    trainings = health["trainings"]
    advice = []

    def remark(names: Sequence[str], text: str) -> None:
        """Add a remark about some trainings."""
        if names:
            count = "the only training" if len(trainings) == 1 else f"{len(names)} of {len(trainings)} trainings"
            advice.append(f"{text} ({count}{'' if len(names) == len(trainings) else ': ' + ', '.join(names)})")

    remark(
        [own["name"] for own in trainings if own["latent"] and not any(w["active"] for w in own["latent"])],
        "The densities have one shape, a bell with wide tails: no latent variable is active. If the data have skew or "
        "several modes, raise training.max_steps or try another model.seed; else set model.latent.dim=0, which trains "
        "faster.",
    )
    remark(
        [
            own["name"]
            for own in trainings
            if any(w["active"] for w in own["latent"]) and not all(w["active"] for w in own["latent"])
        ],
        "The shapes of the densities need fewer latent variables than there are: some are not active. Lower "
        "model.latent.dim.",
    )
    remark(
        [own["name"] for own in trainings if any(w["mismatch"] > LARGEST_MISMATCH for w in own["latent"])],
        "Densities may be misplaced or too wide: the latent variables of the rows do not follow their prior, from "
        "which predictions draw them. Train longer (training.max_steps), and look at the PIT histograms.",
    )
    gps = {own["name"]: own["inducing"] for own in trainings}
    remark(
        [name for name, own in gps.items() if any(gp["duplicates"] > LARGEST_SHARE * gp["number"] for gp in own)],
        "More than half of the points on which a GP rests (its inducing inputs) are duplicates, which cost time and "
        "add nothing. Lower num_inducing.",
    )
    remark(
        [name for name, own in gps.items() if any(gp["far"] > LARGEST_SHARE * gp["number"] for gp in own)],
        "More than half of the points on which a GP rests (its inducing inputs) are far from all rows and add nothing. "
        "Lower num_inducing, or training.inducing_rate.",
    )
    remark(
        [name for name, own in gps.items() if any(gp["condition"] > LARGEST_CONDITION for gp in own)],
        "Few digits of a prediction are certain: points on which a GP rests (its inducing inputs) are so alike that "
        "their covariance is nearly singular. Lower num_inducing.",
    )
    remark(
        [own["name"] for own in trainings if own["training"]["too_short"]],
        "The training may have ended too early: what it maximises (the bound) was still rising, by more than "
        f"{LARGEST_GAIN} nats per row in the last quarter of the steps. Raise training.max_steps and compare the "
        "scores of both runs (cde compare).",
    )
    remark(
        [own["name"] for own in trainings if own["training"]["spikes"]],
        "The training jumped: what it maximises (the bound) fell far within a few steps, which are too large. Lower "
        "training.learning_rate.",
    )
    remark(
        [own["name"] for own in trainings if own["training"]["infinite"]],
        "What the training maximises (the bound) was not finite at times. Lower training.learning_rate, and look for "
        "extreme values in the table.",
    )
    return advice
