"""The `sweep` block: which settings `cde sweep` varies, and what it scores them by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cde_app.config.section import PositiveFloat, PositiveInt, Section
from cde_app.errors import SettingError


class SearchedSetting(Section):
    """The values that a sweep tries for one setting: a range from `low` to `high`, or `choices`."""

    low: int | float | None = None
    """Lowest value of a range. Whether a range has integers only depends on the setting."""
    high: int | float | None = None
    """Highest value of a range."""
    log: bool = False
    """Spread the values of the range evenly over its logarithm."""
    step: PositiveFloat | None = None
    """Distance between the values of the range; null = all numbers, or all integers."""
    choices: tuple[Any, ...] = ()
    """The values to choose from, in place of a range; a value may be a mapping, such as {kind: log}."""

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> SearchedSetting:
        if self.choices:
            unused = [name for name in ("low", "high", "log", "step") if name in self.model_fields_set]
            if unused:
                message = f"expected no {unused[0]} with choices, which are no range; got both. Remove one of them."
                raise SettingError((unused[0],), message, because=("choices",))
            return self
        if self.low is None or self.high is None:
            name = "low" if self.low is None else "high"
            raise SettingError((name,), "expected low and high, or choices; got no value. Add it.", because=())
        if not self.low < self.high:
            message = f"expected a number above low; got {self.high:g} and {self.low:g}. Exchange them."
            raise SettingError(("high",), message)
        if self.log and self.low <= 0:
            message = f"expected a number above 0, as the range is logarithmic; got {self.low:g}. Raise it."
            raise SettingError(("low",), message)
        if self.log and self.step is not None:
            message = f"expected no step in a logarithmic range; got {self.step:g}. Remove one of them."
            raise SettingError(("step",), message)
        return self


class Sweep(Section):
    """The search space of `cde sweep`. A training ignores it."""

    space: dict[str, SearchedSetting]
    """The settings that are varied, by dotted name: training.learning_rate: {low: 0.001, high: 0.1, log: true}."""
    metric: Literal["nlpd", "crps"] = "nlpd"
    """The score of the validation rows that is minimised."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the rows that scores the trials if data.split.validation is auto [fraction]."""
    batch: PositiveInt = 4
    """Trials that are suggested at once, from the results of the earlier batches; how many run at once is --workers."""
    pruner: Literal["median", "successive_halving", "none"] = "median"
    """Ends a trial early whose validation score, in its first training, is worse than those of earlier batches."""

    @model_validator(mode="after")
    def _varies_something(self) -> Sweep:
        if not self.space:
            raise SettingError(("space",), "expected at least one setting; got none. Add one.")
        return self
