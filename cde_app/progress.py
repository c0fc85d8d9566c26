"""What a long command says on its way: one kind of event, from the training loop to the terminal and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """An event. Who passes it on adds what he knows: the loop the step, the session which training it is."""

    stage: str
    message: str = ""
    training: int = 0
    """Which of the run's trainings, from 0."""
    num_trainings: int = 1
    step: int | None = None
    """Steps done; None where no steps are counted."""
    num_taken: int = 0
    """Steps since the event before."""
    max_steps: int | None = None
    bound: float | None = None
    """The objective, mean over the steps taken [nats per row of standardised targets]."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the layers measure, likewise: `<model.latent.name>_local_kl`, KL[q(w | x, y) || p(w)] [nats per row]."""
    validation_score: float | None = None
    """Mean log density of the validation rows [nats per row, user's units]."""
    steps_per_second: float | None = None
    """Since the first steps, which include the compilation; None until then."""
    elapsed_seconds: float = 0.0

    @property
    def which_training(self) -> str:
        """Such as `2 of 4`; empty for one."""
        return f"{self.training + 1} of {self.num_trainings}" if self.num_trainings > 1 else ""

    @property
    def seconds_left(self) -> float | None:
        """To the end of the last training; None where nobody can tell."""
        if self.step is None or self.max_steps is None or not self.steps_per_second:
            return None
        return (self.max_steps * (self.num_trainings - self.training) - self.step) / self.steps_per_second

    def passes(self, every: int) -> bool:
        """Say whether a multiple of `every` lies among the steps taken."""
        return self.step is not None and self.step // every > (self.step - self.num_taken) // every
