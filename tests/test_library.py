"""The Python door: what `import cde_app` gives, and that a forecast answers what a mixture and a chain answer."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cde_app
from cde_app.errors import DataError, RunError, UsageError
from cde_app.predictive.chain import Chain
from cde_app.predictive.mixture import Mixture
from cde_app.workflow.scoring import dependent_rows_warning
from tests.conftest import assert_same_scores, needs_tensorflow
from tests.storing import write_manifest
from tests.transforms import EXAMPLES

Cde = Callable[..., Any]


def test_importing_the_package_loads_nothing_and_its_names_are_listed() -> None:
    code = "import sys, cde_app; print(*sys.modules); cde_app.load; cde_app.Forecast; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    before, after = result.stdout.splitlines()
    assert not {"numpy", "pandas", "pydantic", "tensorflow"} & set(before.split())
    assert "numpy" in after.split()
    assert "tensorflow" not in after.split()
    assert dir(cde_app) == sorted(cde_app.__all__)
    for name in cde_app.__all__:
        assert hasattr(cde_app, name)
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        cde_app.fit  # noqa: B018


def test_a_loaded_model_predicts_and_scores_as_the_commands_do(tiny_run: Any, cde: Cde, tmp_path: Path) -> None:
    model = cde_app.load(tiny_run.run)
    assert repr(model) == "TrainedModel(a, b | x, region)"
    frame = pd.read_csv(tiny_run.table)
    forecast = model.predict(frame)
    assert cde("predict", tiny_run.run, tiny_run.table, "--out", tmp_path / "out", "--quiet").code == 0
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    np.testing.assert_allclose(forecast.mean(), summary[["a_mean", "b_mean"]], rtol=1e-9)
    np.testing.assert_allclose(forecast.log_prob(frame), summary["log_density"], rtol=1e-9)
    low, high = forecast.interval(0.9)
    np.testing.assert_allclose(np.column_stack([low, high]), summary[["a_q05", "b_q05", "a_q95", "b_q95"]], rtol=1e-9)
    frame.to_parquet(tmp_path / "again.parquet")  # its own table is known by its content
    scores = json.loads(cde("evaluate", tiny_run.run, tmp_path / "again.parquet", "--json").out)
    ours = json.loads(json.dumps(model.evaluate(frame)))
    assert ours.pop("warnings") == scores.pop("warnings")[:1]
    assert "warnings" not in model.evaluate(frame.assign(x=frame["x"] + 1e-3))
    local, theirs = ours.pop("local"), scores.pop("local")
    assert local["num_rows"] == 120
    assert [local[key] for key in ("p_value", "sentences")] == [theirs[key] for key in ("p_value", "sentences")]
    assert_same_scores(ours, scores, rounding=1e-9)


def test_what_does_not_fit_is_said_in_one_line(tiny_run: Any) -> None:
    model, frame = cde_app.load(tiny_run.run), pd.read_csv(tiny_run.table)
    with pytest.raises(DataError, match="^the frame: .*'region'"):
        model.predict(frame.drop(columns="region"))
    with pytest.raises(DataError, match="^the frame: .*'b'"):
        model.evaluate(frame.drop(columns="b"))
    labelled = frame.set_axis([f"r{n}" for n in range(len(frame))], axis=0)
    np.testing.assert_array_equal(model.predict(labelled).mean(), model.predict(frame).mean())
    with pytest.raises(DataError, match="first in row 3"):
        model.predict(labelled.assign(x=np.where(np.arange(len(frame)) == 2, np.nan, frame["x"])))
    for other, kind in ((frame["x"], "pandas.Series"), ({"x": [1]}, "dict"), ([[1]], "list")):
        with pytest.raises(UsageError, match=f"frame: expected a pandas DataFrame; got {kind}"):
            model.predict(other)
    with pytest.raises(RunError, match="expected a run directory; got nothing"):
        cde_app.load("nowhere")
    forecast = model.predict(frame)
    with pytest.raises(ValueError, match=r"y: expected the shape \(120, 2\), rows and targets; got \(120,\)"):
        forecast.log_prob(frame["a"])
    with pytest.raises(ValueError, match="expected one of the targets 'a', 'b'; got 'c'"):
        forecast.marginal("c")
    with pytest.raises(ValueError, match=r"mass: expected a number between 0 and 1; got 1.2"):
        forecast.interval(1.2)


@needs_tensorflow
def test_training_from_python_writes_the_run_of_the_command(line_run: Any, tmp_path: Path) -> None:
    events: list[str] = []
    model = cde_app.train(
        line_run.config,
        out=tmp_path / "run",
        settings={"training.max_steps": 25},
        on_event=lambda event: events.append(event.stage),
    )
    assert {"data", "training", "evaluation"} <= set(events)
    frame = pd.read_csv(line_run.table)
    again = cde_app.load(tmp_path / "run").predict(frame)
    np.testing.assert_array_equal(model.predict(frame).mean(), again.mean())
    assert model.settings["training"]["max_steps"] == 25


@pytest.fixture
def mixture() -> Mixture:
    random = np.random.default_rng(0)
    means = random.standard_normal((3, 2, 2))
    transforms = (EXAMPLES["identity"], EXAMPLES["log"])
    return Mixture(np.array([0.4, 0.6]), means, np.full((3, 2, 2), 0.3), transforms, names=("a", "b"))


def test_a_forecast_has_a_length_rows_names_and_probabilities(mixture: Mixture) -> None:
    assert len(mixture) == 3
    assert repr(mixture) == "Mixture(3 rows, targets: a, b)"
    assert repr(mixture[:2].marginal("b")) == "Mixture(2 rows, targets: b)"
    one = mixture.marginal("b")
    y = one.quantile([0.2, 0.7])[:, :, 0]
    np.testing.assert_allclose(mixture.probability(above=y[0], below=y[1], target="b"), 0.5, atol=1e-9)
    np.testing.assert_allclose(mixture.probability(above=y[1], target=1), 0.3, atol=1e-9)
    np.testing.assert_allclose(mixture.probability(above=y[1], below=y[0], target="b"), 0.0)
    np.testing.assert_allclose(one.log_prob(y[0]), one.log_prob(y[0][:, None]))
    assert one[0].mean().shape == (1, 1)
    assert one.quantile([]).shape == (0, 2 + 1, 1)
    for wrong in (-1, 2, 0.5, "c"):
        with pytest.raises(ValueError, match="expected one of the targets 'b'"):
            one.marginal(wrong)
    inside = one.interval(0.5)
    np.testing.assert_allclose(one.cdf(inside[1]) - one.cdf(inside[0]), 0.5, atol=1e-9)


def test_both_forecasts_fulfil_the_whole_contract() -> None:
    assert not Mixture.__abstractmethods__
    assert not Chain.__abstractmethods__
    assert cde_app.Forecast.__abstractmethods__


def test_scores_of_rows_whose_groups_are_unknown_are_warned_of(tiny_run: Any) -> None:
    model, table = cde_app.load(tiny_run.run), SimpleNamespace(dependence=None)
    assert dependent_rows_warning(model, table) is None
    data = model.settings["data"] | {"split": {"kind": "group", "column": "patient"}}
    grouped = replace(model, settings={**model.settings, "data": data})
    assert dependent_rows_warning(grouped, table) == (
        "the table has no column 'patient' that can be read as in the training, so that the standard errors treat "
        "rows as independent; they are too small if rows share one 'patient'."
    )
    assert dependent_rows_warning(grouped, SimpleNamespace(dependence=object())) is None


def test_rows_of_a_group_count_as_one_in_the_standard_errors(tiny_run: Any) -> None:
    model = cde_app.load(tiny_run.run)
    frame = pd.read_csv(tiny_run.table).head(30)
    copies = pd.concat([frame.assign(patient=range(30))] * 4)  # which say no more than one copy
    data = model.settings["data"] | {"split": {"kind": "group", "column": "patient"}}
    grouped = replace(model, settings={**model.settings, "data": data})
    single, found, naive = (one.evaluate(table) for one, table in ((model, frame), (grouped, copies), (model, copies)))
    assert found["standard_errors"] == "30 groups of 'patient' count as one row each"
    assert "standard_errors" not in naive
    for name in ("nlpd", "mae"):
        assert found[name]["se"] == pytest.approx(single[name]["se"])
        assert naive[name]["se"] < 0.55 * single[name]["se"], "the control"
    assert found["skill"]["climatology"]["crps"]["se"] == pytest.approx(single["skill"]["climatology"]["crps"]["se"])


def test_a_run_of_an_earlier_version_is_scored_against_the_baselines_that_it_has(tiny_run: Any, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(tiny_run.run, old)
    with np.load(old / "baselines.npz") as stored:
        kept = {name: stored[name] for name in stored.files if not name.startswith("nearest_neighbours.")}
        assert len(kept) < len(stored.files)
    np.savez(old / "baselines.npz", **kept)
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["outputs"]["baselines.npz"] = hashlib.sha256((old / "baselines.npz").read_bytes()).hexdigest()
    write_manifest(old, manifest)
    frame = pd.read_csv(tiny_run.table)
    before, now = (cde_app.load(path).evaluate(frame) for path in (old, tiny_run.run))
    assert list(before["skill"]) == ["climatology", "linear_gaussian", "sparse_gp"]
    assert list(now["skill"]) == ["climatology", "linear_gaussian", "nearest_neighbours", "sparse_gp"]
    assert before["skill"] == {name: now["skill"][name] for name in before["skill"]}
