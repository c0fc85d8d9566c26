"""`CDERegressor`: a scikit-learn regressor that also knows quantiles, draws and densities; needs `cde-app[sklearn]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

from cde_app.arrays import Array
from cde_app.data.frame import frame_of, is_frame, with_columns
from cde_app.library import train
from cde_app.predictive.forecast import Forecast
from cde_app.progress import Progress
from cde_app.words import flatten

__all__ = ["CDERegressor", "log_density_scorer"]

_DEFAULTS: dict[str, Any] = {
    "data.split": {"kind": "random", "test": 0.0},  # what fit is given is for training; scores are the caller's
    "data.missing": {"kind": "impute_with_indicator"},  # a row to predict may have gaps though those of fit had none
}


class CDERegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Learn how the targets are distributed, given the features.

    `predict` returns the mean of the distribution, and `score` is R2 of that mean, as for every regressor, so that it
    can be compared with others. It says nothing about the rest of the distribution: compare settings by
    `mean_log_density`, in searches with `scoring=log_density_scorer`.

    The columns of an array are numbers. Those of a frame get the kinds that their cells look like: numbers, labels or
    dates; row numbers, constants and the like are left out, as by `cde init`. NaN is a gap.

    Args:
        settings: settings that replace the defaults, nested or dotted, as for `cde_app.train`. Unless they have
            `data.split`, no row is held out for scores.
        random_state: the seed of the training and of `sample`; None takes that of the settings, so that the result is
            always the same.
        on_event: is called with the events of the training.

    Attributes:
        model_: the `TrainedModel`.
        target_names_: the targets, as the model names them.
        n_features_in_, feature_names_in_: as in every estimator.

    Example:
        model = CDERegressor(settings={"training.max_steps": 300}).fit(X, y)
        low, high = model.predict_quantiles(X, [0.05, 0.95]).T
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        on_event: Callable[[Progress], None] | None = None,
    ) -> None:
        self.settings = settings
        self.random_state = random_state
        self.on_event = on_event

    def fit(self, X: Any, y: Any) -> Self:
        """Train on N rows.

        Args:
            X: [N, D], an array or a frame.
            y: [N] or [N, P], numbers.

        Raises:
            CdeError: the settings or the table do not fit, or the training failed.
            ValueError: X or y is no table of numbers.
        """
        if is_frame(X):
            validate_data(self, X, skip_check_array=True)
            _, targets = check_X_y(np.zeros((len(X), 1)), y, multi_output=True, y_numeric=True, estimator=self)
            inputs = None
            table = with_columns(X, self._columns())
        else:
            X, targets = validate_data(
                self,
                X,
                y,
                dtype=np.float64,
                ensure_all_finite="allow-nan",
                ensure_min_samples=2,
                multi_output=True,
                y_numeric=True,
            )
            inputs = [{"column": name, "kind": "numeric"} for name in self._columns()]
            table = frame_of(dict(zip(self._columns(), X.T, strict=True)))
        self._has_one_target = targets.ndim == 1
        values = np.asarray(targets, np.float64).reshape(len(targets), -1)
        self.target_names_ = _target_names(y, values.shape[1], taken=list(table.columns))
        table = table.assign(**dict(zip(self.target_names_, values.T, strict=True)))
        on_event = self.on_event or (lambda event: None)
        self.model_ = train(
            table, self.target_names_, inputs, settings=self._settings(), on_event=on_event, executor="serial"
        )  # searches and scores fit many small models, and run them side by side themselves
        return self

    def predict(self, X: Any) -> Array:
        """Return the mean of each row's distribution, in the shape of the y that was fitted."""
        return self._shaped(self.predict_distribution(X).mean())

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """Return the quantiles of each row's distribution, [N, L], or [N, P, L] if y had two dimensions.

        Args:
            X: N rows.
            quantiles: [L], levels between 0 and 1.
        """
        return self._shaped(np.moveaxis(self.predict_distribution(X).quantile(quantiles), 0, -1))

    def predict_distribution(self, X: Any) -> Forecast:
        """Return the distributions of N rows, with densities, intervals, probabilities, quantiles and draws."""
        check_is_fitted(self)
        if is_frame(X):
            validate_data(self, X, reset=False, skip_check_array=True)
            return self.model_.predict(with_columns(X, self._columns()))
        X = validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        return self.model_.predict(frame_of(dict(zip(self._columns(), X.T, strict=True))))

    def sample(self, X: Any, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> Array:
        """Draw from each row's distribution, [N, S], or [N, P, S] if y had two dimensions: joint over the targets.

        Args:
            X: N rows.
            n_samples: S.
            random_state: the seed; None takes that of the estimator.
        """
        seed = self._seed(self.random_state if random_state is None else random_state)
        if seed is None:
            seed = self.model_.settings["seed"]
        draws = self.predict_distribution(X).sample(n_samples, seed=seed)
        return self._shaped(np.moveaxis(draws, 0, -1))

    def mean_log_density(self, X: Any, y: Any) -> float:
        """Return the mean of log p(y | x) over the rows [nats, per product of the targets' units]; higher is better."""
        forecast = self.predict_distribution(X)
        targets = np.asarray(y, np.float64).reshape(len(forecast), -1)
        return float(forecast.log_prob(targets).mean())

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        return tags

    def _columns(self) -> list[str]:
        """Return the names of the features; those of an array are x0, x1, ..."""
        names = getattr(self, "feature_names_in_", None)
        return [f"x{index}" for index in range(self.n_features_in_)] if names is None else [str(name) for name in names]

    def _settings(self) -> Any:
        """Return the settings of the training; the caller's come after the defaults."""
        own: Any = {} if self.settings is None else self.settings
        if not isinstance(own, Mapping):
            return own  # which the training refuses
        named = {key for key, _ in flatten(own)}
        defaults = {key: value for key, value in _DEFAULTS.items() if not any(f"{k}.".startswith(key) for k in named)}
        seed = self._seed(self.random_state)
        return {**defaults, **own, **({} if seed is None else {"seed": seed})}

    @staticmethod
    def _seed(random_state: int | np.random.RandomState | None) -> int | None:
        """Return a random state as a seed."""
        if random_state is None or isinstance(random_state, int | np.integer):
            return None if random_state is None else int(random_state)
        return int(check_random_state(random_state).randint(2**31 - 1))

    def _shaped(self, values: Array) -> Array:
        """Leave the axis of the targets out, the second, if y had none."""
        return values[:, 0] if self._has_one_target else values


def log_density_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Score a fitted `CDERegressor`, or a pipeline that ends with one, by `mean_log_density`.

    Example:
        GridSearchCV(CDERegressor(), {"settings": [{}, {"model.latent.dim": 0}]}, scoring=log_density_scorer)
    """
    if isinstance(estimator, Pipeline):
        X, estimator = estimator[:-1].transform(X), estimator[-1]
    return float(estimator.mean_log_density(X, y))


def _target_names(y: Any, num_targets: int, *, taken: Sequence[str]) -> list[str]:
    """Return the names that y has, if it is a series or a frame; else y, or y0, y1, ...; other than the features'."""
    columns = getattr(y, "columns", [getattr(y, "name", None)])
    names = list(columns) if all(isinstance(name, str) and name for name in columns) else []
    if len(names) != num_targets or len(set(names)) != num_targets:
        names = ["y"] if num_targets == 1 else [f"y{index}" for index in range(num_targets)]
    found: list[str] = []
    for name in names:
        while name in taken or name in found:
            name += "_"
        found.append(name)
    return found
