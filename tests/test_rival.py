"""Another forecaster's file, judged like a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cde_app.evaluation.rivals import known_coverage, score_draws, score_quantiles
from cde_app.evaluation.scores import score_rows
from cde_app.evaluation.verdict import ks_distance
from cde_app.predictive.columns import sample_columns, summary_columns
from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity
from cde_app.targets.log import Log
from cde_app.words import flatten
from tests.conftest import Outcome, TrainedTiny

Cde = Callable[..., Outcome]
NUM_ROWS, NUM_DRAWS = 150, 300
SCALES = np.array([2.0, 3.0])


def forecast_of(num_targets: int, *, seed: int = 0) -> Mixture:
    random = np.random.default_rng(seed)
    means = random.normal(size=(NUM_ROWS, 3, num_targets))
    transforms = (Log(1.0, 0.4, shift=0.0), Identity(5.0, 3.0))[:num_targets]
    names = ("a", "b")[:num_targets]
    return Mixture(random.dirichlet(np.ones(3)), means, random.uniform(0.1, 0.6, means.shape), transforms, names=names)


def write_samples(forecast: Mixture, path: Path, draws: np.ndarray) -> pd.DataFrame:
    rows, columns = sample_columns(forecast, draws)
    frame = pd.DataFrame({"row": rows + 1, **columns})
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of observations, and files of the forecaster that knows their distribution."""
    monkeypatch.chdir(tmp_path)
    forecast = forecast_of(2)
    targets = forecast.sample(1, seed=1)[0]
    pd.DataFrame({"id": range(NUM_ROWS), "a": targets[:, 0], "b": targets[:, 1]}).to_csv("table.csv", index=False)
    write_samples(forecast, Path("samples.csv"), forecast.sample(30, seed=2))
    columns = summary_columns(forecast, [0.05, 0.25, 0.5, 0.75, 0.95])
    pd.DataFrame({"row": np.arange(1, NUM_ROWS + 1), **columns}).to_csv("summary.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("num_targets", [1, 2])
def test_our_own_draws_score_as_our_density_within_monte_carlo_error(num_targets: int) -> None:
    forecast, scales = forecast_of(num_targets), SCALES[:num_targets]
    targets = forecast.sample(1, seed=1)[0]
    exact = score_rows(forecast, targets, scales=scales, seed=0)
    draws = forecast.sample(NUM_DRAWS, seed=2)
    found, wrong = (score_draws(own, targets, scales=scales, seed=0) for own in (draws, draws * 1.3))
    for name in (
        "crps",
        "energy_score",
        "squared_error",
        "absolute_error",
        "interval_score",
        "width",
        "variogram_score",
    ):
        if name not in found:
            assert (name, num_targets) == ("variogram_score", 1)
            continue
        # Quantiles of draws make these scores too large by a share of about 1 / S, and the width too.
        bias = 3 / NUM_DRAWS if name in ("absolute_error", "interval_score", "width") else 0.0
        difference, miss = (own[name] - exact[name] for own in (found, wrong))
        error = 4 * difference.std(axis=0, ddof=1) / math.sqrt(NUM_ROWS) + bias * np.abs(exact[name].mean(axis=0))
        assert np.all(np.abs(difference.mean(axis=0)) < error), name
        assert np.any(np.abs(miss.mean(axis=0)) > error), f"the control: {name}"
    assert np.abs(found["pit"] - exact["pit"]).max() < 5 * 0.5 / math.sqrt(NUM_DRAWS)


def test_the_crps_of_draws_is_the_slow_double_sum_and_another_implementations() -> None:
    random = np.random.default_rng(3)
    draws, targets = random.normal(size=(25, 7, 1)), random.normal(size=(7, 1))
    found = score_draws(draws, targets, scales=np.ones(1), seed=0)["crps"][:, 0]
    slow = [
        np.mean(np.abs(own - y)) - np.sum(np.abs(own[:, None] - own)) / (2 * 25 * 24)
        for own, y in zip(draws[:, :, 0].T, targets[:, 0], strict=True)
    ]
    np.testing.assert_allclose(found, slow, rtol=1e-12)
    oracle = pytest.importorskip("scoringrules")
    fair = oracle.crps_ensemble(targets[:, 0], draws[:, :, 0].T, estimator="fair")
    np.testing.assert_allclose(found, fair, rtol=1e-10)


def test_ties_among_draws_leave_the_pit_uniform() -> None:
    random = np.random.default_rng(4)
    draws, targets = random.integers(0, 3, (40, 4000, 1)), random.integers(0, 3, (4000, 1))
    pit = score_draws(draws.astype(float), targets.astype(float), scales=np.ones(1), seed=0)["pit"]
    # P(sqrt(N) D > 2.3) = 5e-5.
    assert ks_distance(pit) < 2.3 / math.sqrt(4000)
    assert ks_distance((draws < targets).mean(axis=0)) > 2.3 / math.sqrt(4000), "the control"


def test_quantiles_that_share_a_value_leave_the_pit_uniform() -> None:
    random = np.random.default_rng(5)
    dry = random.random(4000) < 0.7
    observed = np.where(dry, 0.0, random.exponential(size=4000))[:, None]
    levels = np.arange(1, 40) / 40
    wet = -np.log1p(-np.clip((levels - 0.7) / 0.3, 0.0, None))  # quantiles of 70 % zeros and 30 % exponential
    quantiles = np.broadcast_to(wet[:, None, None], (39, 4000, 1))
    pit = score_quantiles(levels, quantiles, observed, scales=np.ones(1), seed=0)["pit"]
    # P(sqrt(N) D > 2.3) = 5e-5; the upper end of the zeros is known to a fortieth only.
    assert ks_distance(pit) < 2.3 / math.sqrt(4000) + 1 / 40
    assert ks_distance((quantiles < observed).mean(axis=0)) > 0.5, "the control"


def test_many_quantiles_give_the_exact_crps_and_few_give_exact_intervals() -> None:
    forecast = forecast_of(1)
    targets = forecast.sample(1, seed=1)[0]
    exact = score_rows(forecast, targets, scales=np.ones(1), seed=0)
    for number, tolerance in ((19, 0.05), (1999, 1e-3)):
        levels = np.arange(1, number + 1) / (number + 1)
        found = score_quantiles(levels, forecast.quantile(levels), targets, scales=np.ones(1), seed=0)
        assert found["crps"].mean() == pytest.approx(exact["crps"].mean(), rel=tolerance)
        for name in ("absolute_error", "interval_score", "width"):
            np.testing.assert_allclose(found[name], exact[name], rtol=1e-9)
        inside = np.abs(exact["pit"] - 0.5) <= 0.45
        np.testing.assert_array_equal(np.abs(found["pit"] - 0.5) <= 0.45, inside)
    assert known_coverage([0.05, 0.25, 0.75, 0.95]) == (0.5, 0.9)
    bare = score_quantiles([0.2, 0.8], forecast.quantile([0.2, 0.8]), targets, scales=np.ones(1), seed=0)
    assert bare.keys() == {"crps", "scaled_crps", "pit", "energy_score"}


def test_every_kind_of_file_is_scored_from_the_command_line_in_any_order_of_its_lines(folder: Path, cde: Cde) -> None:
    found = json.loads(cde("evaluate", "table.csv", "--samples", "samples.csv", "--json").out)
    assert found["num_rows"] == NUM_ROWS
    assert list(found["crps"]["per_target"]) == ["a", "b"]
    assert found["forecast"].startswith("30 draws of each row")
    assert "nlpd" not in found
    assert found["energy_score"]["monte_carlo"] > 0
    shuffled = pd.read_csv("samples.csv").sample(frac=1, random_state=0)
    shuffled.to_parquet("shuffled.parquet")
    again = json.loads(cde("evaluate", "table.csv", "--samples", "shuffled.parquet", "--json").out)
    for name in ("crps", "mae", "rmse", "width"):
        assert again[name]["value"] == pytest.approx(found[name]["value"], rel=1e-12)
    normal = json.loads(cde("evaluate", "table.csv", "--normal", "summary.csv", "--target", "b", "--json").out)
    table, summary = pd.read_csv("table.csv"), pd.read_csv("summary.csv")
    expected = -norm.logpdf(table["b"], summary["b_mean"], summary["b_sd"])
    assert normal["nlpd"]["value"] == pytest.approx(expected.mean())
    assert normal["mae"]["value"] == pytest.approx(np.abs(table["b"] - summary["b_mean"]).mean())
    quantiles = cde("evaluate", "table.csv", "--quantiles", "summary.csv", "--gate", "coverage.0.9>0.5")
    assert quantiles.code == 0
    assert "coverage 0.9" in quantiles.out
    assert "coverage 0.95" not in quantiles.out
    assert cde("evaluate", "table.csv", "--quantiles", "summary.csv", "--gate", "crps<0").code == 5


def test_rows_without_a_forecast_or_a_target_are_left_out_and_counted(folder: Path, cde: Cde) -> None:
    table, summary = pd.read_csv("table.csv"), pd.read_csv("summary.csv")
    table.loc[[3, 4], "a"] = np.nan
    table.to_csv("gaps.csv", index=False)
    summary.iloc[10:].sample(frac=1, random_state=1).to_csv("some.csv", index=False)
    outcome = cde("evaluate", "gaps.csv", "--normal", "some.csv", "--json")
    assert json.loads(outcome.out)["num_rows"] == NUM_ROWS - 10
    assert "10 of 150 rows of gaps.csv have no forecast and are not judged." in outcome.err
    outcome = cde("evaluate", "gaps.csv", "--normal", "summary.csv", "--json")
    assert json.loads(outcome.out)["num_rows"] == NUM_ROWS - 2
    assert "2 rows of gaps.csv have a gap in a target and are not judged." in outcome.err
    unnumbered = summary.drop(columns="row")
    unnumbered.to_csv("unnumbered.csv", index=False)
    by_order, by_number = (
        json.loads(cde("evaluate", "table.csv", "--normal", name, "--json").out)
        for name in ("unnumbered.csv", "summary.csv")
    )
    assert by_order["forecast"] == by_number["forecast"]
    for name in ("nlpd", "crps", "hpd_coverage"):
        assert dict(flatten(by_order[name])) == pytest.approx(dict(flatten(by_number[name])), rel=1e-12)


def test_the_calibration_pictures_are_drawn(folder: Path, cde: Cde) -> None:
    outcome = cde("evaluate", "table.csv", "--samples", "samples.csv", "--out", "pictures")
    assert outcome.code == 0
    for name in ("pit", "ecdf", "coverage"):
        assert Path(f"pictures/{name}.png").stat().st_size > 10_000
        assert f"pictures/{name}.png" in outcome.out


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("samples", lambda f: f.drop(columns="row"), "f.csv: no column 'row'; columns are"),
        ("samples", lambda f: f.rename(columns={"a": "y", "b": "z"}), "f.csv: expected the columns row, draw and"),
        ("samples", lambda f: f.assign(row=f["row"] + 1), "must count the rows of table.csv, from 1 to 150; got 151"),
        ("samples", lambda f: f.assign(row=f["row"] + 0.5), "must count the rows of table.csv, from 1 to 150; got 1.5"),
        ("samples", lambda f: f.iloc[1:], "expected the same number of draws of each row; got 29 of row 1 and 30 of"),
        ("samples", lambda f: f[f["draw"] < 9], "expected at least 20 draws of each row; got 8 of row 1. Draw more."),
        ("samples", lambda f: f.assign(a="x"), "f.csv: column 'a' must be numbers"),
        ("samples", lambda f: f.assign(a=f["a"].where(f.index > 2)), "f.csv: column 'a' must be numbers without gaps"),
        ("quantiles", lambda f: f.assign(a_q25=f["a_q95"] + 1), "the quantiles of a row must not decrease; got"),
        ("quantiles", lambda f: f.drop(columns="a_q25"), "expected quantiles of the same levels for every target"),
        ("quantiles", lambda f: f.assign(a_q100=9e9), "column 'a_q100' must be a quantile between 0 and 100 %"),
        ("quantiles", lambda f: f.assign(**{"a_q50.0": 1.0}), "expected each level once; got 'a_q50' and 'a_q50.0'"),
        ("quantiles", lambda f: f.drop(columns="row").head(9), "expected a column 'row' that says which rows of table"),
        (
            "normal",
            lambda f: f.assign(b_sd=0.0),
            "column 'b_sd' must be positive, and at least 1e-150; got 0 in row 1. Correct the file.",
        ),
        ("normal", lambda f: f.drop(columns="b_sd"), "f.csv: no column 'b_sd'; columns are"),
        ("normal", lambda f: pd.concat([f, f.head(1)]), "column 'row' must name each row once; got 1 again."),
    ],
)
def test_a_bad_file_is_one_clear_line(folder: Path, cde: Cde, kind: str, change: Callable, message: str) -> None:
    change(pd.read_csv("samples.csv" if kind == "samples" else "summary.csv")).to_csv("f.csv", index=False)
    outcome = cde("evaluate", "table.csv", f"--{kind}", "f.csv", "--out", "pictures")
    assert outcome.code == 3, outcome
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.out == ""
    assert not Path("pictures").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table.csv", "--samples", "a", "--normal", "b"), "--normal: expected one file of another forecaster; got"),
        (
            ("runs/x", "table.csv", "--samples", "a"),
            "--samples: expected a table and no run, as in `cde evaluate DATA`",
        ),
        (("table.csv", "--samples", "a", "--threshold", "y>1"), "--threshold: expected a run, whose probabilities"),
        (("runs/x", "--target", "y"), "--target: expected --samples, --quantiles or --normal with it; got none."),
        (("table.csv", "--samples", "samples.csv", "--gate", "nlpd<1"), "--gate: expected a score; got 'nlpd'"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(
    folder: Path, cde: Cde, arguments: tuple[str, ...], message: str
) -> None:
    outcome = cde("evaluate", *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_target_that_is_named_twice_is_judged_once(folder: Path, cde: Cde) -> None:
    command = ("evaluate", "table.csv", "--normal", "summary.csv", "--json")
    once = cde(*command, "--target", "a")
    assert once.code == 0
    assert cde(*command, "--target", "a", "--target", "a").out == once.out


def test_pictures_do_not_go_into_a_run(folder: Path, tiny_run: TrainedTiny, cde: Cde) -> None:
    for out in (tiny_run.run, tiny_run.run / "plots", tiny_run.run / "new/deep"):
        outcome = cde("evaluate", "table.csv", "--normal", "summary.csv", "--out", out)
        assert outcome.code == 6
        assert "choose another --out." in outcome.err
    assert not (tiny_run.run / "new").exists()


def test_a_missing_target_or_table_is_said(folder: Path, cde: Cde) -> None:
    outcome = cde("evaluate", "table.csv", "--normal", "summary.csv", "--target", "bb")
    assert outcome.code == 3
    assert "table.csv: " in outcome.err
    assert "'bb' (--target)" in outcome.err
    assert cde("evaluate", "nothing.csv", "--normal", "summary.csv").code == 3
