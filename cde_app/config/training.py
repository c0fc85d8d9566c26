"""The `training` block: how the model is fitted."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from cde_app.config.section import PositiveFloat, PositiveInt, Section
from cde_app.errors import SettingError

SMALL_TABLE, LARGE_TABLE = 2000, 20_000
"""Numbers of training rows. A table below the first trains in seconds and needs every row. A table from the second on
can spare a tenth of its rows. Splits count the rows that may become validation rows too."""
FEWEST_JUDGES = 200
"""Fewest left-out rows that may choose the step of a member."""
FEWEST_KEPT_OUT = 39
"""Fewest rows for a map of probabilities: four of them are then expected beyond the levels 0.1 and 0.9."""
FEW_ROWS, MUCH_NOISE, FULL_KL, LIGHT_KL = 500, 0.15, 1.0, 0.3
"""The KL has its full weight where a training has few rows and the warm start finds much noise in the targets."""
NATURAL_STEP = 0.05
"""The natural step where a batch has all rows."""


class PredictiveObjective(Section):
    """The log predictive density under q, with the GP variance inside the density. Not a bound on log p(y | x)."""

    kind: Literal["predictive"] = "predictive"
    num_samples: PositiveInt = 5
    """Latent draws K per row."""
    kl_weight: PositiveFloat | Literal["auto"] = "auto"
    """Weight of KL[q(u) || p(u)]; auto = 0.3, or 1 below 500 rows per training with warm-start noise above 0.15."""


class ImportanceWeightedObjective(Section):
    """The importance-weighted bound (Salimbeni et al. 2019)."""

    kind: Literal["importance_weighted"] = "importance_weighted"
    num_samples: PositiveInt = 5
    """Importance samples K per row."""
    kl_weight: PositiveFloat = 1.0
    """Weight of KL[q(u) || p(u)]; 1 is the bound."""
    encoder_gradient: Literal["plain", "doubly_reparameterised"] = "plain"
    """Gradient of the encoder (Rudner et al. 2021)."""


class ELBOObjective(Section):
    """The evidence lower bound (Dutordoir et al. 2018)."""

    kind: Literal["elbo"] = "elbo"
    num_samples: PositiveInt = 1
    """Latent draws per row."""
    kl_weight: PositiveFloat = 1.0
    """Weight of KL[q(u) || p(u)]; 1 is the bound."""


Objective = PredictiveObjective | ImportanceWeightedObjective | ELBOObjective


class WarmStart(Section):
    """A sparse GP regression that is fitted first and initialises every layer."""

    enabled: bool = True
    """false = start from k-means inducing inputs and unit hyperparameters."""
    max_steps: PositiveInt = 100
    """L-BFGS iterations."""
    max_rows: PositiveInt = 2000
    """Rows used to fit the hyperparameters; q(u) uses all rows."""
    latent_share: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Share of the warm start's noise variance that w explains at the start [fraction]."""


class NaturalGradient(Section):
    """Natural gradient steps for the output layer's q(u)."""

    enabled: bool = True
    """false = Adam for q(u) too."""
    step_size: PositiveFloat | Literal["auto"] = "auto"
    """Step size after 20 steps of warm-up; auto = 0.05 * batch size / rows per training."""
    trust_radius: PositiveFloat = 3.0
    """Largest relative change of the precision in one step."""


class EarlyStopping(Section):
    """Keep the state with the best validation log density of the exact mixture."""

    enabled: bool = True
    """Needs validation rows, or at least 200 left-out rows per member; otherwise the last state is kept."""
    every: PositiveInt = 100
    """Steps between validation scores."""
    patience: PositiveInt = 1000
    """Steps without a better score before training stops."""


LeftOut = Annotated[float, Field(ge=0, lt=1)] | Literal["auto"]


class WidthCalibration(Section):
    """Adjusts the width of the densities on rows the training has not seen: validation rows or left-out rows."""

    share_kept_out: ClassVar[float] = 0.0
    kind: Literal["width"] = "width"
    enabled: bool = True
    """false = keep the densities as trained."""
    left_out: LeftOut = "auto"
    """Share a member leaves out if no rows validate; auto = 0.1; 0 from 20,000 rows on, or below 2000 if alone."""


class ConformalCalibration(Section):
    """Adjusts the width, and then maps the probabilities on rows kept out of everything else: intervals cover."""

    enabled: ClassVar[bool] = True
    kind: Literal["conformal"] = "conformal"
    kept_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of rows (or groups) for the map, besides test and validation [fraction]."""
    by: str | None = None
    """An input with labels, for a map of each label's own; null = one map."""
    left_out: LeftOut = "auto"
    """As in the width calibration."""

    @property
    def share_kept_out(self) -> float:
        """The share of the rows that are kept out for a map."""
        return self.kept_out


class AutoCalibration(ConformalCalibration):
    """As the conformal calibration, but maps only the targets whose held-out log density gains."""

    kind: Literal["auto"] = "auto"  # type: ignore[assignment]


CalibrationSettings = WidthCalibration | ConformalCalibration | AutoCalibration


class Training(Section):
    """How the model is fitted. "Rows per training" are the training rows minus the left-out rows."""

    loop: Literal["cde", "gpflux"] = "cde"
    """Training loop: cde, or GPflux's own training model under Keras's fit (elbo only, Adam for everything)."""
    objective: Objective = Field(default=PredictiveObjective(), discriminator="kind")
    """Objective that training maximises."""
    max_steps: PositiveInt | Literal["auto"] = "auto"
    """Steps; auto = 300 below 500 rows per training, 700 below 5000, else 1300."""
    batch_size: PositiveInt | Literal["auto", "full"] = "auto"
    """Rows per step (at most all); auto = 256 below 2000 rows per training, else 512."""
    learning_rate: PositiveFloat = 0.03
    """Adam's step size after 50 steps of warm-up; decays to zero along a cosine."""
    inducing_rate: PositiveFloat = 0.5
    """Step size of the inducing inputs, as a multiple of the learning rate."""
    clip_norm: PositiveFloat = 10.0
    """Adam's gradient is clipped to this global norm."""
    ensemble: PositiveInt | Literal["auto"] = "auto"
    """Trainings to average; auto = 4 below 2000 training rows, 2 below 20,000 if no rows validate, else 1."""
    warm_start: WarmStart = WarmStart()
    natural_gradient: NaturalGradient = NaturalGradient()
    early_stopping: EarlyStopping = EarlyStopping()
    calibration: CalibrationSettings = Field(default=WidthCalibration(), discriminator="kind")
    checkpoint_every: PositiveInt = 200
    """Steps between checkpoints."""

    @field_validator("calibration", mode="before")
    @classmethod
    def _earlier_runs_have_one_kind(cls, value: Any) -> Any:
        return {"kind": "width", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _gpflux_can_do_it(self) -> Training:
        objective, needed, got = self.objective, [], []
        wanted = {"kind": "elbo"} if objective.kind != "elbo" else {"num_samples": 1, "kl_weight": 1}
        for key, value in wanted.items():
            if (present := getattr(objective, key)) != value:
                needed.append(f"objective.{key} {value!r}")
                got.append(repr(present))
        if self.natural_gradient.enabled:
            needed.append("natural_gradient.enabled false")
            got.append("true")
        if self.inducing_rate != 1:
            needed.append("inducing_rate 1")
            got.append(f"{self.inducing_rate:g}")
        if self.loop == "gpflux" and needed:
            raise SettingError(
                ("loop",),
                f"expected {', '.join(needed)} with the loop 'gpflux', which is GPflux's own training; "
                f"got {', '.join(got)}. Set that, or take the loop 'cde'.",
            )
        return self

    def resolved_max_steps(self, num_rows: int) -> int:
        """Return the steps of a training on `num_rows` rows, left-out rows excluded."""
        if self.max_steps == "auto":
            return 300 if num_rows < 500 else 700 if num_rows < 5000 else 1300
        return self.max_steps

    def resolved_batch_size(self, num_rows: int) -> int:
        """Return the rows per step of a training on `num_rows` rows, at most all of them."""
        match self.batch_size:
            case "auto":
                return min(256 if num_rows < SMALL_TABLE else 512, num_rows)
            case "full":
                return num_rows
            case size:
                return min(size, num_rows)

    def resolved_natural_step(self, num_rows: int) -> float:
        """Return the size of the natural steps of a training on `num_rows` rows, left-out rows excluded."""
        if self.natural_gradient.step_size != "auto":
            return self.natural_gradient.step_size
        # The gradient's noise grows with the rows over those of a batch, so the step shrinks with it.
        return NATURAL_STEP * self.resolved_batch_size(num_rows) / num_rows

    def kl_depends_on_noise(self, num_rows: int) -> bool:
        """Return whether the warm start decides about the weight of the KL in a training on `num_rows` rows."""
        return self.objective.kl_weight == "auto" and num_rows < FEW_ROWS

    def resolved_kl_weight(self, num_rows: int, *, noise: float) -> float:
        """Return the weight of KL[q(u) || p(u)] in a training on `num_rows` rows, left-out rows excluded.

        Args:
            num_rows: rows per training.
            noise: the warm start's noise variance, the mean over standardised targets.
        """
        if self.objective.kl_weight != "auto":
            return self.objective.kl_weight
        return FULL_KL if self.kl_depends_on_noise(num_rows) and noise > MUCH_NOISE else LIGHT_KL

    def resolved_ensemble(self, num_rows: int, *, num_validation_rows: int) -> int:
        """Return the number of trainings for `num_rows` training rows, left-out rows included."""
        if self.ensemble != "auto":
            return self.ensemble
        if num_rows < SMALL_TABLE:
            return 4
        return 2 if num_rows < LARGE_TABLE and not num_validation_rows else 1

    def resolved_left_out(self, num_rows: int, *, num_validation_rows: int) -> int:
        """Return how many training rows each member of the ensemble leaves out; at least two remain."""
        share, is_large = self.calibration.left_out, num_rows >= SMALL_TABLE
        if num_validation_rows or not (self.calibration.enabled or (self.early_stopping.enabled and is_large)):
            return 0
        if share == "auto":
            has_others = 1 < self.resolved_ensemble(num_rows, num_validation_rows=0) < num_rows
            share = 0.1 if (has_others or is_large) and num_rows < LARGE_TABLE else 0.0
        return min(round(share * num_rows), max(num_rows - 2, 0))

    def validates(self, *, num_validation_rows: int, num_left_out: int) -> bool:
        """Return whether rows that a training has not seen choose its step."""
        return self.early_stopping.enabled and (num_validation_rows > 0 or num_left_out >= FEWEST_JUDGES)
