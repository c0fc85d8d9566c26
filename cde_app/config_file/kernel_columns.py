"""The columns that kernels name, held against `data.inputs`; a rule that needs two blocks of the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from cde_app.config import LATENT_COLUMN, Config, KernelPlace, Periodic, kernel_places
from cde_app.config_file.document import KeyPath, dotted
from cde_app.config_file.schema import listed, nearest


def kernel_column_faults(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield the place of each fault and what is wrong there."""
    kinds = {column.column: column.kind for column in config.data.inputs}
    for place in kernel_places(config.model):
        named = place.kernel.columns
        for index, name in enumerate(named):
            message = _fault_of_name(name, place, list(kinds))
            if message:
                yield (*place.path, "columns", index), message
        if isinstance(place.kernel, Periodic) and place.mixed_by is None:
            others = [name for name in named or kinds if kinds.get(name, "numeric") != "numeric"]
            if others:
                message = (
                    f"a periodic kernel acts on numeric columns; got {listed(others)}. Name others in its columns."
                )
                yield place.path, message


def _fault_of_name(name: str, place: KernelPlace, inputs: list[str]) -> str | None:
    """Say what is wrong with one name among a kernel's columns."""
    if name == LATENT_COLUMN and place.sees_latent:
        if name in inputs:
            return f"{name!r} means the latent variables here; got a column of that name too. Rename the column."
        return None
    if name == LATENT_COLUMN and name not in inputs:
        return f"expected columns of data.inputs; got {name!r} where the kernel does not see w. Leave it out."
    if name not in inputs:
        known = [*inputs, LATENT_COLUMN] if place.sees_latent else inputs
        near = nearest(name, known)
        advice = f"Did you mean {near!r}?" if near else "Correct the name."
        return f"expected one of {listed(known)}; got {name!r}. {advice}"
    if place.mixed_by is not None:
        layer = dotted(place.mixed_by)
        return f"expected inputs that are columns; got {name!r} after {layer} has mixed them. Leave it out."
    return None
