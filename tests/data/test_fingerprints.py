"""Rows that a training has seen are recognised, and rows that it has not seen are not."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cde_app import config
from cde_app.arrays import Array
from cde_app.data import fingerprints
from cde_app.data.fingerprints import SeenRows, fingerprint_rows
from cde_app.data.prepared import PreparedTable, prepare_evaluation, prepare_training


def rows(num_rows: int, *, seed: int = 0, decimals: int = 12) -> Array:
    return np.random.default_rng(seed).standard_normal((num_rows, 3)).round(decimals)


def test_equal_rows_alone_have_equal_fingerprints() -> None:
    values = rows(2000, decimals=0)
    _, inverse = np.unique(values, axis=0, return_inverse=True)
    _, found = np.unique(fingerprint_rows(values), return_inverse=True)
    assert len(set(zip(inverse.ravel(), found, strict=True))) == inverse.max() + 1 == found.max() + 1


def test_order_of_columns_matters_and_gaps_and_signs_of_zero_do_not() -> None:
    assert fingerprint_rows(np.array([[1.0, 2.0]])) != fingerprint_rows(np.array([[2.0, 1.0]]))
    other_nan = np.frombuffer(np.array([0xFFF8000000000001], np.uint64).tobytes(), np.float64)[0]
    assert fingerprint_rows(np.array([[np.nan, 0.0]])) == fingerprint_rows(np.array([[other_nan, -0.0]]))


def test_the_last_digits_do_not_matter() -> None:
    values = rows(2000)
    expected = fingerprint_rows(values)
    for other in (np.nextafter(values, 9), np.nextafter(values, -9), values * (1 + 1e-15)):
        assert (fingerprint_rows(other) == expected).mean() > 0.99
    assert (fingerprint_rows(values * (1 + 1e-11)) == expected).mean() < 0.01


def test_a_fingerprint_is_the_mixed_bits_of_its_values() -> None:
    # Runs store fingerprints: were they to become others, rows of an older run would not be recognised.
    for values in ([1.0, 2.0], [np.nan, -0.5], [0.1]):
        mixed = 0
        for (bits,) in struct.iter_unpack("<Q", struct.pack(f"<{len(values)}d", *values)):
            mixed ^= (bits + 2**11) >> 12
            mixed = (mixed ^ mixed >> 33) * 0xFF51AFD7ED558CCD % 2**64
            mixed = (mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53 % 2**64
            mixed ^= mixed >> 33
        assert fingerprint_rows(np.array([values])) == mixed


def test_fingerprints_are_uniform() -> None:
    shares = fingerprint_rows(rows(20_000)) / 2.0**64
    counts, _ = np.histogram(shares, bins=20, range=(0, 1))
    assert abs(counts - 1000).max() < 4 * np.sqrt(1000 * 0.95)


@pytest.mark.parametrize("num_seen", [0, 6, 150, 270])
def test_seen_rows_are_counted_and_others_are_not(num_seen: int) -> None:
    trained = rows(300)
    others = np.concatenate([trained[:num_seen], rows(300 - num_seen, seed=1)])
    assert SeenRows.of(fingerprint_rows(trained)).count(fingerprint_rows(others)) == num_seen


def test_one_row_alone_is_recognised() -> None:
    trained = rows(300)
    seen = SeenRows.of(fingerprint_rows(trained))
    assert seen.count(fingerprint_rows(trained[[7]])) == 1
    assert seen.count(fingerprint_rows(rows(1, seed=1))) == 0


@pytest.mark.parametrize("decimals", [0, 1])
def test_rows_that_are_equal_by_chance_raise_no_alarm(decimals: int) -> None:
    for seed in range(20):
        seen = SeenRows.of(fingerprint_rows(rows(2000, decimals=decimals)))
        others = fingerprint_rows(rows(1000, seed=seed + 1, decimals=decimals))
        assert np.isin(others, seen.stored).mean() > 0.02
        assert seen.count(others) == 0


def test_a_table_of_which_some_rows_repeat_by_chance_is_still_recognised_as_a_whole() -> None:
    trained = fingerprint_rows(rows(2000, decimals=1))
    assert SeenRows.of(trained).count(trained) == 2000


def test_a_sample_of_the_seen_rows_estimates_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "MOST_STORED", 2000)
    trained = fingerprint_rows(rows(20_000))
    seen = SeenRows.of(trained)
    assert len(seen.stored) == 2000
    others = np.concatenate([trained[:3000], fingerprint_rows(rows(3000, seed=1))])
    # About 600 of the 6000 are in the sample, half of them seen.
    assert abs(seen.count(others) - 3000) < 4 * 6000 * np.sqrt(0.25 / 600)
    assert seen.count(fingerprint_rows(rows(6000, seed=2))) == 0


def test_rows_that_are_added_in_pieces_are_those_added_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = fingerprint_rows(rows(300))
    for most in (1000, 100):
        monkeypatch.setattr(fingerprints, "MOST_STORED", most)
        pieces, whole = SeenRows.of(trained[:120]).joined(trained[120:260]).joined(trained[260:]), SeenRows.of(trained)
        np.testing.assert_array_equal(pieces.stored, whole.stored)
        assert pieces.num_rows == whole.num_rows == 300


def test_a_run_that_stores_none_recognises_none() -> None:
    assert SeenRows(np.empty(0, np.uint64), 300).count(fingerprint_rows(rows(5))) == 0


# --- tables -------------------------------------------------------------------------------------------------------


def table(num_rows: int = 200, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**6, num_rows), unit="min")
    return pd.DataFrame(
        {
            "x": np.where(rng.uniform(size=num_rows) < 0.1, np.nan, rng.normal(size=num_rows)),
            "c": rng.choice(["a", "b", "new"], num_rows),
            "t": days,
            "y": rng.normal(size=num_rows),
        }
    )


def prepared(path: str, folder: Path) -> tuple[PreparedTable, SeenRows]:
    data = {
        "path": path,
        "inputs": ["x", {"column": "c", "kind": "categorical"}, {"column": "t", "kind": "datetime", "timezone": "UTC"}],
        "targets": ["y"],
        "missing": {"kind": "impute_with_indicator"},
    }
    found = prepare_training(config.Config.model_validate({"schema_version": 1, "data": data}), folder)
    return found, SeenRows.of(found.fingerprints[found.split.train])


def test_a_copy_is_recognised_whatever_its_format_its_order_and_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = table()
    frame.to_csv("a.csv", index=False)
    trained, seen = prepared("a.csv", tmp_path)
    copy = frame.sample(frac=1, random_state=1)[["y", "t", "c", "x"]].assign(more=1)
    copy.to_parquet("b.parquet", index=False)
    pd.read_csv("a.csv").to_csv("f.csv")  # pandas reads fast: the last digit of many numbers is another
    copy.head(50).to_csv("c.csv", index=False, sep=";")
    copy.assign(t=copy["t"].dt.tz_localize("UTC"), c=copy["c"].astype("category")).to_parquet("d.parquet")
    table(seed=1).to_csv("e.csv", index=False)
    where = {row: place for place, row in enumerate(frame.index)}
    in_training = np.isin([where[row] for row in copy.index], trained.split.train)
    counts = {"b.parquet": in_training.sum(), "c.csv": in_training[:50].sum(), "d.parquet": in_training.sum()}
    for name, expected in {**counts, "e.csv": 0, "f.csv": len(trained.split.train)}.items():
        other = prepare_evaluation(name, trained.contract, config.RandomSplit(), None, tmp_path)
        assert seen.count(other.fingerprints) == expected, name
