from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.data.decoding import decode_columns, feature_forms
from cde_app.data.encoding import ColumnContract, encode_columns
from cde_app.data.features import InputEncoding, fit_column
from cde_app.data.readers import Kind

COLUMNS: dict[Kind, config.InputColumn] = {
    "numeric": config.NumericColumn(column="n"),
    "cyclic": config.CyclicColumn(column="c", period=24),
    "datetime": config.DatetimeColumn(column="d"),
    "categorical": config.CategoricalColumn(column="k"),
}


def contract_of(values: dict[Kind, np.ndarray], *, allows_gaps: bool = False) -> ColumnContract:
    policy = "impute_with_indicator" if allows_gaps else "error"
    labels = ["a", "b", "c"]
    encodings: list[InputEncoding] = [
        fit_column(COLUMNS[kind], own, labels if kind == "categorical" else [], policy, None)[0]
        for kind, own in values.items()
    ]
    return ColumnContract(tuple(encodings), ("y",), ("",), policy, config.TableFormat())


def some_values(num_rows: int = 40) -> dict[Kind, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "numeric": random.normal(1e4, 3.0, num_rows),
        "cyclic": random.uniform(0, 24, num_rows),
        "datetime": random.uniform(19_000, 19_800, num_rows),
        "categorical": random.integers(0, 3, num_rows).astype(float),
    }


def test_decoding_is_the_inverse_of_encoding_for_every_kind() -> None:
    values = some_values()
    contract, table = contract_of(values), np.stack(list(values.values()), axis=1)
    assert np.allclose(decode_columns(contract, encode_columns(contract, table)), table, rtol=0, atol=1e-8)


def test_gaps_and_new_labels_are_decoded_as_gaps() -> None:
    values = some_values()
    values["numeric"][3] = np.nan
    contract, table = contract_of(values, allows_gaps=True), np.stack(list(values.values()), axis=1)
    table[5, 3] = -1
    decoded = decode_columns(contract, encode_columns(contract, table))
    gaps = np.argwhere(np.isnan(decoded)).tolist()
    assert gaps == [[3, 0], [5, 3]]


def test_the_forms_of_the_features_evaluate_to_the_features() -> None:
    values = some_values()
    contract, table = contract_of(values), np.stack(list(values.values()), axis=1)
    columns = []
    for encoding, v in zip(contract.inputs, table.T, strict=True):
        for form in feature_forms(encoding):
            angle = 2 * np.pi * v / form.period
            raw = {"number": v, "sine": np.sin(angle), "cosine": np.cos(angle), "label": v == form.code, "gap": 0 * v}
            columns.append((raw[form.kind] - form.centre) / form.scale)
    X = encode_columns(contract, table)
    assert np.allclose(np.stack(columns, axis=1), X, rtol=0, atol=1e-9)
    assert not np.allclose(np.stack(columns[::-1], axis=1), X, atol=0.1), "the control"


@pytest.mark.parametrize("period", [7.0, 24.0])
def test_a_constant_column_has_no_value_to_decode(period: float) -> None:
    values = some_values() | {"cyclic": np.full(40, period)}
    decoded = decode_columns(
        contract_of(values), encode_columns(contract_of(values), np.stack(list(values.values()), axis=1))
    )
    assert np.isnan(decoded[:, 1]).all()
    assert not pd.isna(decoded[:, [0, 2, 3]]).any()


@pytest.mark.parametrize("kind", COLUMNS)
def test_an_input_with_nothing_but_gaps_has_no_feature_and_hides_no_other_input(kind: Kind) -> None:
    values = {"numeric": np.arange(6.0)} | {kind: np.full(6, np.nan)}
    if kind == "numeric":
        values = {"cyclic": np.arange(6.0), "numeric": np.full(6, np.nan)}
    contract = contract_of(values, allows_gaps=True)
    assert [bool(encoding.features) for encoding in contract.inputs] == [True, False]
    table = np.stack(list(values.values()), axis=1)
    decoded = decode_columns(contract, encode_columns(contract, table))
    np.testing.assert_allclose(decoded[:, 0], table[:, 0], atol=1e-9)
    assert np.isnan(decoded[:, 1]).all()
