"""The whole configuration, and the rules between its blocks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cde_app.config.data import Data
from cde_app.config.model import ModelSettings
from cde_app.config.predict import Predict
from cde_app.config.section import Section
from cde_app.config.sweep import Sweep
from cde_app.config.threshold import parse_threshold
from cde_app.config.training import Training
from cde_app.errors import SettingError
from cde_app.words import list_names


class Config(Section):
    """The whole configuration."""

    schema_version: Literal[1]
    """Version of the format of this file."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random draw."""
    data: Data
    model: ModelSettings = ModelSettings()
    training: Training = Training()
    predict: Predict = Predict()
    sweep: Sweep | None = None
    """What `cde sweep` searches; null = nothing."""

    @model_validator(mode="after")
    def _chain_has_every_target(self) -> Config:
        order, names = self.model.chain_order, [target.column for target in self.data.targets]
        if order and sorted(order) != sorted(names):
            message = f"expected each target once, of {names}; got {list(order)}. Correct it."
            raise SettingError(("model", "chain_order"), message)
        return self

    @model_validator(mode="after")
    def _predictions_are_of_targets(self) -> Config:
        names = [target.column for target in self.data.targets]
        given = self.predict.given
        if given and (len(set(given)) < len(given) or not set(given) < set(names)):
            message = f"expected some of the targets {list_names(names)}, each once, but not all; got {list(given)}."
            raise SettingError(("predict", "given"), f"{message} Correct it.")
        if given and (self.predict.total or self.predict.total_by is not None):
            message = (
                f"expected no totals with predict.given, which they do not know; got given {list(given)}. Choose one."
            )
            raise SettingError(("predict", "total"), message, because=("predict", "given"))
        free = [name for name in names if name not in self.predict.given]
        for index, text in enumerate(self.predict.thresholds):
            try:
                parse_threshold(text, free)
            except ValueError as error:
                raise SettingError(("predict", "thresholds", index), str(error)) from None
        return self

    @model_validator(mode="after")
    def _maps_are_by_an_input(self) -> Config:
        by, names = getattr(self.training.calibration, "by", None), [column.column for column in self.data.inputs]
        if by is not None and by not in names:
            message = f"expected one of the inputs {list_names(names)}; got {by!r}. Correct it, or add the input."
            raise SettingError(("training", "calibration", "by"), message)
        return self

    @model_validator(mode="after")
    def _mapped_probabilities_are_of_single_rows(self) -> Config:
        asked = [key for key in ("given", "total", "total_by") if getattr(self.predict, key)]
        if asked and self.training.calibration.kind == "conformal":
            message = (
                f"expected {'no targets' if asked[0] == 'given' else 'no totals'} with training.calibration.kind "
                f"'conformal', whose maps are of each target of each row; got {getattr(self.predict, asked[0])!r}. "
                "Remove it, or set the kind to width."
            )
            raise SettingError(("predict", asked[0]), message, because=("training", "calibration", "kind"))
        return self

    @model_validator(mode="after")
    def _mixing_has_targets_to_mix(self) -> Config:
        model, num_targets = self.model, len(self.data.targets)
        if model.output.mixing is not None and model.targets_model == "chain" and num_targets > 1:
            raise SettingError(
                ("model", "output", "mixing"),
                "expected null in a chain, each model of which has a target of its own; got "
                f"{{num_latent_gps: {model.output.mixing.num_latent_gps}}} and {num_targets} targets. "
                "Set model.targets_model to joint.",
            )
        return self

    @model_validator(mode="after")
    def _per_row_sees_every_row(self) -> Config:
        latent, batch_size = self.model.latent, self.training.batch_size
        if latent.dim and latent.encoder.kind == "per_row" and batch_size != "full":
            raise SettingError(
                ("training", "batch_size"),
                "expected 'full', as model.latent.encoder 'per_row' has parameters for all rows in their order; "
                f"got {batch_size!r}. Set it to full, or choose the encoder 'mlp'.",
                because=("model", "latent", "encoder"),
            )
        return self

    @model_validator(mode="after")
    def _gpflux_passes_no_x_to_the_noise(self) -> Config:
        if self.training.loop == "gpflux" and self.model.likelihood.needs_x:
            raise SettingError(
                ("model", "likelihood"),
                "expected 'gaussian' or 'student_t' with training.loop 'gpflux', as GPflux passes no x to its "
                f"likelihood; got {self.model.likelihood.kind!r}. Choose one of them, or the loop 'cde'.",
                because=("training", "loop"),
            )
        return self
