"""skpro's regressor and distribution: that they answer what a forecast answers, and pass skpro's own checks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("skpro", reason="skpro is not installed; it is an extra that nothing else needs")

from skpro.utils import check_estimator

from cde_app.skpro import CDEProbaRegressor, ForecastDistribution


@pytest.fixture
def distribution() -> ForecastDistribution:
    return ForecastDistribution(**ForecastDistribution.get_test_params()[0])


def test_a_distribution_answers_as_its_forecast_does(distribution: ForecastDistribution) -> None:
    forecast = distribution.forecast
    np.testing.assert_array_equal(distribution.mean(), forecast.mean())
    np.testing.assert_allclose(distribution.var(), forecast.sd() ** 2)
    draws = distribution.sample(2000)
    assert draws.shape == (6000, 2)
    assert not distribution.sample().equals(distribution.sample()), "without a seed it draws anew"
    x = forecast.quantile([0.3])[0]
    np.testing.assert_allclose(distribution.cdf(x), 0.3, atol=1e-9)
    marginals = [one.log_prob(x[:, p]) for p, one in enumerate(forecast.marginals())]
    np.testing.assert_allclose(distribution.log_pdf(x), np.stack(marginals, axis=1))
    np.testing.assert_allclose(distribution.ppf([[0.3, 0.3]]), x)
    assert distribution.ppf([[0.0, 1.0]]).to_numpy()[0].tolist() == [-np.inf, np.inf]
    part = distribution.iloc[[2, 0], [1]]
    np.testing.assert_array_equal(part.mean().to_numpy()[:, 0], forecast.mean()[[2, 0], 1])
    assert part.random_state is None
    assert distribution.iat[1, 0].mean() == forecast.mean()[1, 0]
    with pytest.raises(ValueError, match="iat: expected a row and a column; got one of them"):
        distribution.iat[1]
    seeded = ForecastDistribution(forecast, None, 3, distribution.index, distribution.columns)
    pd.testing.assert_frame_equal(seeded.sample(2), seeded.sample(2))


@pytest.mark.slow
@pytest.mark.parametrize("subject", [ForecastDistribution, CDEProbaRegressor])
def test_it_passes_skpros_own_checks(subject: Any) -> None:
    before = np.random.get_state()  # noqa: NPY002 (the checks draw from the global generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(subject, verbose=False)
    np.random.set_state(before)  # noqa: NPY002
    assert len(results) > 30
    assert {name: result for name, result in results.items() if result != "PASSED"} == {}
