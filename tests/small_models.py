"""Small models for the tests of the model and of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cde_app import config
from cde_app.model.build import Model, build_model
from cde_app.predictive.posterior import Posterior
from cde_app.targets import Identity
from cde_app.training.export import export_posterior
from cde_app.training.features import Axis, Features
from cde_app.training.start.model import starting_point
from cde_app.training.tails import fit_defence
from cde_app.training.warm_start import SparseRegression, fit_sparse_regression

NUM_ROWS, NUM_FEATURES = 40, 3
AXES = tuple(Axis(column, 2.0) for column in ("a", "b", "c"))


@dataclass(frozen=True)
class Small:
    """A model on 40 rows of 3 features, with all that it was made of."""

    model: Model
    settings: config.ModelSettings
    regression: SparseRegression
    X: np.ndarray
    Y: np.ndarray

    def posterior(self, *, num_components: int = 16, seed: int = 0) -> Posterior:
        """Export it."""
        transforms = tuple(Identity.fit(column) for column in self.Y.T)
        defence = fit_defence(
            self.regression,
            self.X,
            self.Y,
            transforms,
            noise_floor=np.zeros(self.Y.shape[1]),
            weight=self.settings.defensive_weight,
        )
        return export_posterior(
            self.model, self.settings, transforms, defence, num_components=num_components, seed=seed
        )


def small_model(
    num_targets: int = 1, *, warm: bool = True, noise_floor: float = 0.0, own_encoder: Any = None, **settings: Any
) -> Small:
    """Build a model at its starting point; keywords are settings of `config.ModelSettings`."""
    random = np.random.default_rng(1)
    X = random.standard_normal((NUM_ROWS, NUM_FEATURES))
    signal = np.sin(X @ random.standard_normal((NUM_FEATURES, num_targets)))
    Y = signal + 0.3 * random.standard_normal((NUM_ROWS, num_targets))
    Y = (Y - Y.mean(0)) / Y.std(0)
    output = {"structure": "additive", "num_inducing": 8} | settings.pop("output", {})
    if output["structure"] == "additive":
        output = {"num_inducing_latent": 8} | output
    inner = [{"num_inducing": 6, "num_gps": 2} | layer for layer in settings.pop("layers", [])]
    model = config.ModelSettings.model_validate({"output": output, "layers": inner, **settings})
    warm_start = config.WarmStart(enabled=warm, max_steps=20)
    features = Features(X, AXES)
    regression = fit_sparse_regression(features, Y, warm_start, model.output, seed=0, noise_floor=noise_floor)
    start = starting_point(model, warm_start, regression, features, Y, seed=0, noise_floor=noise_floor)
    built = build_model(model, start, num_features=NUM_FEATURES, seed=0, own_encoder=own_encoder)
    return Small(built, model, regression, X, Y)


def perturb(small: Small, *, seed: int = 7) -> Small:
    """Move every trainable variable a little, so that nothing is zero or one by luck."""
    random = np.random.default_rng(seed)
    for variable in small.model.deep_gp.trainable_variables:
        variable.assign_add(0.1 * random.standard_normal(variable.shape))
    return small
