"""A run with a conformal calibration: trained, stored, predicted, and asked what it cannot answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import cde_app
from cde_app.config import Training, WidthCalibration
from cde_app.predictive.recalibrated import Recalibrated
from tests.conftest import TrainedTiny, train_once, with_one

Cde = Callable[..., Any]
NUM_ROWS = 300
CONFIG = """
schema_version: 1
data:
  path: table.csv
  inputs: [x, {column: site, kind: categorical}]
  targets: [a, b]
  split: {test: 0.2}
model:
  latent: {dim: 0}
  output: {num_inducing: 8}
training:
  max_steps: 2
  ensemble: 1
  warm_start: {max_steps: 10}
  calibration: {kind: conformal, kept_out: 0.4, by: site}
predict:
  num_components: 16
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedTiny:
    """A Gaussian model of two skewed targets, in two sites."""
    rng = np.random.default_rng(4)
    x, site = rng.uniform(-2, 2, NUM_ROWS), rng.choice(["east", "west"], NUM_ROWS)
    a = np.sin(x) + (1 + (site == "west")) * 0.3 * rng.gamma(1.0, size=NUM_ROWS)
    b = a + 0.5 * rng.normal(size=NUM_ROWS)
    rows = [f"{x[n]},{site[n]},{a[n]},{b[n]}" for n in range(NUM_ROWS)]
    return train_once(tmp_path_factory, "conformal", CONFIG, ["x,site,a,b", *rows])


def test_kept_out_rows_are_in_no_other_part_and_count_as_seen(run: TrainedTiny) -> None:
    manifest = json.loads((run.run / "manifest.json").read_text())
    assert manifest["rows"] == {"train": 120, "validation": 0, "test": 60, "calibration": 120}
    known = manifest["recalibration"]
    assert (known["num_rows"], known["num_groups"], known["num_small_groups"]) == (120, 2, 0)
    assert [one["is_applied"] for one in known["targets"]] == [True, True]
    scores = cde_app.load(run.run).evaluate(pd.read_csv(run.table, float_precision="round_trip"))
    assert scores["warnings"][0].startswith("240 of these 300 rows were trained on")


def test_in_each_group_the_quantiles_split_the_kept_out_rows_as_they_should(run: TrainedTiny) -> None:
    """The quantile at a level p has floor(p (n + 1)) or ceil(p (n + 1)) of a group's n rows up to it, exactly."""
    model, frame = cde_app.load(run.run), pd.read_csv(run.table)
    kept = frame.iloc[model.split.calibration]
    forecast = model.predict(kept)
    assert isinstance(forecast, Recalibrated)
    original = forecast.original.cdf(kept[["a", "b"]].to_numpy())
    recalibrated = forecast.cdf(kept[["a", "b"]])
    for site in ("east", "west"):
        own = (kept["site"] == site).to_numpy()
        for level, rank in ((0.1, np.floor), (0.9, np.ceil)):
            counts = (recalibrated[own] <= level + 1e-9).sum(axis=0)
            np.testing.assert_array_equal(counts, rank(level * (own.sum() + 1)))
    assert np.abs(original - recalibrated).max() > 0.05


def test_files_have_what_the_forecast_answers(run: TrainedTiny, cde: Cde, tmp_path: Path) -> None:
    frame = pd.read_csv(run.table).head(9)
    frame.to_csv(tmp_path / "new.csv", index=False)
    options = ["--samples", "3", "--hdi", "0.8", "--modes", "--at", "0.5", "--threshold", "a>1", "--plots"]
    done = cde("predict", run.run, tmp_path / "new.csv", "--out", tmp_path / "out", *options)
    assert done.code == 0, done.err
    forecast = cde_app.load(run.run).predict(frame)
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert_allclose(summary["a_q05"], forecast.quantile(0.05)[:, 0], rtol=1e-9)
    assert_allclose(summary["b_mean"], forecast.mean()[:, 1], rtol=1e-9)
    assert_allclose(summary["log_density"], forecast.log_prob(frame), rtol=1e-9)
    assert_allclose(summary["P(a>1)"], forecast.probability(above=1.0, target="a"), rtol=1e-9)
    hdi = pd.read_csv(tmp_path / "out" / "hdi.csv")
    assert_allclose(hdi.groupby(["row", "target"])["probability"].sum(), 0.8, atol=1e-4)
    assert len(pd.read_csv(tmp_path / "out" / "samples.csv")) == 27
    assert (tmp_path / "out" / "plots" / "joint.png").exists()


def test_a_prediction_does_not_depend_on_the_other_rows(run: TrainedTiny) -> None:
    model, frame = cde_app.load(run.run), pd.read_csv(run.table).head(20)
    whole, part = model.predict(frame), model.predict(frame[7:12])
    assert_allclose(whole.quantile([0.05, 0.7])[:, 7:12], part.quantile([0.05, 0.7]), rtol=1e-12)


@pytest.mark.parametrize("option", [["--given", "a"], ["--total"], ["--components"]])
def test_what_maps_do_not_know_is_refused(run: TrainedTiny, cde: Cde, tmp_path: Path, option: list[str]) -> None:
    done = cde("predict", run.run, run.table, "--out", tmp_path / "out", *option)
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"error: {option[0]}: expected a run without training.calibration.kind 'conformal', whose maps are of each "
        f"target of each row; got one with it. Leave out {option[0]}, or train with the kind 'width'."
    )
    assert not (tmp_path / "out").exists()


def test_totals_are_refused_in_python_too(run: TrainedTiny) -> None:
    with pytest.raises(ValueError, match=r"total: expected a model without training\.calibration\.kind 'conformal'"):
        cde_app.load(run.run).total(pd.read_csv(run.table))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "by: site",
            "by: sit",
            "training.calibration.by: expected one of the inputs 'x', 'site'; got 'sit'. Correct it, or add the input.",
        ),
        (
            "kind: conformal",
            "kind: width",
            "training.calibration.by: unknown key; kind 'width' has no such key, 'conformal', 'auto' has.",
        ),
        (
            "{kind: conformal",
            "{kind: conformal, enabled: false",
            "training.calibration.enabled: unknown key; kind 'conformal' has no such key, 'width' has.",
        ),
        (
            "predict:",
            "predict:\n  given: [a]",
            (
                "predict.given: expected no targets with training.calibration.kind 'conformal', whose maps are of each "
                "target of each row; got ('a',). Remove it, or set the kind to width."
            ),
        ),
        (
            "predict:",
            "predict:\n  total: true",
            (
                "predict.total: expected no totals with training.calibration.kind 'conformal', whose maps are of each "
                "target of each row; got True. Remove it, or set the kind to width."
            ),
        ),
    ],
)
def test_settings_that_contradict_a_map_are_refused(
    run: TrainedTiny, cde: Cde, before: str, after: str, message: str
) -> None:
    config = run.config.with_name("wrong.yaml")
    config.write_text(with_one(CONFIG, before, after))
    done = cde("check", config)
    assert done.code == 2
    assert message in done.err


def test_check_counts_the_kept_out_rows(run: TrainedTiny, cde: Cde) -> None:
    done = cde("check", run.config)
    assert "120 train, 0 validation, 60 test, 120 kept out for the calibration;" in done.out


def test_the_report_has_no_explorer_and_explore_says_why(run: TrainedTiny, cde: Cde, tmp_path: Path) -> None:
    done = cde("explore", run.run)
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"error: {run.run}: expected a run without training.calibration.kind 'conformal', whose densities are no "
        "mixtures, which a page could evaluate; got one with it. Train it with the kind 'width' to explore it."
    )
    copy = tmp_path / "run"
    shutil.copytree(run.run, copy)
    done = cde("report", copy)
    assert done.code == 0, done.err
    assert (copy / "report.html").exists()


def test_joint_regions_say_how_often_they_hold(run: TrainedTiny) -> None:
    """Of the n kept-out rows, ceil(q (n + 1)) are in the joint region of the level q, more if masses are equal."""
    model, frame = cde_app.load(run.run), pd.read_csv(run.table)
    kept = frame.iloc[model.split.calibration]
    forecast = model.predict(kept)
    levels = forecast.hpd_level(kept[["a", "b"]].to_numpy(), num_samples=200, seed=0)
    for q in (0.25, 0.5, 0.75, 0.9):
        assert 0 <= np.sum(levels <= q) - np.ceil(q * (len(kept) + 1)) <= 8  # 120 rows share 201 masses


def test_settings_of_a_run_from_before_there_were_kinds_are_those_of_the_width() -> None:
    earlier = Training.model_validate({"calibration": {"enabled": False, "left_out": 0.2}})
    assert earlier.calibration == WidthCalibration(enabled=False, left_out=0.2)
