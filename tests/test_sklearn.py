"""`CDERegressor` among scikit-learn's own tools; scikit-learn's checks of an estimator are slow tests."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed; requirements.lock has it")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_dataframe_column_names_consistency, check_estimator

from cde_app.errors import ConfigError
from cde_app.sklearn import CDERegressor, log_density_scorer

QUICK: dict[str, Any] = {
    "training": {
        "max_steps": 10,
        "ensemble": 1,
        "warm_start": {"max_steps": 10},
        "calibration": {"enabled": False},
    },
    "model": {"layers": [], "output": {"num_inducing": 10, "num_inducing_latent": 4}, "neighbours.enabled": False},
    "predict.num_components": 8,
}


def line(num_rows: int = 60) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(5)
    X = random.normal(size=(num_rows, 2))
    return X, X[:, 0] + 0.1 * random.normal(size=num_rows)


@pytest.fixture(scope="module")
def fitted() -> CDERegressor:
    return CDERegressor(settings=QUICK).fit(*line())


def test_importing_it_loads_no_tensorflow() -> None:
    code = "import sys, cde_app.sklearn; print('tensorflow' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_it_predicts_means_quantiles_draws_and_distributions(fitted: CDERegressor) -> None:
    X, y = line()
    forecast = fitted.predict_distribution(X)
    assert forecast.names == ("y",)
    np.testing.assert_array_equal(fitted.predict(X), forecast.mean()[:, 0])
    assert fitted.score(X, y) > 0.9, "R2"
    assert fitted.mean_log_density(X, y) == pytest.approx(forecast.log_prob(y).mean())
    quantiles = fitted.predict_quantiles(X, [0.1, 0.9])
    np.testing.assert_array_equal(quantiles, forecast.quantile([0.1, 0.9])[:, :, 0].T)
    draws = fitted.sample(X, 7, random_state=3)
    assert draws.shape == (60, 7)
    np.testing.assert_array_equal(draws, fitted.sample(X, 7, random_state=3))
    assert not np.array_equal(draws, fitted.sample(X, 7))
    assert np.isfinite(fitted.predict(np.full((1, 2), np.nan))), "a gap, though there was none in training"
    assert len(fitted.model_.split.train) == 60, "no row is held out"
    assert fitted.n_features_in_ == 2


def test_a_frame_has_names_and_labels_and_several_targets() -> None:
    X, y = line()
    frame = pd.DataFrame({"x": X[:, 0], "site": np.where(X[:, 1] > 0, "a", "b")}, index=np.arange(60)[::-1])
    targets = pd.DataFrame({"x": y, "z": X[:, 1]})
    settings = {**QUICK, "model.targets_model": "joint", "data.split": {"kind": "random", "test": 0.2}}
    model = CDERegressor(settings=settings, random_state=np.random.RandomState(4)).fit(frame, targets)
    assert model.target_names_ == ["x_", "z"], "a feature is called x"
    assert list(model.feature_names_in_) == ["x", "site"]
    assert [column.kind for column in model.model_.contract.inputs] == ["numeric", "categorical"]
    assert model.model_.settings["seed"] not in (0, 4)
    assert len(model.model_.split.test) == 12
    assert model.predict(frame).shape == (60, 2)
    assert model.predict_quantiles(frame).shape == (60, 2, 3)
    assert model.sample(frame, 5).shape == (60, 2, 5)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"site": "place"}))


def test_what_does_not_fit_is_said() -> None:
    X, y = line(10)
    with pytest.raises(ConfigError, match=r"^settings: training\.max_stepz: unknown key; did you mean 'max_steps'\?"):
        CDERegressor(settings={"training.max_stepz": 3}).fit(X, y)
    with pytest.raises(ConfigError, match="^settings: expected a mapping"):
        CDERegressor(settings=["training.max_steps=3"]).fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CDERegressor().fit(pd.DataFrame(X, columns=["a", "b"]), y[:5])


def test_parameters_are_scikit_learns() -> None:
    model = CDERegressor(settings=QUICK, random_state=3)
    assert clone(model).get_params() == {"on_event": None, "random_state": 3, "settings": QUICK}


@pytest.mark.slow
def test_it_works_in_pipelines_searches_and_cross_validation() -> None:
    X, y = line(40)
    pipeline = make_pipeline(StandardScaler(), CDERegressor(settings=QUICK))
    assert cross_val_predict(pipeline, X, y, cv=2).shape == (40,)
    settings = [QUICK, {**QUICK, "model.latent.dim": 0, "model.latent.compositor": {"kind": "concatenate"}}]
    grid = {"cderegressor__settings": settings, "cderegressor__random_state": [1]}
    search = GridSearchCV(pipeline, grid, cv=2, scoring=log_density_scorer, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["cderegressor__settings"] in settings
    best = search.best_estimator_
    assert log_density_scorer(best, X, y) == best[-1].mean_log_density(best[0].transform(X), y)


@pytest.mark.slow
def test_it_passes_scikit_learns_own_checks() -> None:
    before = np.random.get_state()  # noqa: NPY002 (the checks seed the global generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked = check_estimator(CDERegressor(settings=QUICK), expected_failed_checks={})
        check_dataframe_column_names_consistency("CDERegressor", CDERegressor(settings=QUICK))
    assert len(checked) > 40
    assert [check["check_name"] for check in checked if check["status"] == "skipped"] == ["check_array_api_input"]
    np.random.set_state(before)  # noqa: NPY002
