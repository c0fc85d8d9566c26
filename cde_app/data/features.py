"""The features one input column gives: numbers, one-hot labels, turns of a cycle, gaps."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cde_app import config
from cde_app.data.columns import FloatArray, read_days, read_gaps, read_labels, read_numbers
from cde_app.data.faults import Kind, MissingKind

OTHER = "<other>"  # the feature of labels that the training rows do not have, and of gaps
_TURNS = {"day": 1.0, "week": 7.0, "year": 365.2425}  # [days]
_SMALLEST_RELATIVE_SD = 1e-9


@dataclass(frozen=True)
class Feature:
    """One column of X: (raw value - centre) / scale; `fill` stands for a gap [standardised]."""

    name: str
    centre: float
    scale: float
    fill: float


@dataclass(frozen=True)
class InputEncoding:
    """One input column: its kind, the features made of it, and what the training rows held.

    Args:
        name: the column.
        kind: numeric, categorical, cyclic or datetime.
        features: the features that vary over the training rows, and for labels the feature of every other label.
        minimum, maximum: range over the training rows [units of the column; days since 1970-01-01 UTC for dates].
        vocabulary: the labels of the training rows, sorted; categorical only.
        period: the length of a turn [units of the column]; cyclic only.
        had_gaps: whether a training row had a gap.
    """

    name: str
    kind: Kind
    features: tuple[Feature, ...]
    minimum: float = 0.0
    maximum: float = 0.0
    vocabulary: tuple[str, ...] = ()
    period: float = 1.0
    had_gaps: bool = False


def fit_column(column: config.InputColumn, frame: pd.DataFrame, policy: MissingKind) -> tuple[InputEncoding, list[str]]:
    """Fit one column's encoding; also name the features dropped because they are constant."""
    cells = frame[column.column]
    gaps = read_gaps(cells)
    encoding = InputEncoding(column.column, column.kind, (), had_gaps=bool(gaps.any()))
    if isinstance(column, config.CategoricalColumn):
        encoding = dataclasses.replace(encoding, vocabulary=tuple(read_labels(cells)[1]))
    elif isinstance(column, config.CyclicColumn):
        encoding = dataclasses.replace(encoding, period=float(column.period))
    else:
        values = (read_days if column.kind == "datetime" else read_numbers)(cells)[0][~gaps]
        if values.size:
            encoding = dataclasses.replace(encoding, minimum=float(values.min()), maximum=float(values.max()))
    features, dropped = [], []
    for name, values in _raw_features(encoding, cells).items():
        feature = _fit_feature(name, values[~gaps], encoding)
        if feature is not None:
            features.append(feature)
        elif not (encoding.kind == "datetime" and name != encoding.name):  # a turn that is constant is no surprise
            dropped.append(name)
    if policy == "impute_with_indicator" and encoding.kind != "categorical" and gaps.any() and not gaps.all():
        features.append(Feature(_indicator(encoding.name), centre=0.0, scale=1.0, fill=1.0))
    return dataclasses.replace(encoding, features=tuple(features)), dropped


def _fit_feature(name: str, values: FloatArray, encoding: InputEncoding) -> Feature | None:
    """Fit one feature on its values without gaps; None if it is constant."""
    if encoding.kind == "categorical" and name == f"{encoding.name}={OTHER}":
        return Feature(name, centre=0.0, scale=1.0, fill=1.0)
    if not values.size:
        return None
    mean, sd = float(np.mean(values)), float(np.std(values))
    has_gap_rows = encoding.kind == "categorical" and encoding.had_gaps  # then a sole label still varies, against gaps
    if sd <= _SMALLEST_RELATIVE_SD * (1 + abs(mean)) and not has_gap_rows:
        return None
    if encoding.kind == "categorical":
        return Feature(name, centre=0.0, scale=1.0, fill=0.0)
    if name == encoding.name:
        return Feature(name, centre=mean, scale=sd, fill=0.0)
    return Feature(name, centre=0.0, scale=math.sqrt(0.5), fill=mean / math.sqrt(0.5))


def encode_column(encoding: InputEncoding, cells: pd.Series) -> list[FloatArray]:
    """Compute the standardised features of one column."""
    gaps = read_gaps(cells)
    raw = _raw_features(encoding, cells)
    raw[_indicator(encoding.name)] = gaps.astype(np.float64)
    return [
        np.where(gaps, feature.fill, (raw[feature.name] - feature.centre) / feature.scale)
        for feature in encoding.features
    ]


def _raw_features(encoding: InputEncoding, cells: pd.Series) -> dict[str, FloatArray]:
    """Compute every feature a column may give, before standardisation; gaps are NaN or 0."""
    name = encoding.name
    if encoding.kind == "categorical":
        codes = label_codes(encoding, cells)
        names = [f"{name}={label}" for label in encoding.vocabulary]
        one_hot = {feature: (codes == code).astype(np.float64) for code, feature in enumerate(names)}
        return {**one_hot, f"{name}={OTHER}": (codes < 0).astype(np.float64)}
    if encoding.kind == "numeric":
        return {name: read_numbers(cells)[0]}
    if encoding.kind == "cyclic":
        return _turn(name, read_numbers(cells)[0], encoding.period)
    days = read_days(cells)[0]
    features = {name: days}
    for turn, length in _TURNS.items():
        features |= _turn(f"{name}_{turn}", days, length)
    return features


def _turn(name: str, values: FloatArray, period: float) -> dict[str, FloatArray]:
    """Compute the sine and cosine of a value that wraps around."""
    angle = 2 * np.pi * np.mod(values, period) / period
    return {f"{name}_sin": np.sin(angle), f"{name}_cos": np.cos(angle)}


def label_codes(encoding: InputEncoding, cells: pd.Series) -> NDArray[np.intp]:
    """Look labels up in the vocabulary; -1 for a new label or a gap."""
    codes, labels = read_labels(cells)
    position = {label: index for index, label in enumerate(encoding.vocabulary)}
    return np.array([*(position.get(label, -1) for label in labels), -1], dtype=np.intp)[codes]


def _indicator(name: str) -> str:
    """Name the feature that is 1 where a column has a gap."""
    return f"{name}_missing"
