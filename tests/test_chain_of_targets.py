"""Several targets as they are learned by default, a chain: trained, predicted and scored by the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.cli import main
from tests.conftest import train

pytestmark = pytest.mark.slow

CONFIG = """\
schema_version: 1
data:
  path: table.csv
  inputs: [x]
  targets: [{column: a, transform: {kind: identity}}, {column: b, transform: {kind: identity}}]
training: {max_steps: 100, ensemble: 1}
predict: {num_components: 64}
"""
STANDARD_ERRORS = 4.0
NUM_ROWS, NUM_DRAWS, NUM_BATCHES = 400, 400, 20
TARGETS = ["a", "b"]


@dataclass(frozen=True)
class Predicted:
    """What the commands say of rows that the model has not seen."""

    truth: np.ndarray
    """[N, 2]."""
    draws: np.ndarray
    """[N, S, 2]."""
    summary: pd.DataFrame
    scores: dict[str, Any]
    scales: np.ndarray
    """[2], standard deviations of the training rows."""
    info: dict[str, Any]


def table(num_rows: int, seed: int) -> pd.DataFrame:
    """One of two values of a, by chance, and a value of b that is near a line through it."""
    random = np.random.default_rng(seed)
    x = random.uniform(-2, 2, num_rows)
    a = np.sin(2 * x) + random.choice([-0.8, 0.8], num_rows) + 0.15 * random.standard_normal(num_rows)
    return pd.DataFrame({"x": x, "a": a, "b": 2 + 0.8 * a + 0.2 * random.standard_normal(num_rows)})


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    folder = tmp_path_factory.mktemp("chain")
    (folder / "config.yaml").write_text(CONFIG)
    table(400, seed=1).to_csv(folder / "table.csv", index=False)
    fresh = table(NUM_ROWS, seed=2)
    fresh.to_csv(folder / "fresh.csv", index=False)
    run, out = folder / "run", folder / "out"

    def cde(*arguments: object) -> Any:
        with pytest.MonkeyPatch.context() as patch, (folder / "stdout").open("w+") as stdout:
            patch.setattr("sys.stdout", stdout)
            assert main([str(argument) for argument in arguments]) == 0
            stdout.seek(0)
            return stdout.read()

    train(folder / "config.yaml", "--out", run, "--quiet")
    cde("predict", run, folder / "fresh.csv", "--out", out, "--samples", NUM_DRAWS, "--quiet")
    trained = np.load(run / "split.npz")["train"]
    return Predicted(
        fresh[TARGETS].to_numpy(),
        pd.read_csv(out / "samples.csv")[TARGETS].to_numpy().reshape(NUM_ROWS, NUM_DRAWS, 2),
        pd.read_csv(out / "summary.csv", float_precision="round_trip"),
        json.loads(cde("evaluate", run, folder / "fresh.csv", "--json")),
        pd.read_csv(folder / "table.csv")[TARGETS].to_numpy()[trained].std(0),
        json.loads(cde("info", run, "--json")),
    )


def energy_scores(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return E||Y - y|| - E||Y - Y'|| / 2, means over the rows, from each batch of draws [N, S, P] by itself."""
    means = []
    for batch in np.split(draws, NUM_BATCHES, axis=1):
        size = batch.shape[1]
        from_truth = np.linalg.norm(batch - truth[:, None], axis=-1).mean()
        between = np.linalg.norm(batch[:, :, None] - batch[:, None], axis=-1).sum((1, 2)) / (size * (size - 1))
        means.append(from_truth - between.mean() / 2)
    return np.array(means)


def within_rows(draws: np.ndarray) -> np.ndarray:
    """Return the correlation of the targets in each row, [N]."""
    centred = draws - draws.mean(1, keepdims=True)
    return centred.prod(-1).mean(1) / centred.std(1).prod(-1)


def shuffled(draws: np.ndarray) -> np.ndarray:
    """Give each draw of a another draw's b of its row: the same margins, and nothing between them."""
    order = np.random.default_rng(3).permutation(draws.shape[1])
    return np.stack([draws[:, :, 0], draws[:, order, 1]], axis=-1)


def test_the_default_for_several_targets_is_a_chain_and_it_learns(predicted: Predicted) -> None:
    assert len(predicted.info["trainings"]) == 2, "a model for each target"
    skill = predicted.scores["skill"]["linear_gaussian"]
    for score in ("nlpd", "crps", "energy_score"):
        assert skill[score]["value"] > STANDARD_ERRORS * skill[score]["se"]


def test_means_and_quantiles_are_those_of_the_draws(predicted: Predicted) -> None:
    for p, target in enumerate(TARGETS):
        draws = predicted.draws[:, :, p]
        mean, sd = (predicted.summary[f"{target}_{name}"].to_numpy() for name in ("mean", "sd"))
        # Of 800 means and 2400 shares one in some 500 runs is more than five standard errors off.
        off = np.abs(draws.mean(1) - mean) / (sd / np.sqrt(NUM_DRAWS))
        assert off.max() < 5
        assert np.abs(draws.mean(1) - mean[::-1]).max() > 5 * sd.max() / np.sqrt(NUM_DRAWS), "the control: other rows"
        for level in (0.05, 0.5, 0.95):
            quantile = predicted.summary[f"{target}_q{100 * level:02.0f}"].to_numpy()
            share = (draws < quantile[:, None]).mean(1)
            assert (np.abs(share - level) < 5 * np.sqrt(level * (1 - level) / NUM_DRAWS)).all()


def test_the_scores_are_those_of_the_densities_and_of_the_draws(predicted: Predicted) -> None:
    log_density = predicted.summary["log_density"]
    assert predicted.scores["nlpd"]["value"] == pytest.approx(-log_density.mean(), rel=1e-9)
    for p, target in enumerate(TARGETS):
        estimates = energy_scores(predicted.draws[:, :, [p]], predicted.truth[:, [p]])
        error = STANDARD_ERRORS * estimates.std() / np.sqrt(NUM_BATCHES)
        stated = predicted.scores["crps"]["per_target"][target]["value"]
        assert abs(estimates.mean() - stated) < error
        assert abs(1.1 * estimates.mean() - stated) > error, "the control"


def test_targets_move_together_in_the_draws_as_in_the_table_and_the_energy_score_sees_it(predicted: Predicted) -> None:
    # Given x, a has the variance 0.8^2 + 0.15^2, and b is 0.8 a and a noise of variance 0.2^2.
    variance = 0.8**2 + 0.15**2
    truth = 0.8 * np.sqrt(variance / (0.8**2 * variance + 0.2**2))
    assert within_rows(predicted.draws).mean() == pytest.approx(truth, abs=0.05)
    apart = shuffled(predicted.draws)
    assert abs(within_rows(apart).mean()) < 0.05
    stated = predicted.scores["energy_score"]["value"]
    for draws, agrees in ((predicted.draws, True), (apart, False)):
        estimates = energy_scores(draws / predicted.scales, predicted.truth / predicted.scales)
        # What is stated is an estimate too, from 256 draws of its own.
        error = STANDARD_ERRORS * estimates.std() / np.sqrt(NUM_BATCHES) * np.sqrt(1 + NUM_DRAWS / 256)
        assert (abs(estimates.mean() - stated) < error) == agrees
