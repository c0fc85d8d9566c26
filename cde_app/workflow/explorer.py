"""What the explorer of a report knows: the inputs with their ranges, rows of the table, the densities as functions."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cde_app.arrays import AnyArray, Array, BoolArray, IndexArray
from cde_app.data.decoding import feature_forms
from cde_app.data.encoding import ColumnContract, InputEncoding, encode_columns
from cde_app.data.prepared import PreparedTable
from cde_app.machine.rows import draw_rows
from cde_app.machine.streams import Stream, generator
from cde_app.predictive.emulator import MAX_RANK
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.page import differences, fit_page_model, mixtures_of, pair_of
from cde_app.targets import TargetTransform
from cde_app.trained_model import TrainedModel

MARGIN = 0.08
"""How far a slider goes beyond the training range, as a share of it; the densities are greyed out there."""
SHOWN_ROWS, SHOWN_HELD_OUT = 1200, 800
SITES, FEWEST_SITES, SITES_OF_ONE = 2500, 300, 400
PICKS = 24
"""The rows to choose from; more are no menu."""
CHECKED_ROWS, CHECKED_JOINT, CHECKED_DRAWS = 200, 16, 64
DISTINCT = 1e-3
"""Sites that are closer in every feature are one [standard deviations]."""
REACH_LEVEL = 0.99
MAP_SIZE, MAP_ENDS = 71, (0.002, 0.998)
"""Points of the joint map along each target, and the quantiles between which they are."""
SCALE = np.linspace(-12.0, 12.0, 481)
"""The standardised values at which the page knows a target's transform."""


@dataclass(frozen=True)
class Surroundings:
    """Rows of the table that the explorer shows, and the ranges of the inputs."""

    contract: ColumnContract
    columns: tuple[int, ...]
    """[J], indices of the inputs that have features."""
    rows: IndexArray
    """[n], positions in the table, those held out first."""
    num_held_out: int
    values: Array
    """[n, I], without gaps."""
    targets: Array
    """[n, P], user's units."""
    low: Array
    """[I], ends of the sliders [units of the columns]."""
    high: Array
    """[I]."""


def surroundings_of(model: TrainedModel, table: PreparedTable) -> Surroundings | None:
    """Choose the rows to show, held-out ones before others; None if every row has a gap in an input."""
    contract, seed = model.contract, model.settings["seed"]
    held_out, trained = table.split.test, table.split.train
    shown = held_out[draw_rows(len(held_out), SHOWN_HELD_OUT, seed=seed, stream=Stream.EXPLORED_ROWS)]
    most = SHOWN_ROWS - len(shown)
    others = trained[draw_rows(len(trained), most, seed=seed, stream=Stream.EXPLORED_TRAINED_ROWS)]
    chosen = np.concatenate([shown, others]).astype(np.intp)
    values = _on_sliders(contract, np.asarray(table.values[chosen]))
    columns = tuple(i for i, column in enumerate(contract.inputs) if column.features)
    whole = ~np.isnan(values[:, columns]).any(axis=1)
    if not whole.any():
        return None
    values = np.where(np.isnan(values), [column.minimum for column in contract.inputs], values)[whole]
    ends = np.array([_ends(column) for column in contract.inputs])
    return Surroundings(
        contract,
        columns,
        table.rows[chosen[whole]],
        int(whole[: len(shown)].sum()),
        values,
        np.asarray(table.targets[chosen[whole]]),
        ends[:, 0],
        ends[:, 1],
    )


def _on_sliders(contract: ColumnContract, values: Array) -> Array:
    """Return values, [n, I], as the page has them: from the start of a cycle, a label that is not known as a gap."""
    found = np.array(values)
    for index, column in enumerate(contract.inputs):
        if column.kind == "cyclic":
            found[:, index] = np.mod(found[:, index], column.period)
        elif column.kind == "categorical":
            found[found[:, index] < 0, index] = np.nan
    return found


def _ends(column: InputEncoding) -> tuple[float, float]:
    """Return the ends of an input's slider."""
    if column.kind == "categorical":
        return 0.0, len(column.vocabulary) - 1.0
    if column.kind == "cyclic":
        return 0.0, column.period
    margin = MARGIN * (column.maximum - column.minimum)
    return column.minimum - margin, column.maximum + margin


def explorer_data(model: TrainedModel, around: Surroundings, *, most_bytes: int) -> dict[str, Any]:
    """Return all that the page knows: its densities are interpolated between rows, and `error` says how exactly.

    Args:
        model: the model.
        around: the rows and ranges.
        most_bytes: about how large it may be, as text.
    """
    seed, predict = model.settings["seed"], model.predictor.predict
    num_sites = min(SITES, int(most_bytes / (16 / 3 * (MAX_RANK + len(model.contract.feature_names)))))
    sites = _sites(around, max(num_sites, FEWEST_SITES), seed)
    typical = encode_columns(around.contract, around.values)
    page = fit_page_model(predict, sites, typical)
    checked = encode_columns(around.contract, moved_rows(around, CHECKED_ROWS, seed, 1))
    found = differences(page, predict, checked, num_joint=CHECKED_JOINT, num_draws=CHECKED_DRAWS, seed=seed)
    emulator = page.emulator
    return {
        **known_data(model, around, scale=emulator.scale),
        "parts": [{"weights": part.weights.tolist()} for part in page.parts],
        "emulator": {
            "rank": emulator.basis.shape[0],
            **{name: packed(getattr(emulator, name)) for name in ("sites", "coefficients", "centre", "basis")},
        },
        "error": {
            "checked": len(checked),
            "half": float(np.quantile(found.probability, 0.5)),
            "most": float(np.quantile(found.probability, 0.95)),
            "largest": float(found.probability.max()),
            "joint": float(found.joint.mean()) if len(found.joint) else None,
            "sites": len(sites),
        },
    }


def known_data(model: TrainedModel, around: Surroundings, *, scale: Array) -> dict[str, Any]:
    """Return the inputs, the targets and the rows: what the page knows whoever evaluates its densities.

    `scale`, [D], are factors of the features in the distance between rows.
    """
    contract = around.contract
    X = encode_columns(contract, around.values) * scale
    centre = int(np.argmin(np.sum((X - np.median(X, axis=0)) ** 2, axis=1)))
    return {
        "inputs": [_input(contract.inputs[i], around, i) for i in around.columns],
        "targets": [
            _target(*one)
            for one in zip(contract.targets, contract.units, model.predictor.transforms, around.targets.T, strict=True)
        ],
        "pair": _pair(model),
        "scale": scale.tolist(),
        "rows": {
            "numbers": (around.rows + 1).tolist(),
            "heldOut": around.num_held_out,
            "inputs": packed(around.values[:, around.columns], double=True),
            "targets": packed(around.targets, double=True),
            "start": centre,
            "picks": sorted({centre, *_picks(around).tolist()}),
            "reach": _reach(X),
        },
    }


def _pair(model: TrainedModel) -> list[int] | None:
    """Return the indices of the two targets of the joint map; None if there is one target."""
    num_targets = len(model.contract.targets)
    if num_targets <= 2:
        return [0, 1] if num_targets == 2 else None
    return list(model.predictor.predict(np.zeros((1, len(model.contract.feature_names)))).closest_pair)


def moved_rows(around: Surroundings, count: int, seed: int, salt: int) -> Array:
    """Return rows of the table, [count, I], in which up to two inputs are moved to another row's value or anywhere."""
    random = generator(seed, Stream.MOVED_ROWS, salt)
    values = around.values[random.integers(len(around.values), size=count)].copy()
    others = around.values[random.integers(len(around.values), size=count)]
    order = np.argsort(random.random((count, len(around.columns))), axis=1)
    is_moved = order < random.integers(0, 3, size=count)[:, None]
    anywhere = around.low + (around.high - around.low) * random.random(values.shape)
    labels: BoolArray = np.array([column.kind == "categorical" for column in around.contract.inputs])
    anywhere = np.where(labels, np.round(anywhere), anywhere)
    targets = np.where(random.random(values.shape) < 0.5, others, anywhere)
    columns = list(around.columns)
    values[:, columns] = np.where(is_moved, targets[:, columns], values[:, columns])
    return values


def _sites(around: Surroundings, count: int, seed: int) -> Array:
    """Return the rows between which the page interpolates, [T, D], standardised and distinct."""
    if len(around.columns) == 1 and around.contract.inputs[around.columns[0]].kind != "categorical":
        column = around.columns[0]
        values = np.repeat(around.values[:1], SITES_OF_ONE, axis=0)
        values[:, column] = np.linspace(around.low[column], around.high[column], SITES_OF_ONE)
    else:
        values = np.concatenate([around.values, moved_rows(around, count, seed, 0)])
        values = values[np.linspace(0, len(values) - 1, min(count, len(values))).astype(int)]
    X = encode_columns(around.contract, values)
    _, first = np.unique(np.round(X / DISTINCT), axis=0, return_index=True)
    return X[np.sort(first)]


def _input(column: InputEncoding, around: Surroundings, index: int) -> dict[str, Any]:
    """Describe one input."""
    trained = (0.0, column.period) if column.kind == "cyclic" else (column.minimum, column.maximum)
    return {
        "name": column.name,
        "kind": column.kind,
        "low": float(around.low[index]),
        "high": float(around.high[index]),
        "trained": trained,
        "labels": list(column.vocabulary),
        "whole": bool(column.kind == "numeric" and np.all(np.mod(around.values[:, index], 1) == 0)),
        "features": [asdict(form) for form in feature_forms(column)],
    }


def _target(name: str, unit: str, transform: TargetTransform, observed: Array) -> dict[str, Any]:
    """Describe one target; its transform is a table of the user's units and the slope against standardised values."""
    with np.errstate(over="ignore"):
        y, slope = transform.inverse(SCALE), transform.log_jacobian_at(SCALE)
    fine = np.isfinite(y) & np.isfinite(slope) & (np.gradient(y) > 0)
    first, last = int(np.argmax(fine)), len(fine) - int(np.argmax(fine[::-1]))
    return {
        "name": name,
        "unit": unit,
        "z": [float(SCALE[first]), float(SCALE[1] - SCALE[0])],
        "y": [float(f"{value:.9g}") for value in y[first:last]],
        "logSlope": [float(f"{value:.6g}") for value in slope[first:last]],
        "median": float(np.median(observed)),
    }


def _picks(around: Surroundings) -> IndexArray:
    """Return rows to choose from, spread over the first target; held-out ones if there are any."""
    count = around.num_held_out or len(around.rows)
    order = np.argsort(around.targets[:count, 0], kind="stable")
    return np.sort(order[np.unique(np.linspace(0, count - 1, PICKS).astype(int))])


def _reach(X: Array) -> float:
    """Return the distance to the nearest other row that almost all rows stay below; X [n, D], scaled."""
    from scipy.spatial import cKDTree

    if len(X) < 2:
        return 0.0
    return float(np.quantile(cKDTree(X).query(X, 2)[0][:, 1], REACH_LEVEL))


def exact_densities(model: TrainedModel, values: Array) -> dict[str, Any]:
    """Return what the page draws of one row, [1, I], exactly.

    Returns:
        parts: for each target the weights of its mixture and its values, the means and then the logarithms of the
            standard deviations, standardised; map: of two targets jointly the density at a grid of standardised values
            and the ends of that grid; None for one target.
    """
    forecast = model.predictor.predict(encode_columns(model.contract, values))
    parts = [
        {
            "weights": mixture.weights.tolist(),
            "values": [*mixture.means[0, :, 0].tolist(), *(0.5 * np.log(mixture.variances[0, :, 0])).tolist()],
        }
        for mixture in mixtures_of(forecast)
    ]
    return {"parts": parts, "map": _joint_map(forecast) if forecast.num_targets > 1 else None}


def _joint_map(forecast: Forecast) -> dict[str, Any]:
    """Return the joint density of one row's `pair_of` at a grid of standardised values."""
    pair, axes, ends = pair_of(forecast), [], []
    for mixture in pair.marginals():
        low, high = mixture.transforms[0].forward(mixture.quantile(MAP_ENDS)[:, 0, 0])
        axes.append(np.linspace(low, high, MAP_SIZE))
        ends.append([float(low), float(high)])
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    points = np.stack([t.inverse(z) for t, z in zip(pair.transforms, grid.T, strict=True)], axis=-1)
    slopes = sum(t.log_jacobian_at(z) for t, z in zip(pair.transforms, grid.T, strict=True))
    density = np.exp(pair.log_prob_at(points)[0] - slopes).reshape(MAP_SIZE, MAP_SIZE)
    return {"ends": ends, "density": [[float(f"{cell:.5g}") for cell in row] for row in density]}


def packed(values: AnyArray | Sequence[float], *, double: bool = False) -> str:
    """Write numbers as base64, in single or double precision, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, "<f8" if double else "<f4").tobytes()).decode("ascii")
