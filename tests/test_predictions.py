"""The names of what is written for a prediction: two things never share one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.cli.options import parse_names, parse_numbers
from cde_app.cli.output import format_value, is_score
from cde_app.errors import UsageError
from cde_app.predictive.columns import percentage, sample_columns, summary_columns
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity
from cde_app.words import flatten
from cde_app.workflow.prediction_files import Chunk, PredictionWriter, Questions, key_columns

NASTY = (
    *("y", "y_mean", "y_sd", "y_q05", "y_q05_mean", "row", "row_", "draw", "log_density", "out_of_range", "distance"),
    *("log", "_"),
)


def mixture_of(names: Sequence[str]) -> Mixture:
    transforms = tuple(Identity(location=10.0 * p, scale=1.0) for p in range(len(names)))
    shape = (3, 1, len(names))
    return Mixture(np.ones(1), np.zeros(shape), np.ones(shape), transforms, names=tuple(names))


def chunk_of(names: Sequence[str], **more: Any) -> Chunk:
    return Chunk(mixture_of(names), np.arange(1, 4), np.zeros(3, dtype=bool), **more)


@pytest.mark.parametrize(
    ("level", "name"),
    [
        *((0.05, "05"), (0.07, "07"), (0.5, "50"), (0.29, "29"), (0.95, "95"), (0.975, "97.5"), (0.025, "2.5")),
        *((0.1, "10"), (0.005, "0.5"), (1e-9, "0.0000001"), (2e-9, "0.0000002"), (0.999999999, "99.9999999")),
        (np.float64(0.25), "25"),
    ],
)
def test_the_name_of_a_quantile_is_its_percentage(level: float, name: str) -> None:
    assert percentage(level) == name


def test_different_levels_have_different_names() -> None:
    levels = [0.5, np.nextafter(0.5, 1), 1e-9, 2e-9, 1e-300, 3e-16, *np.random.default_rng(0).uniform(size=500)]
    levels += [float(10.0**-n) for n in range(1, 30)]
    assert len({percentage(level) for level in levels}) == len(set(levels))
    assert all(re.fullmatch(r"[\d.]+", percentage(level)) for level in levels)


def test_every_quantity_of_every_target_has_a_column_of_its_own_in_the_summary() -> None:
    levels, masses = (1e-9, 2e-9, 0.05, 0.5), (0.05, 0.9)
    chunk = chunk_of(NASTY, targets=np.zeros((3, len(NASTY))), distance=np.zeros(3))
    _, columns = Questions(quantiles=levels, intervals=masses).summary(chunk)
    assert len(columns) == len(NASTY) * (2 + len(levels) + 2 * len(masses)) + 3
    for p, name in enumerate(NASTY):
        assert columns[f"{name}_mean"][0] == pytest.approx(10.0 * p)
    joint = {"log_density", "out_of_range", "distance"}
    assert set(summary_columns(chunk.forecast, levels, masses)) | joint == set(columns)


def test_a_kept_column_never_hides_another_one() -> None:
    kept = {name: np.array(["a", "b", "c"]) for name in ("row", "y_mean", "y_mean_", "site")}
    keys = key_columns(np.arange(1, 4), kept, [{"y_mean": np.zeros(3)}])
    assert list(keys) == ["row", "row_", "y_mean_", "y_mean__", "site"]
    np.testing.assert_array_equal(keys["site"], ["a", "b", "c"])
    np.testing.assert_array_equal(keys["row"], [1, 2, 3])


@pytest.mark.parametrize("names", [NASTY, NASTY[::-1], ("row",), ("draw", "draw_", "draw__"), ("row", "draw")])
def test_every_target_has_a_column_of_its_own_among_the_draws(names: tuple[str, ...]) -> None:
    draws = np.broadcast_to(np.arange(len(names), dtype=float), (2, 3, len(names)))
    chunk = chunk_of(names)
    index, own = sample_columns(chunk.forecast, draws)
    columns = {"row": key_columns(chunk.row_numbers, {}, [own])["row"][index]} | own
    assert len(columns) == 2 + len(names)
    np.testing.assert_array_equal(columns["row"], [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(columns["draw"], [1, 2, 1, 2, 1, 2])
    for p, (name, column) in enumerate(zip(names, itertools.islice(columns, 2, None), strict=True)):
        assert column.rstrip("_") == name.rstrip("_")
        assert (columns[column] == p).all()
        assert column == name or name in ("row", "draw")


def test_a_level_that_is_named_twice_gives_one_column(tmp_path: Path) -> None:
    levels = tuple(dict.fromkeys((0.5, 0.5, 1e-9, 2e-9)))
    chunk, tables = chunk_of(["y"]), Questions(quantiles=levels).tables
    with PredictionWriter(tmp_path, list(tables), file_format="csv") as writer:
        writer.append(chunk.row_numbers, {}, [table(chunk) for table in tables.values()])
    columns = list(pd.read_csv(tmp_path / "summary.csv").columns)
    assert columns == ["row", "y_mean", "y_sd", "y_q50", "y_q0.0000001", "y_q0.0000002", "out_of_range"]


def test_the_command_line_refuses_a_level_that_comes_twice() -> None:
    with pytest.raises(UsageError) as caught:
        parse_numbers("--quantiles", "0.5, 0.05,0.50", between=(0, 1))
    assert str(caught.value) == "--quantiles: expected every number once; got '0.50' again."
    with pytest.raises(UsageError, match="--keep: expected every column once; got 'id' again"):
        parse_names("--keep", "id, site,id")


@pytest.mark.parametrize("name", ["value", "se", "per_target", "a.b"])
def test_scores_by_target_are_found_whatever_the_targets_are_called(name: str) -> None:
    scores = {"per_target": {name: {"value": 1.0, "se": 0.1}, "other": {"value": 2.0, "se": None}}}
    assert dict(flatten(scores, is_leaf=is_score)) == {
        f"per_target.{name}": scores["per_target"][name],
        "per_target.other": scores["per_target"]["other"],
    }
    assert format_value(scores["per_target"]) == f"{name} 1 ± 0.1 other 2"
