"""What a run will train, from sizes only: which trainings, on how many rows, for how many steps."""

from __future__ import annotations

from dataclasses import dataclass

from cde_app import config

SEED_STRIDE = 1_000_003
"""Difference between the seeds of two consecutive trainings of a run."""


@dataclass(frozen=True)
class Unit:
    """One training, which does not depend on the others."""

    name: str
    factor: int
    """Which factor of the chain, from 0; 0 if one model has all targets."""
    member: int
    """Which member of the factor's ensemble, from 0."""
    seed: int


@dataclass(frozen=True)
class Plan:
    """A run's trainings, with every `auto` resolved that depends only on the sizes of the table."""

    units: tuple[Unit, ...]
    """Factor by factor, and within a factor member by member."""
    num_members: int
    """Members of each factor's ensemble."""
    order: tuple[int, ...]
    """Indices of the targets, in the order of the chain."""
    num_left_out: int
    """Training rows that each training leaves out for its own calibration."""
    num_rows: int
    """Training rows that each training uses; they determine its steps and its batch size."""
    validates: bool
    """Whether rows that a training has not seen choose its step."""
    max_steps: int
    batch_size: int
    natural_step: float
    compositor: config.Compositor
    """That of w, resolved."""
    left_open: tuple[str, ...]
    """Settings that are `auto` and are decided by the first fits of the training."""

    @property
    def num_factors(self) -> int:
        """Factors of the chain; 1 if one model has all targets."""
        return len(self.units) // self.num_members


def most_trainings(settings: config.Config) -> int:
    """Return the largest number of trainings that a run can have, whatever the table."""
    factors = len(settings.data.targets) if settings.model.targets_model == "chain" else 1
    return factors * settings.training.resolved_ensemble(1, num_validation_rows=0)


def plan_trainings(settings: config.Config, *, num_rows: int, num_validation_rows: int, num_features: int) -> Plan:
    """Resolve what depends on sizes; the rules are next to the settings.

    Args:
        settings: the whole configuration.
        num_rows: training rows.
        num_validation_rows: rows that validate every training.
        num_features: D of the table.
    """
    training, targets = settings.training, settings.data.targets
    names = [target.column for target in targets]
    order, factors = tuple(range(len(names))), [", ".join(names)]
    if settings.model.targets_model == "chain":
        order = tuple(names.index(name) for name in settings.model.chain_order) or order
        factors = [names[index] for index in order]
    num_members = training.resolved_ensemble(num_rows, num_validation_rows=num_validation_rows)
    num_left_out = training.resolved_left_out(num_rows, num_validation_rows=num_validation_rows)
    num_train, num_rows = num_rows, num_rows - num_left_out
    units = tuple(
        Unit(
            name if num_members == 1 else f"{name}, member {member + 1} of {num_members}",
            factor,
            member,
            settings.seed + SEED_STRIDE * (factor * num_members + member),
        )
        for factor, name in enumerate(factors)
        for member in range(num_members)
    )
    left_open = [f"transform of {target.column}" for target in targets if target.transform.kind == "auto"]
    are_exchangeable = settings.data.split.has_exchangeable_rows
    if settings.model.screens_neighbours(num_train, num_features, has_exchangeable_rows=are_exchangeable):
        left_open.append("neighbours")
    if training.kl_depends_on_noise(num_rows):
        left_open.append("weight of the KL")
    return Plan(
        units=units,
        num_members=num_members,
        order=order,
        num_left_out=num_left_out,
        num_rows=num_rows,
        validates=training.validates(num_validation_rows=num_validation_rows, num_left_out=num_left_out),
        max_steps=training.resolved_max_steps(num_rows),
        batch_size=training.resolved_batch_size(num_rows),
        natural_step=training.resolved_natural_step(num_rows),
        compositor=settings.model.latent.compositor.resolved(num_rows),
        left_open=tuple(left_open),
    )
