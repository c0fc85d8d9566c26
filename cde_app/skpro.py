"""`CDEProbaRegressor`: a probabilistic regressor for skpro; needs `cde-app[skpro]`.

skpro's interface is frames in and frames out, with the index and the columns of what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from skpro.distributions.base import BaseDistribution
from skpro.regression.base import BaseProbaRegressor

from cde_app.arrays import Array, IntArray
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import Mixture
from cde_app.progress import Progress
from cde_app.sklearn import CDERegressor
from cde_app.targets import Identity

__all__ = ["CDEProbaRegressor", "ForecastDistribution"]


LARGEST = 1e290
"""Transforms saturate beyond it: there the range has no end."""


class ForecastDistribution(BaseDistribution):  # type: ignore[misc]
    """A forecast as a distribution of skpro: every method but `sample` is about each cell by itself.

    Draws are joint over the targets of a row.

    Args:
        forecast: the forecast, of N rows.
        targets: [C], the positions of the targets that the columns are; None for all.
        random_state: the seed of `sample`, which then draws the same every time; None draws anew.
        index: [N], the rows; None with `columns` None for a distribution of one number.
        columns: [C], the columns.

    Example:
        >>> distribution = CDEProbaRegressor().fit(X, y).predict_proba(X_new)  # doctest: +SKIP
        >>> distribution.iloc[:10].log_pdf(y_new.iloc[:10])  # doctest: +SKIP
    """

    _tags = {  # noqa: RUF012 (a ClassVar for skpro)
        "capabilities:exact": ["mean", "var", "pdf", "log_pdf", "cdf", "ppf"],
        "capabilities:approx": ["energy", "pdfnorm"],
        "distr:measuretype": "continuous",
    }

    def __init__(
        self,
        forecast: Forecast,
        targets: list[int] | None = None,
        random_state: int | None = None,
        index: Any = None,
        columns: Any = None,
    ) -> None:
        self.forecast = forecast
        self.targets = targets
        self.random_state = random_state
        self._targets = list(range(forecast.num_targets)) if targets is None else list(targets)
        super().__init__(index=index, columns=columns)

    def _iloc(self, rowidx: Any = None, colidx: Any = None) -> ForecastDistribution:
        rows = np.atleast_1d(np.arange(self.forecast.num_rows)[slice(None) if rowidx is None else rowidx])
        columns = np.atleast_1d(np.arange(len(self._targets))[slice(None) if colidx is None else colidx])
        return self._subset(rows, columns, index=self.index[rows], columns=self.columns[columns])

    def _iat(self, rowidx: Any = None, colidx: Any = None) -> ForecastDistribution:
        if rowidx is None or colidx is None:
            raise ValueError("iat: expected a row and a column; got one of them")
        return self._subset(np.array([rowidx]), np.array([colidx]), index=None, columns=None)

    def _subset(self, rows: IntArray, targets: IntArray, *, index: Any, columns: Any) -> ForecastDistribution:
        """Return the distribution of some rows and columns."""
        positions = [self._targets[column] for column in targets]
        return ForecastDistribution(self.forecast[rows], positions, self.random_state, index=index, columns=columns)

    def _mean(self) -> Array:
        return self._shaped(self.forecast.mean()[:, self._targets])

    def _var(self) -> Array:
        return self._shaped(self.forecast.sd()[:, self._targets] ** 2)

    def _pdf(self, x: Array) -> Array:
        return np.exp(self._log_pdf(x))

    def _log_pdf(self, x: Array) -> Array:
        return self._by_column(x, lambda one, cells: one.log_prob(cells))

    def _cdf(self, x: Array) -> Array:
        return self._by_column(x, lambda one, cells: one.cdf(cells)[:, 0])

    def _ppf(self, p: Array) -> Array:
        return self._by_column(p, _quantiles)

    def _by_column(self, x: Array, ask: Callable[[Forecast, Array], Array]) -> Array:
        """Ask the marginal forecast of each column about its cells."""
        cells = np.reshape(np.asarray(x, float), (self.forecast.num_rows, len(self._targets)))
        marginals = self.forecast.marginals()
        answers = [ask(marginals[target], cells[:, column]) for column, target in enumerate(self._targets)]
        return self._shaped(np.stack(answers, axis=1))

    def _sample(self, n_samples: int | None = None) -> Any:
        seed = self.random_state
        if seed is None:  # skpro's `sample` has no seed, and draws anew each time
            seed = int(np.random.default_rng().integers(2**31 - 1))
        draws = self.forecast.sample(n_samples or 1, seed=seed)[:, :, self._targets]
        if self.ndim == 0:
            return float(draws[0, 0, 0]) if n_samples is None else pd.DataFrame(draws[:, 0])
        frames = [pd.DataFrame(draw, index=self.index, columns=self.columns) for draw in draws]
        return frames[0] if n_samples is None else pd.concat(frames, keys=range(n_samples))

    def _shaped(self, values: Array) -> Array:
        """Return cells, [N, C], in the shape of the distribution, which may be a single number."""
        return np.reshape(values, self.shape)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters of instances for skpro's checks."""
        random = np.random.default_rng(0)
        transforms = (Identity(location=0.0, scale=1.0), Identity(location=2.0, scale=3.0))
        forecast = Mixture(np.array([0.4, 0.6]), random.normal(size=(3, 2, 2)), np.full((3, 2, 2), 0.3), transforms)
        whole = {"forecast": forecast, "index": pd.RangeIndex(3), "columns": pd.Index(["a", "b"])}
        return [whole, {"forecast": forecast[:1], "targets": [1], "random_state": 3}]


class CDEProbaRegressor(BaseProbaRegressor):  # type: ignore[misc]
    """Learn how the targets are distributed, given the features; see `cde_app.sklearn.CDERegressor`.

    Args:
        settings: settings that replace the defaults, nested or dotted, as for `cde_app.train`.
        random_state: the seed of the training, and of `sample` of what is predicted; None trains with that of the
            settings and draws anew each time.
        on_event: is called with the events of the training.

    Attributes:
        regressor_: the fitted `CDERegressor`.

    Example:
        >>> regressor = CDEProbaRegressor(settings={"training.max_steps": 300})  # doctest: +SKIP
        >>> regressor.fit(X, y).predict_interval(X_new, coverage=0.9)  # doctest: +SKIP
    """

    _tags = {  # noqa: RUF012
        "capability:multioutput": True,
        "capability:missing": True,
    }

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        random_state: int | None = None,
        on_event: Callable[[Progress], None] | None = None,
    ) -> None:
        self.settings = settings
        self.random_state = random_state
        self.on_event = on_event
        super().__init__()

    def _fit(self, X: pd.DataFrame, y: pd.DataFrame) -> Self:
        regressor = CDERegressor(settings=self.settings, random_state=self.random_state, on_event=self.on_event)
        self.regressor_ = regressor.fit(_with_text_names(X), y)
        self._columns_of_y = y.columns
        return self

    def _predict_proba(self, X: pd.DataFrame) -> ForecastDistribution:
        forecast = self.regressor_.predict_distribution(_with_text_names(X))
        return ForecastDistribution(forecast, None, self.random_state, index=X.index, columns=self._columns_of_y)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters of instances for skpro's checks: small models."""
        quick = {
            "training": {"max_steps": 10, "ensemble": 1, "warm_start.max_steps": 10, "calibration.enabled": False},
            "model": {"layers": [], "output": {"num_inducing": 10}, "neighbours.enabled": False},
            "predict.num_components": 8,
        }
        return [{"settings": quick}, {"settings": quick, "random_state": 3}]


def _with_text_names(X: pd.DataFrame) -> pd.DataFrame:
    """Name the columns by text; skpro allows numbers and text side by side, and scikit-learn does not."""
    return X.set_axis([str(name) for name in X.columns], axis=1)


def _quantiles(one: Forecast, levels: Array) -> Array:
    """Return the quantile of each row at its own level, [N]; at 0 and 1 the ends of the range, NaN outside."""
    ends = one.transforms[0].inverse([-np.inf, np.inf])
    low, high = np.where(np.abs(ends) < LARGEST, ends, [-np.inf, np.inf])
    found = np.where(levels == 0, low, np.where(levels == 1, high, np.nan))
    for level in np.unique(levels[(levels > 0) & (levels < 1)]):
        rows = np.flatnonzero(levels == level)
        found[rows] = one[rows].quantile([level])[0, :, 0]
    return found
