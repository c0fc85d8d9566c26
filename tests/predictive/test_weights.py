"""A mixture whose rows have weights of their own answers as its rows do one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cde_app.predictive import crps
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.targets import TargetTransform
from tests.transforms import EXAMPLES

QUESTIONS: dict[str, Callable[[Forecast, np.ndarray], np.ndarray]] = {
    "log_prob": lambda forecast, y: forecast.log_prob(y),
    "log_prob_at": lambda forecast, y: forecast.log_prob_at(y[:1]),
    "cdf": lambda forecast, y: forecast.cdf(y),
    "quantile": lambda forecast, y: forecast.quantile([1e-6, 0.3, 0.99]).swapaxes(0, 1),
    "mean": lambda forecast, y: forecast.mean(),
    "sd": lambda forecast, y: forecast.sd(),
    "covariance": lambda forecast, y: forecast.covariance(),
    "crps": lambda forecast, y: forecast.crps(y),
    "probability": lambda forecast, y: forecast.probability(above=y[0, 0], target=0),
}


def make_mixtures(transform: TargetTransform, *, correlated: bool, num_components: int = 5) -> Mixture:
    random = np.random.default_rng(0)
    means = random.normal(size=(6, num_components, 2))
    sds = random.uniform(0.2, 0.6, size=means.shape)
    correlation = np.array([[1.0, 0.5], [0.5, 1.0]])
    covariances = correlation * sds[..., :, None] * sds[..., None, :] if correlated else None
    weights = random.dirichlet(np.ones(num_components), size=6)
    weights[2] = np.eye(num_components)[1]
    return Mixture(weights, means, sds**2, (transform, EXAMPLES["identity"]), covariances)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("transform", [EXAMPLES["identity"], EXAMPLES["log"]], ids=["identity", "log"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_row_answers_as_it_does_alone(name: str, transform: TargetTransform, *, correlated: bool) -> None:
    mixture, ask = make_mixtures(transform, correlated=correlated), QUESTIONS[name]
    y = mixture.sample(1, seed=1)[0]
    one_by_one = [
        Mixture(
            mixture.weights[n],
            mixture.means[[n]],
            mixture.variances[[n]],
            mixture.transforms,
            None if mixture.covariances is None else mixture.covariances[[n]],
        )
        for n in range(6)
    ]
    expected = [
        ask(one, np.vstack([y[[0 if name in ("log_prob_at", "probability") else n]]]))
        for n, one in enumerate(one_by_one)
    ]
    np.testing.assert_allclose(ask(mixture, y), np.concatenate(expected), rtol=1e-10, atol=1e-14)


def test_pairs_of_many_components_have_the_sum_that_panels_have(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = make_mixtures(EXAMPLES["identity"], correlated=False, num_components=120)
    y = mixture.sample(1, seed=1)[0]
    by_panels = mixture.crps(y)
    monkeypatch.setattr(crps, "MANY_COMPONENTS", 1000)
    np.testing.assert_allclose(mixture.crps(y), by_panels, rtol=1e-6)


def test_draws_choose_components_with_the_weights_of_their_row() -> None:
    mixture = make_mixtures(EXAMPLES["identity"], correlated=False)
    draws = mixture.sample(20_000, seed=2)
    standard_errors = mixture.sd() / np.sqrt(20_000)
    assert np.all(np.abs(draws.mean(0) - mixture.mean()) < 4.5 * standard_errors)
    shared = Mixture(mixture.weights[0], mixture.means, mixture.variances, mixture.transforms)
    assert np.any(np.abs(draws.mean(0) - shared.mean()) > 10 * standard_errors), "the control"
    chunk = mixture[2:5].sample(20_000, seed=2, rows=np.arange(2, 5))
    np.testing.assert_array_equal(chunk, draws[:, 2:5])
