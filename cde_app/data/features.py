"""The features of one input column: numbers, one-hot labels, the phase of a cycle, gaps.

A column consists of the numbers that `ColumnReader` reads: NaN for a gap, days since 1970 for a date, and for a label
its index among the labels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cde_app import config
from cde_app.arrays import Array, BoolArray
from cde_app.data.readers import Kind, MissingKind
from cde_app.targets.standardisation import mean_and_sd

TURNS = {"day": 1.0, "week": 7.0, "year": 365.2425}  # [days]
# A sine or cosine with a smaller range is constant: times at the same hour differ only by rounding.
_SMALLEST_TURN = 1e-9


@dataclass(frozen=True)
class Feature:
    """One column of X: (raw value - centre) / scale; `fill` replaces a gap [standardised]."""

    name: str
    centre: float
    scale: float
    fill: float


@dataclass(frozen=True)
class InputEncoding:
    """One input column: its kind, its features, and what the training rows contained.

    Args:
        name: the column.
        kind: numeric, categorical, cyclic or datetime.
        features: the features that vary over the training rows, and for labels the feature of all other labels.
        minimum, maximum: range over the training rows [units of the column; days since 1970-01-01 UTC for dates].
        vocabulary: the labels of the training rows, sorted; categorical only.
        period: the length of a cycle [units of the column]; cyclic only.
        had_gaps: whether a training row had a gap.
        timezone: the time zone of dates without an offset; datetime only.
        has_offset: whether the dates had offsets from UTC, None if that does not matter; datetime only.
    """

    name: str
    kind: Kind
    features: tuple[Feature, ...]
    minimum: float = 0.0
    maximum: float = 0.0
    vocabulary: tuple[str, ...] = ()
    period: float = 1.0
    had_gaps: bool = False
    timezone: str = ""
    has_offset: bool | None = None

    @property
    def other(self) -> str:
        """The name of the feature of gaps and of labels that are not in the training rows; it differs from theirs."""
        name = "<other>"
        while name in self.vocabulary:
            name = f"<{name}>"
        return f"{self.name}={name}"


def fit_column(
    column: config.InputColumn, values: Array, labels: Sequence[str], policy: MissingKind, has_offset: bool | None
) -> tuple[InputEncoding, list[str]]:
    """Fit one column's encoding; also name the features dropped because they are constant.

    Args:
        column: the column's settings.
        values: [N], the training rows.
        labels: the labels that the values index; categorical only.
        policy: what happens to gaps.
        has_offset: whether the dates have offsets.
    """
    gaps = np.isnan(values)
    encoding = InputEncoding(column.column, column.kind, (), had_gaps=bool(gaps.any()))
    if isinstance(column, config.CategoricalColumn):
        present = np.flatnonzero(np.bincount(values[~gaps].astype(int)))
        encoding = dataclasses.replace(encoding, vocabulary=tuple(sorted(labels[code] for code in present)))
        values = recode(values, labels, encoding)
    elif isinstance(column, config.CyclicColumn):
        encoding = dataclasses.replace(encoding, period=float(column.period))
    elif not gaps.all():
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        encoding = dataclasses.replace(encoding, minimum=low, maximum=high)
    if isinstance(column, config.DatetimeColumn):
        encoding = dataclasses.replace(encoding, timezone=column.timezone, has_offset=has_offset)
    features, dropped = [], []
    for name, raw in _raw_features(encoding, values):
        feature = _fit_feature(name, raw[~gaps], encoding)
        if feature is not None:
            features.append(feature)
        elif not (encoding.kind == "datetime" and name != encoding.name):  # a constant phase needs no warning
            dropped.append(name)
    if policy == "impute_with_indicator" and encoding.kind != "categorical" and gaps.any() and not gaps.all():
        features.append(Feature(_indicator(encoding.name), centre=0.0, scale=1.0, fill=1.0))
    return dataclasses.replace(encoding, features=tuple(features)), dropped


def _fit_feature(name: str, values: Array, encoding: InputEncoding) -> Feature | None:
    """Fit one feature on its values without gaps; None if it is constant."""
    if encoding.kind == "categorical" and name == encoding.other:
        if not encoding.vocabulary:  # nothing but gaps
            return None
        return Feature(name, centre=0.0, scale=1.0, fill=1.0)
    if not values.size:
        return None
    is_turn = encoding.kind != "categorical" and name != encoding.name
    has_gap_rows = encoding.kind == "categorical" and encoding.had_gaps  # then a single label varies too
    if np.ptp(values) <= (_SMALLEST_TURN if is_turn else 0) and not has_gap_rows:
        return None
    if encoding.kind == "categorical":
        return Feature(name, centre=0.0, scale=1.0, fill=0.0)
    mean, sd = mean_and_sd(values)
    if name == encoding.name:
        return Feature(name, centre=mean, scale=sd, fill=0.0)
    return Feature(name, centre=0.0, scale=math.sqrt(0.5), fill=mean / math.sqrt(0.5))


def encode_column(encoding: InputEncoding, values: Array) -> list[Array]:
    """Compute the standardised features of one column, [N] each; labels are indices into the encoding's vocabulary."""
    gaps = np.isnan(values)
    raw = dict(_raw_features(encoding, values))
    raw[_indicator(encoding.name)] = gaps.astype(np.float64)
    return [
        np.where(gaps, feature.fill, (raw[feature.name] - feature.centre) / feature.scale)
        for feature in encoding.features
    ]


def is_outside(encoding: InputEncoding, values: Array) -> BoolArray:
    """Return which values, [N], ask for extrapolation; labels are indices into the encoding's vocabulary.

    Such a value is outside the range of the training rows, a new label, or a gap in a column that had none.
    """
    outside: BoolArray = np.isnan(values) & (not encoding.had_gaps)
    if encoding.kind == "categorical":
        outside |= values < 0
    elif encoding.kind != "cyclic":
        outside |= (values < encoding.minimum) | (values > encoding.maximum)
    return outside


def recode(values: Array, labels: Sequence[str], encoding: InputEncoding) -> Array:
    """Turn indices into `labels` into indices into the encoding's vocabulary, -1 for a label that is not in it.

    Other columns are returned unchanged.
    """
    if encoding.kind != "categorical":
        return values
    codes = {label: code for code, label in enumerate(encoding.vocabulary)}
    lookup = np.array([*(codes.get(label, -1) for label in labels), np.nan])
    return lookup[np.where(np.isnan(values), -1, values).astype(int)]


def _raw_features(encoding: InputEncoding, values: Array) -> Iterator[tuple[str, Array]]:
    """Compute every possible feature of a column before standardisation; gaps are NaN or 0."""
    name = encoding.name
    if encoding.kind == "categorical":
        for code, label in enumerate(encoding.vocabulary):
            yield f"{name}={label}", (values == code).astype(np.float64)
        yield encoding.other, 1.0 - (values >= 0)
    elif encoding.kind == "cyclic":
        yield from _turn(name, values, encoding.period)
    else:
        yield name, values
        if encoding.kind == "datetime":
            for turn, length in TURNS.items():
                yield from _turn(f"{name}_{turn}", values, length)


def _turn(name: str, values: Array, period: float) -> Iterator[tuple[str, Array]]:
    """Compute the sine and cosine of a periodic value."""
    angle = 2 * np.pi * np.mod(values, period) / period
    yield f"{name}_sin", np.sin(angle)
    yield f"{name}_cos", np.cos(angle)


def _indicator(name: str) -> str:
    """Name the feature that is 1 where a column has a gap."""
    return f"{name}_missing"
