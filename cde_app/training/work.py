"""One training as a unit of work: data that any process can run. Importing this module loads no TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from cde_app.config import Config, Latent
from cde_app.encoder_spec import MakeEncoder
from cde_app.execution.executor import Worker
from cde_app.machine import interruption
from cde_app.machine.silence import silenced_stderr
from cde_app.machine.threads import of_threads, spread_operations
from cde_app.plan import Plan, Unit
from cde_app.predictive.posterior import Posterior
from cde_app.training.checkpoint import Finished, Unfinished
from cde_app.training.factors import as_member_sees
from cde_app.training.rows import Factor, TrainingData


class Judge(Protocol):
    """Scores a posterior on a training's validation rows; higher is better."""

    def __call__(self, posterior: Posterior, data: TrainingData, *, seed: int) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class MemberTraining:
    """The training of one member of a factor's ensemble."""

    config: Config
    plan: Plan
    unit: Unit
    """Its entry in the plan."""
    factor: Factor
    """With all rows; large arrays are files, which another process maps."""
    current: Unfinished | None = None
    """Its state after an interruption."""
    num_threads: int | None = None
    """Threads that it may use; None leaves that to the process."""
    judge: Judge | None = None
    """Scores a state on the validation rows; None takes the exact mixture's log density."""
    make_encoder: MakeEncoder | None = None
    """Makes an encoder of the user's own in place of the configured one; only in the process that has it."""

    @property
    def name(self) -> str:
        """The target and the member."""
        return self.unit.name

    @property
    def kind(self) -> int:
        """Members of a factor share their compiled step, so a worker had better train several of them."""
        return self.unit.factor

    def open(self) -> Factor:
        """Return what to train on."""
        return as_member_sees(self.factor, self.plan, self.unit.member, seed=self.config.seed)

    def run(self, worker: Worker) -> Finished:
        """Train to the end.

        Raises:
            NumericalError: training still fails numerically after the last retry.
            UsageError: an encoder of the user's own cannot be trained.
            RunError: the interrupted training had another encoder.
        """
        if self.num_threads is not None:
            os.environ.update(of_threads(self.num_threads))
        spread_operations()
        with silenced_stderr():
            from cde_app.training.member import train_member
        interruption.check()
        return train_member(self, worker)


@dataclass(frozen=True)
class PriorCheck:
    """The check of a latent prior, which only TensorFlow Probability can do."""

    latent: Latent
    name: str = "the latent prior"
    kind: str = "prior"

    def run(self, worker: Worker) -> None:
        """Make the prior.

        Raises:
            SettingError: its family or its parameters are invalid.
        """
        spread_operations()
        with silenced_stderr():
            from cde_app.model.prior import build_prior
        build_prior(self.latent)
