"""What a long command reports as it runs: one kind of event, from the training loop to the terminal and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpflux.models import DeepGP


@dataclass(frozen=True)
class Progress:
    """An event. Each level adds what it knows: the loop adds the step, the session adds which training it is."""

    stage: str
    message: str = ""
    unit: str = ""
    """Which of several trainings side by side, such as `fold-2`; empty if there is only one."""
    training: int = 0
    """Which of the run's trainings, from 0."""
    num_trainings: int = 1
    step: int | None = None
    """Steps done; None if no steps are counted."""
    num_taken: int = 0
    """Steps since the previous event."""
    max_steps: int | None = None
    noun: str = "step"
    """What is counted."""
    bound: float | None = None
    """Mean objective over those steps [nats per row of standardised targets]."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Means of the layers' metrics: `<model.latent.name>_local_kl`, KL[q(w | x, y) || p(w)] [nats per row]."""
    validation_score: float | None = None
    """Mean log density of the validation rows [nats per row, user's units]."""
    retries: int = 0
    """How often steps of this training have failed and were taken again, smaller."""
    steps_per_second: float | None = None
    """Speed after the first steps, which include the compilation; None until then."""
    elapsed_seconds: float = 0.0
    seconds_left: float | None = None
    """Estimated time to the end of the last training; None if unknown."""
    deep_gp: DeepGP | None = field(default=None, repr=False, compare=False)
    """The GPflux model after these steps; None if no steps are counted, or if another process has it. It is live: the
    next steps change it, and the next training may use it too. Read it in the callback, and change nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model in its process; the rest may be sent to another."""
        return vars(self) | {"deep_gp": None}

    @property
    def which_training(self) -> str:
        """Such as `2 of 4`; empty if there is only one."""
        return f"{self.training + 1} of {self.num_trainings}" if self.num_trainings > 1 else ""

    def passes(self, every: int) -> bool:
        """Return whether a multiple of `every` is among the steps since the previous event."""
        return self.step is not None and self.step // every > (self.step - self.num_taken) // every
