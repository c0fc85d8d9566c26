"""From features back to the values of the columns, and each feature as a formula that a page can evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cde_app.arrays import Array
from cde_app.data.encoding import ColumnContract
from cde_app.data.features import TURNS, InputEncoding


@dataclass(frozen=True)
class FeatureForm:
    """One feature of a value v without a gap: (raw - centre) / scale.

    Args:
        kind: what raw is: v; the sine or cosine of 2 pi v / period; whether v is the label `code`; or 0.
        centre, scale: the standardisation.
        period: of the sine and cosine [units of the column].
        code: index of the label among the column's, -1 for all others.
    """

    kind: Literal["number", "sine", "cosine", "label", "gap"]
    centre: float
    scale: float
    period: float = 1.0
    code: int = 0


def feature_forms(encoding: InputEncoding) -> list[FeatureForm]:
    """Return the formula of each feature of a column, in their order."""
    name = encoding.name
    codes = {f"{name}={label}": code for code, label in enumerate(encoding.vocabulary)} | {encoding.other: -1}
    turns = {name: encoding.period} if encoding.kind == "cyclic" else {f"{name}_{k}": v for k, v in TURNS.items()}
    forms = []
    for feature in encoding.features:
        stem, _, wave = feature.name.rpartition("_")
        if encoding.kind == "categorical":
            forms.append(FeatureForm("label", feature.centre, feature.scale, code=codes[feature.name]))
        elif feature.name == name:
            forms.append(FeatureForm("number", feature.centre, feature.scale))
        elif stem in turns and wave in ("sin", "cos"):
            kind: Literal["sine", "cosine"] = "sine" if wave == "sin" else "cosine"
            forms.append(FeatureForm(kind, feature.centre, feature.scale, period=turns[stem]))
        else:
            forms.append(FeatureForm("gap", feature.centre, feature.scale))
    return forms


def decode_columns(contract: ColumnContract, X: Array) -> Array:
    """Return the values, [N, I], that have these features, [N, D]: the inverse of `encode_columns`.

    A value is NaN if it was a gap or a label that training has not seen, or if its column has no feature. Of a cycle
    whose sine or cosine did not vary over the training rows, one of the two values with these features is returned.
    """
    columns, first = [], 0
    for encoding in contract.inputs:
        last = first + len(encoding.features)
        columns.append(_decode(feature_forms(encoding), X[:, first:last], encoding))
        first = last
    return np.stack(columns, axis=1)


def _decode(forms: list[FeatureForm], X: Array, encoding: InputEncoding) -> Array:
    """Return the values of one column, [N]."""
    raw = {(form.kind, form.code): form.centre + form.scale * x for form, x in zip(forms, X.T, strict=True)}
    values = np.full(len(X), np.nan)
    if encoding.kind == "categorical":
        for (_, code), is_label in raw.items():
            values[is_label > 0.5] = code if code >= 0 else np.nan
        return values
    if ("number", 0) in raw:
        values = raw["number", 0]
    elif forms and encoding.kind == "cyclic":
        sine, cosine = raw.get(("sine", 0), np.zeros(len(X))), raw.get(("cosine", 0), np.zeros(len(X)))
        values = np.mod(np.arctan2(sine, cosine) / (2 * np.pi), 1.0) * encoding.period
    return np.where(raw.get(("gap", 0), np.zeros(len(X))) > 0.5, np.nan, values)
