"""Check the columns that kernels name against the `data` block: a rule that needs two blocks of the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from cde_app.config import LATENT_COLUMN, NEIGHBOURS_COLUMN, Config, KernelPlace, kernel_places
from cde_app.config_file.document import KeyPath, dotted
from cde_app.words import listed, nearest


def kernel_column_faults(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and the message of each fault."""
    kinds = {column.column: column.kind for column in config.data.inputs}
    targets = [target.column for target in config.data.targets]
    columns = [*kinds, *(targets if config.model.targets_model == "chain" and len(targets) > 1 else [])]
    for place in kernel_places(config.model):
        named = place.kernel.columns
        reserved = {LATENT_COLUMN: "the latent variables"} if place.sees_latent else {}
        if config.model.neighbours.enabled:
            reserved[NEIGHBOURS_COLUMN] = "the features of the nearest rows"
        for index, name in enumerate(named):
            message = _fault_of_name(name, place, columns, reserved)
            if message:
                yield (*place.path, "columns", index), message
        if place.kernel.numeric_only and place.mixed_by is None:
            others = [name for name in named or kinds if kinds.get(name, "numeric") != "numeric"]
            if others:
                kind = f"a {place.kernel.kind} kernel acts on numeric columns"
                yield place.path, f"{kind}; got {listed(others)}. Name others in its columns."


def _fault_of_name(name: str, place: KernelPlace, columns: list[str], reserved: dict[str, str]) -> str | None:
    """Return what is wrong with one name among a kernel's columns, a column's or a reserved one; None if nothing."""
    if name in reserved and name in columns:
        return f"{name!r} means {reserved[name]} here; got a column of that name too. Rename the column."
    if name == LATENT_COLUMN and name in reserved:
        return None
    if name == LATENT_COLUMN and name not in columns:
        return f"expected inputs of the kernel; got {name!r} where w is not one of them. Leave it out."
    if name == NEIGHBOURS_COLUMN and name not in columns and name not in reserved:
        return f"expected inputs of the kernel; got {name!r} where model.neighbours.enabled is false. Leave it out."
    if name not in columns and name not in reserved:
        known = [*columns, *reserved]
        near = nearest(name, known)
        advice = f"Did you mean {near!r}?" if near else "Correct the name."
        return f"expected one of {listed(known)}; got {name!r}. {advice}"
    if place.mixed_by is not None:
        layer = dotted(place.mixed_by)
        return f"expected inputs that are columns; got {name!r} after {layer} has mixed them. Leave it out."
    return None
