"""What analysts ask of densities: the same answers on the command line, in the settings and from Python."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import cde_app
from tests.conftest import with_one
from tests.storing import write_manifest

Cde = Callable[..., Any]


@pytest.fixture
def asked(tiny_run: Any, tmp_path: Path, cde: Cde) -> Callable[..., dict[str, pd.DataFrame]]:
    """Predict the table of the tiny run, with a key and a limit in each row, and return the tables by name."""
    frame = pd.read_csv(tiny_run.table).head(12)
    frame.insert(0, "id", [f"{n:03}" for n in range(12)])
    frame["limit"] = np.where(np.arange(12) == 3, np.nan, np.linspace(-1, 1, 12))
    frame.to_csv(tmp_path / "new.csv", index=False)

    def ask(*options: str) -> dict[str, pd.DataFrame]:
        done = cde("predict", tiny_run.run, tmp_path / "new.csv", "--out", tmp_path / "out", "--overwrite", *options)
        assert done.code == 0, done.err
        return {path.stem: pd.read_csv(path, dtype={"id": str}) for path in (tmp_path / "out").glob("*.csv")}

    return ask


def forecast_of(run: Any, folder: Path) -> cde_app.Forecast:
    return cde_app.load(run.run).predict(pd.read_csv(folder / "new.csv"))


def test_every_question_has_the_answer_of_the_forecast(asked: Any, tiny_run: Any, tmp_path: Path) -> None:
    tables = asked(
        *("--threshold", "a>0.5", "--threshold", "a <= @limit", "--threshold", "0.9<b<1.1", "--interval", "0.9"),
        *("--hdi", "0.5,0.9", "--modes", "--grid", "5", "--at", "1.25", "--keep", "id,region", "--samples", "2"),
    )
    forecast, limit = forecast_of(tiny_run, tmp_path), pd.read_csv(tmp_path / "new.csv")["limit"].to_numpy()
    summary = tables["summary"]
    assert_allclose(summary["P(a>0.5)"], forecast.probability(above=0.5, target="a"), rtol=1e-9)
    assert_allclose(summary["P(0.9<b<1.1)"], forecast.probability(above=0.9, below=1.1, target="b"), rtol=1e-9)
    known = ~np.isnan(limit)
    assert list(summary["P(a<=@limit)"].notna()) == list(known)
    expected = forecast[known].probability(below=limit[known], target="a")
    assert_allclose(summary["P(a<=@limit)"][known], expected, rtol=1e-9)
    for column, values in zip(("low90", "high90"), forecast.interval(0.9), strict=True):
        assert_allclose(summary[[f"a_{column}", f"b_{column}"]], values, rtol=1e-9)

    regions = tables["hdi"]
    for row in range(12):
        own = regions[(regions["row"] == row + 1) & (regions["target"] == "b") & (regions["mass"] == 0.9)]
        assert_allclose(own[["low", "high"]], forecast.hdi(0.9, target="b")[row], rtol=1e-9)
        assert own["probability"].sum() == pytest.approx(0.9, abs=1e-3)
    modes = tables["modes"]
    assert_allclose(
        modes[modes["target"] == "a"][["value", "probability"]], np.concatenate(forecast.modes(target="a")), rtol=1e-9
    )
    assert_allclose(modes.groupby(["row", "target"])["probability"].sum(), 1.0, rtol=1e-9)

    densities = tables["densities"]
    assert (densities.groupby(["row", "target"]).size() == 6).all()
    first = densities[(densities["row"] == 1) & (densities["target"] == "b")]
    assert 1.25 in set(first["value"])
    assert first["value"].is_monotonic_increasing
    assert_allclose(np.log(first["density"]), forecast[:1].marginal("b").log_prob_at(first["value"])[0], rtol=1e-9)
    cdf = forecast[np.zeros(6, dtype=int)].marginal("b").cdf(first["value"])[:, 0]
    assert_allclose(first["cdf"], cdf, rtol=1e-9, atol=1e-12)
    assert first["cdf"].iloc[0] < 0.01
    assert first["cdf"].iloc[-1] > 0.99

    for name, table in tables.items():
        assert list(table.columns[:3]) == ["row", "id", "region"], name
        assert list(table["id"]) == [f"{row - 1:03}" for row in table["row"]], name


def test_given_a_target_the_tables_are_of_the_others(asked: Any, tiny_run: Any, tmp_path: Path) -> None:
    tables = asked("--given", "a", "--threshold", "b>1", "--hdi", "0.9", "--samples", "2")
    frame, forecast = pd.read_csv(tmp_path / "new.csv"), forecast_of(tiny_run, tmp_path)
    conditional = forecast.given(a=frame["a"])
    summary = tables["summary"]
    assert [name for name in summary if name.startswith("a_")] == []
    assert_allclose(summary["b_mean"], conditional.mean()[:, 0], rtol=1e-9)
    assert_allclose(summary["P(b>1)"], conditional.probability(above=1.0), rtol=1e-9)
    assert_allclose(summary["log_density"], conditional.log_prob(frame["b"]), rtol=1e-9)
    assert_allclose(summary["effective_components"], conditional.effective_components, rtol=1e-9)
    assert list(tables["samples"].columns) == ["row", "draw", "b"]
    assert np.abs(summary["b_mean"] - forecast.mean()[:, 1]).max() > 1e-6, "the control: what is given matters"


def test_thresholds_of_the_run_about_a_given_target_are_not_asked(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    shutil.copytree(tiny_run.run, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    manifest["settings"]["predict"]["thresholds"] = ["a>0", "b>1"]
    write_manifest(tmp_path / "run", manifest)
    options = ("--given", "a", "--samples", "0")
    assert cde("predict", tmp_path / "run", tiny_run.table, "--out", tmp_path / "out", *options).code == 0
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert [name for name in summary if name.startswith("P(")] == ["P(b>1)"]


def test_few_components_are_warned_of(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    pd.DataFrame({"x": [0.0, 0.5], "region": "north", "a": [0.0, 1e3]}).to_csv(tmp_path / "new.csv", index=False)
    options = ("--out", tmp_path / "out", "--given", "a", "--samples", "0")
    done = cde("predict", tiny_run.run, tmp_path / "new.csv", *options)
    assert done.code == 0
    assert "warning: 1 of 2 rows rest on few components, as what is given is rare there" in done.err
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert summary["effective_components"][1] < 1.5 < summary["effective_components"][0]
    assert np.isfinite(summary["b_mean"]).all()
    forecast = cde_app.load(tiny_run.run).predict(pd.read_csv(tmp_path / "new.csv"))
    with pytest.warns(UserWarning, match="1 of 2 rows rest on few components"):
        found = forecast.given(a=[0.0, 1e3])
    assert np.isfinite(found.mean()).all()
    with pytest.raises(ValueError, match=r"given 'a': expected numbers in the range .+; got 1e\+200 in row 2"):
        forecast.given(a=[0.0, 1e200])
    assert "effective_components" in found.to_frame()


def test_the_settings_ask_the_same_and_the_options_replace_them(line_run: Any, tmp_path: Path, cde: Cde) -> None:
    run = tmp_path / "run"
    shutil.copytree(line_run.run, run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["settings"]["predict"] |= {"thresholds": ["y>50"], "hdi": [0.9], "modes": True, "grid": 4, "samples": 3}
    manifest["settings"]["data"] |= {"id": ["t"]}
    write_manifest(run, manifest)
    assert cde("predict", run, line_run.table, "--out", tmp_path / "out").code == 0
    assert {path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".csv"} == {
        *("summary.csv", "samples.csv", "hdi.csv", "modes.csv", "densities.csv")
    }
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert list(summary.columns[:2]) == ["row", "t"]
    assert "P(y>50)" in summary
    options = ("--no-modes", "--threshold", "y>60", "--keep", "y", "--samples", "0")
    assert cde("predict", run, line_run.table, "--out", tmp_path / "out", "--overwrite", *options).code == 0
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert [name for name in summary if name.startswith("P(")] == ["P(y>60)"]
    assert list(summary.columns[:2]) == ["row", "y"]
    assert not (tmp_path / "out/modes.csv").exists()
    stated = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (stated["thresholds"], stated["grid"], stated["samples"]) == (["y>60"], 4, 0)


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--threshold", "c>1"], 2, "--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER with"),
        (["--threshold", "a>b>1"], 2, "got 'a>b>1'"),
        (["--threshold", "a>x"], 2, "'x' is no number. Write @x for a column."),
        (["--threshold", "2<a<1"], 2, "expected a lower limit below the upper one; got '2<a<1'."),
        (["--threshold", "aa > 1"], 2, "got 'aa > 1'. Did you mean 'a'?"),
        (["--threshold", "a<@limt"], 3, "no column 'limt' (--threshold); columns are"),
        (["--threshold", "a<@region"], 3, "column 'region' must be numbers; got"),
        (["--given", "a,b"], 2, "--given: expected some of the targets 'a', 'b'; got all of them."),
        (["--given", "x"], 2, "--given: expected some of the targets 'a', 'b'; got 'x'."),
        (["--given", "a", "--plots"], 2, "--given and --plots: expected one of them; got both."),
        (["--given", "a", "--threshold", "a>1"], 2, "with one of the targets 'b'; got 'a>1'"),
        (["--given", "a,a"], 2, "--given: expected every column once; got 'a' again."),
        (["--grid", "1"], 2, "'--grid'"),
        (["--interval", "1.2"], 2, "--interval: expected numbers between 0 and 1, separated by commas; got '1.2'."),
        (["--hdi", "0"], 2, "--hdi: expected numbers between 0 and 1"),
        (["--at", "1,nan"], 2, "--at: expected numbers, separated by commas; got 'nan'."),
        (["--keep", "idd"], 3, "no column 'idd' (--keep); columns are"),
        (["--keep", "x,,region"], 2, "--keep: expected names of columns, separated by commas; got 'x,,region'."),
    ],
)
def test_a_wrong_question_is_one_line(
    options: list[str], code: int, reason: str, tiny_run: Any, tmp_path: Path, cde: Cde
) -> None:
    done = cde("predict", tiny_run.run, tiny_run.table, "--out", tmp_path / "out", *options)
    assert (done.code, done.err.count("error:")) == (code, 1), done.err
    assert reason in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("", "without gaps; got 1 empty cell"),
        ("-3", "got row 2, column 'b': -3 is outside the range of the target"),
        ("one", "'one'"),
    ],
)
def test_what_cannot_be_given_is_a_fault_of_the_table(
    value: str, got: str, tiny_run: Any, tmp_path: Path, cde: Cde
) -> None:
    (tmp_path / "new.csv").write_text(f"x,region,b\n0,north,1\n1,south,{value}\n")
    done = cde("predict", tiny_run.run, tmp_path / "new.csv", "--out", tmp_path / "out", "--given", "b")
    assert (done.code, done.err.count("error:")) == (3, 1), done.err
    assert got in done.err


def test_rows_in_which_nothing_is_given_are_skipped_if_asked(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    (tmp_path / "new.csv").write_text("x,region,b\n0,north,1\n1,south,\n2,south,-3\nx,south,1\n")
    options = ("--given", "b", "--on-fault", "skip", "--samples", "0")
    done = cde("predict", tiny_run.run, tmp_path / "new.csv", "--out", tmp_path / "out", *options)
    assert done.code == 7
    assert list(pd.read_csv(tmp_path / "out/summary.csv")["row"]) == [1]


@pytest.mark.parametrize("through", ["file", "stdin"])
@pytest.mark.parametrize("num_rows", [0, 1])
def test_a_table_of_one_row_or_none_is_predicted(
    num_rows: int, through: str, tiny_run: Any, tmp_path: Path, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "id,x,region\n" + "k,0.5,north\n" * num_rows
    (tmp_path / "new.csv").write_text(text)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    source = "-" if through == "stdin" else tmp_path / "new.csv"
    options = ("--hdi", "0.9", "--modes", "--grid", "3", "--keep", "id", "--interval", "0.5", "--components", "--plots")
    done = cde("predict", tiny_run.run, source, "--out", tmp_path / "out", *options)
    assert done.code == 0, done.err
    assert ("has no rows; the files have their headers only." in done.err) == (num_rows == 0)
    for name, most in (("summary", 1), ("samples", 5), ("densities", 6), ("hdi", 20), ("modes", 20)):
        table = pd.read_csv(tmp_path / f"out/{name}.csv")
        assert list(table.columns[:2]) == ["row", "id"]
        assert num_rows <= len(table) <= most * num_rows
    assert len(cde_app.load(tiny_run.run).predict(pd.DataFrame({"x": [], "region": []}))) == 0


def test_data_id_must_be_in_the_table_of_the_training(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    shutil.copy(tiny_run.table, tmp_path / "table.csv")
    config = with_one(tiny_run.config.read_text(), "  path: table.csv\n", "  path: table.csv\n  id: [key]\n")
    (tmp_path / "config.yaml").write_text(config)
    done = cde("check", tmp_path / "config.yaml")
    assert done.code == 3
    assert "config.yaml:4:8: " in done.err
    assert "no column 'key' (data.id)" in done.err


@pytest.mark.parametrize(
    ("predict", "reason"),
    [
        ("thresholds: ['c>1']", "predict.thresholds.0: expected TARGET>NUMBER"),
        ("given: [a, b]", "predict.given: expected some of the targets 'a', 'b', each once, but not all"),
        ("given: [c]", "predict.given: expected some of the targets"),
        ("given: [a], thresholds: ['a>1']", "predict.thresholds.0: expected TARGET>NUMBER"),
        ("given: [a], total: true", "predict.total: expected no totals with predict.given"),
        ("grid: 1", "predict.grid: expected an integer >= 2 and <= 1000000 or null; got 1"),
        ("intervals: [1.2]", "predict.intervals.0: expected a number > 0 and < 1; got 1.2"),
    ],
)
def test_a_wrong_question_in_the_settings_has_its_place(
    predict: str, reason: str, tiny_run: Any, tmp_path: Path, cde: Cde
) -> None:
    config = with_one(tiny_run.config.read_text(), "num_components: 16", f"num_components: 16, {predict}")
    (tmp_path / "config.yaml").write_text(config)
    done = cde("config", "show", tmp_path / "config.yaml")
    assert (done.code, done.err.count("error:")) == (2, 1), done.err
    assert "config.yaml:11:" in done.err
    assert reason in done.err


# --- scoring ------------------------------------------------------------------------------------------------------


def test_the_probabilities_of_a_threshold_are_scored_and_drawn(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    options = ("--threshold", "a>0.2", "--threshold", "b <1", "--out", tmp_path / "pictures")
    pd.read_csv(tiny_run.table).to_parquet(tmp_path / "other.parquet")
    done = cde("evaluate", tiny_run.run, tmp_path / "other.parquet", "--json", *options)
    assert done.code == 0, done.err
    scores, frame = json.loads(done.out), pd.read_csv(tiny_run.table)
    model = cde_app.load(tiny_run.run)
    stated = model.predict(frame).probability(above=0.2, target="a")
    happened = (frame["a"] > 0.2).to_numpy(float)
    found = scores["thresholds"]["a>0.2"]
    assert found["frequency"]["value"] == pytest.approx(happened.mean())
    assert found["mean_probability"]["value"] == pytest.approx(stated.mean())
    brier = np.mean((stated - happened) ** 2)
    assert found["brier"]["value"] == pytest.approx(brier)
    climate = model.climatology.predict(1).probability(above=0.2, target=0)[0]
    assert found["skill"]["climatology"]["brier"]["value"] == pytest.approx(
        1 - brier / np.mean((climate - happened) ** 2)
    )
    assert set(scores["thresholds"]) == {"a>0.2", "b<1"}
    assert model.evaluate(frame, ["a>0.2", "b<1"])["thresholds"]["a>0.2"]["brier"] == pytest.approx(found["brier"])
    assert {Path(name).name for name in scores["files"]} == {"reliability_a_0.2.png", "reliability_b_1.png"}
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in scores["files"])


def test_an_observation_on_a_limit_counts_where_the_sign_says_so(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    frame = pd.read_csv(tiny_run.table)
    frame["a"] = np.repeat([0.0, 0.5, 1.0], 40)
    frame.to_csv(tmp_path / "new.csv", index=False)
    texts = {"a>0.5": 1 / 3, "a>=0.5": 2 / 3, "a<0.5": 1 / 3, "a<=0.5": 2 / 3, "0.5<=a<1": 1 / 3, "0.5<a<=1": 1 / 3}
    thresholds = [part for text in texts for part in ("--threshold", text)]
    found = json.loads(cde("evaluate", tiny_run.run, tmp_path / "new.csv", "--json", *thresholds).out)["thresholds"]
    assert {text: scores["frequency"]["value"] for text, scores in found.items()} == pytest.approx(texts)


def test_a_picture_that_fails_costs_no_score(tiny_run: Any, cde: Cde, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr("cde_app.report.gallery.plot_reliability", fail)
    done = cde("evaluate", tiny_run.run, "--threshold", "a>0.2", "--out", "pictures")
    assert done.code == 0
    assert "a>0.2" in done.out
    assert "no ink" in done.err


def test_an_empty_option_switches_a_setting_off(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    shutil.copytree(tiny_run.run, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    manifest["settings"]["predict"] |= {"hdi": [0.9], "at": [1.0], "given": ["a"]}
    manifest["settings"]["data"]["id"] = ["key"]
    write_manifest(tmp_path / "run", manifest)
    options = ("--hdi", "", "--at", "", "--given", "", "--keep", "", "--samples", "0", "--quantiles", "")
    assert cde("predict", tmp_path / "run", tiny_run.table, "--out", tmp_path / "out", *options).code == 0
    assert [path.name for path in (tmp_path / "out").glob("*.csv")] == ["summary.csv"]
    columns = ["row", "a_mean", "a_sd", "b_mean", "b_sd", "log_density", "out_of_range"]
    assert list(pd.read_csv(tmp_path / "out/summary.csv")) == columns


def test_a_kept_column_has_one_name_in_all_files(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    frame = pd.read_csv(tiny_run.table).head(3).assign(draw=["k1", "k2", "k3"])
    frame.to_csv(tmp_path / "new.csv", index=False)
    options = ("--keep", "draw", "--samples", "2", "--modes")
    assert cde("predict", tiny_run.run, tmp_path / "new.csv", "--out", tmp_path / "out", *options).code == 0
    for name in ("summary", "samples", "modes"):
        assert "draw_" in pd.read_csv(tmp_path / f"out/{name}.csv"), name


def test_a_threshold_can_be_gated(tiny_run: Any, cde: Cde) -> None:
    threshold = ("--threshold", "a>0.2")
    assert cde("evaluate", tiny_run.run, *threshold, "--gate", "thresholds.a>0.2.brier<1").code == 0
    failed = cde("evaluate", tiny_run.run, *threshold, "--gate", "thresholds.a>0.2.brier<0")
    assert failed.code == 5
    assert "expected thresholds.a>0.2.brier < 0; got" in failed.err
    wrong = cde("evaluate", tiny_run.run, "--gate", "thresholds.a>0.2.brier<1")
    assert (wrong.code, wrong.err.count("expected a score; got 'thresholds.a>0.2.brier'")) == (2, 1)


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--threshold", "c>1"], 2, "with one of the targets 'a', 'b'; got 'c>1'"),
        (["--out", "pictures"], 2, "--out: expected --threshold with it"),
        (["--threshold", "a>@limit"], 3, "no column 'limit'"),
        (["-", "--threshold", "a>@limit"], 2, "got standard input, which cannot be read twice"),
    ],
)
def test_a_wrong_threshold_is_not_scored(options: list[str], code: int, reason: str, tiny_run: Any, cde: Cde) -> None:
    done = cde("evaluate", tiny_run.run, *options)
    assert (done.code, done.err.count("error:")) == (code, 1), done.err
    assert reason in done.err


def test_limits_of_a_threshold_may_differ_by_row_but_must_be_there(tiny_run: Any, tmp_path: Path, cde: Cde) -> None:
    frame = pd.read_csv(tiny_run.table)
    frame["limit"] = frame["a"] + np.where(np.arange(120) % 4 == 0, 1.0, -1.0)
    frame.to_csv(tmp_path / "new.csv", index=False)
    done = cde("evaluate", tiny_run.run, tmp_path / "new.csv", "--threshold", "a<@limit", "--json")
    assert json.loads(done.out)["thresholds"]["a<@limit"]["frequency"]["value"] == pytest.approx(0.25)
    frame.loc[7, "limit"] = np.nan
    frame.to_csv(tmp_path / "new.csv", index=False)
    done = cde("evaluate", tiny_run.run, tmp_path / "new.csv", "--threshold", "a<@limit")
    assert done.code == 3
    assert "column 'limit' must be numbers without gaps; got 1 empty cell, first in row 8" in done.err
