"""Settings for which a table is too small: what was requested, and what a training does instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cde_app import config
from cde_app.data.split import Split
from cde_app.plan import Plan


class InducingInputs(NamedTuple):
    """The setting for the inducing inputs of a sparse GP, and how many of them are possible."""

    key: str
    section: config.Section
    name: str
    sees_latent: bool
    """Whether they include w, which is drawn, so that there may be more of them than rows."""

    @property
    def number(self) -> int:
        """The value of the setting."""
        return int(getattr(self.section, self.name))

    def limited_to(self, num_rows: int) -> int:
        """Return how many there are in a training with `num_rows` rows."""
        return self.number if self.sees_latent else min(self.number, num_rows)


def inducing_inputs(model: config.ModelSettings) -> Iterator[InducingInputs]:
    """Yield the inducing inputs of every sparse GP."""
    output, has_latent = model.output, model.latent.dim > 0
    for index, layer in enumerate(model.layers):
        yield InducingInputs(f"model.layers.{index}", layer, "num_inducing", sees_latent=False)
    sees_latent = has_latent and output.structure == "joint"
    yield InducingInputs("model.output", output, "num_inducing", sees_latent=sees_latent)
    if output.structure == "additive" and has_latent:
        yield InducingInputs("model.output", output, "num_inducing_latent", sees_latent=True)
    if hasattr(model.likelihood, "num_inducing"):
        yield InducingInputs("model.likelihood", model.likelihood, "num_inducing", sees_latent=False)


def limited_settings(
    settings: config.Config, plan: Plan, split: Split, *, num_dealt: int, num_features: int
) -> tuple[str, ...]:
    """Report which settings the table limits, in one sentence each.

    Only values that differ from the default are reported; a default means as many as the table allows.

    Args:
        settings: the whole configuration.
        plan: the trainings.
        split: the rows of each part.
        num_dealt: how many units the split distributes: rows, or groups of them.
        num_features: D of the table.
    """
    model, training = settings.model, settings.training
    num_train, num_validation = len(split.train), len(split.validation)
    return (
        *_shares(settings.data.split, num_dealt),
        *_left_out(training, num_train, num_validation, plan.num_left_out),
        *_sizes(settings, num_train=num_train, num_rows=plan.num_rows, members=plan.num_members),
        *_widths(model, num_features=num_features, num_targets=len(plan.order)),
    )


def _shares(split: config.Split, num_dealt: int) -> Iterator[str]:
    """Report parts that get one row or group although the setting asks for less."""
    if isinstance(split, config.ColumnSplit):
        return
    noun = "group" if isinstance(split, config.GroupSplit) else "row"
    for name in ("validation", "test"):
        share = getattr(split, name)
        if (
            not isinstance(share, config.Fold)
            and _is_chosen(split, name)
            and share > 0
            and not round(share * num_dealt)
        ):
            yield (
                f"data.split.{name}: {share:g} of {num_dealt} {noun}s is less than one; one is held out. "
                "Write 0 for none."
            )


def _left_out(training: config.Training, num_train: int, num_validation: int, left_out: int) -> Iterator[str]:
    """Report that members leave out another share of the rows than the setting asks for."""
    share, key = training.calibration.left_out, "training.calibration.left_out"
    if share == "auto" or share == 0:
        return
    wanted = round(share * num_train)
    if num_validation:
        yield f"{key}: {share:g} has no effect, as every training uses the {num_validation} validation rows."
    elif not wanted:
        yield f"{key}: {share:g} of {num_train} training rows is less than one; none is left out."
    elif 0 < left_out < wanted:
        yield f"{key}: {share:g} of {num_train} training rows leaves fewer than two; {left_out} are left out."


def _sizes(settings: config.Config, *, num_train: int, num_rows: int, members: int) -> Iterator[str]:
    """Report numbers that are larger than the rows allow, or smaller than the number of members of an ensemble."""
    model, training, neighbours = settings.model, settings.training, settings.model.neighbours
    if isinstance(training.batch_size, int) and training.batch_size > num_rows:
        yield (
            f"training.batch_size: {training.batch_size} exceeds the rows per training ({num_rows}); "
            "every step uses all of them."
        )
    for inducing in inducing_inputs(model):
        most = min(num_rows, training.warm_start.max_rows) if inducing.section is model.output else num_rows
        if _is_chosen(inducing.section, inducing.name) and inducing.number > inducing.limited_to(most):
            rows = "the rows per training" if most == num_rows else "training.warm_start.max_rows"
            key = f"{inducing.key}.{inducing.name}"
            yield f"{key}: {inducing.number} exceeds {rows} ({most}); at most one per row is used."
    if neighbours.enabled and _is_chosen(neighbours, "count") and neighbours.count > num_train - 1:
        yield (
            f"model.neighbours.count: {neighbours.count} exceeds the number of other training rows "
            f"({num_train - 1}); all of them are used."
        )
    if settings.predict.num_components < members:
        yield (
            f"predict.num_components: {settings.predict.num_components} is below the number of ensemble members "
            f"({members}); each has at least one component."
        )


def _widths(model: config.ModelSettings, *, num_features: int, num_targets: int) -> Iterator[str]:
    """Report numbers that exceed the features or targets of the model, or of every model of a chain."""
    projection, mixing = model.input_projection, model.output.mixing
    width, _ = model.widest_factor(num_features, num_targets)
    if projection is not None and projection.dim > width:
        yield (
            f"model.input_projection.dim: {projection.dim} exceeds the number of features ({width}); it has "
            "one dimension for each."
        )
    width = width if projection is None else min(width, projection.dim)
    for index, layer in enumerate(model.layers):
        if _is_chosen(layer, "num_gps") and layer.num_gps > width:
            yield (
                f"model.layers.{index}.num_gps: {layer.num_gps} exceeds the number of features ({width}); the "
                "layer has one GP for each."
            )
        width = width if layer.mean.keeps_columns else min(layer.num_gps, width)
    if mixing is not None and mixing.num_latent_gps > num_targets:
        yield (
            f"model.output.mixing.num_latent_gps: {mixing.num_latent_gps} exceeds the number of targets "
            f"({num_targets}); there is one GP for each."
        )


def _is_chosen(section: config.Section, name: str) -> bool:
    """Return whether a number differs from the default."""
    value = getattr(section, name)
    return value != "auto" and value != type(section).model_fields[name].default
