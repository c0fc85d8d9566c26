"""A whole training against a density that is known: the default model on the table that `data/bimodal.py` draws."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import find_peaks

from cde_app.runs.run import Run
from cde_app.trained_run import TrainedRun

FRESH_ROWS = 4000
STANDARD_ERRORS = 4.0


@pytest.fixture(scope="module")
def bimodal(request: pytest.FixtureRequest) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bimodal", Path(__file__).parent.parent / "data" / "bimodal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def regret(cde: Callable[..., Any], run: Path, bimodal: ModuleType, tmp_path: Path) -> tuple[float, float]:
    """Return the mean of log p - log q over fresh rows, the Kullback-Leibler divergence, and its standard error."""
    x, y = bimodal.draw(FRESH_ROWS, 99)
    pd.DataFrame({"x": x, "y": y}).to_csv(tmp_path / "fresh.csv", index=False)
    assert (
        cde("predict", run, tmp_path / "fresh.csv", "--out", tmp_path / "out", "--samples", "0", "--overwrite").code
        == 0
    )
    predicted = pd.read_csv(tmp_path / "out" / "summary.csv")["log_density"].to_numpy()
    losses = bimodal.log_density(x, y) - predicted
    return float(losses.mean()), float(losses.std() / np.sqrt(FRESH_ROWS))


@pytest.mark.slow
def test_the_default_model_comes_close_to_the_true_density_and_a_plain_gp_does_not(
    cde: Callable[..., Any], bimodal: ModuleType, tmp_path: Path, project: Path
) -> None:
    config = project / "configs" / "bimodal.yaml"
    assert cde("train", config, "--out", tmp_path / "run", "--quiet").code == 0
    divergence, error = regret(cde, tmp_path / "run", bimodal, tmp_path)
    assert divergence > -STANDARD_ERRORS * error, "no density is better than the truth"
    assert divergence < 0.05
    grid = np.linspace(-4, 4, 801)
    run = TrainedRun.load(Run.open(tmp_path / "run"))
    feature = run.contract.inputs[0].features[0]
    X = (np.array([[-1.8], [1.0], [1.8]]) - feature.centre) / feature.scale
    densities = np.exp(run.predictor.predict(X).marginal_log_density_at(grid, 0))
    modes = [len(find_peaks(density, prominence=0.05 * density.max())[0]) for density in densities]
    assert modes == [1, 2, 2]
    assert cde("train", config, "--out", tmp_path / "plain", "--quiet", "--set", "model.latent.dim=0").code == 0
    plain, _ = regret(cde, tmp_path / "plain", bimodal, tmp_path)
    assert plain > 0.3, "the control must fail"


@pytest.mark.slow
def test_without_a_warp_mass_is_left_between_the_modes(
    cde: Callable[..., Any], bimodal: ModuleType, tmp_path: Path, project: Path
) -> None:
    """The control of the bound above: a smooth function of w cannot jump from one mode to the other."""
    config, smooth = project / "configs" / "bimodal.yaml", "model.latent.compositor.kind=concatenate"
    assert cde("train", config, "--out", tmp_path / "run", "--quiet", "--set", smooth).code == 0
    divergence, _ = regret(cde, tmp_path / "run", bimodal, tmp_path)
    assert 0.05 < divergence < 0.1
