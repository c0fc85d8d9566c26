"""`cde.train` on a frame: the configuration that the call describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cde_app.config import FRAME_PATH
from cde_app.config_file import ConfigFile, frame_config
from cde_app.config_file.document import short_repr
from cde_app.data.frame import checked_frame
from cde_app.data.infer import infer_data, infer_inputs
from cde_app.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def describe_frame(
    source: Any, targets: Any, inputs: Any, settings: Mapping[str, Any] | None
) -> tuple[ConfigFile, pd.DataFrame]:
    """Return the configuration of a training on a frame, whose remarks the user should check, and the checked frame.

    Args:
        source: the frame.
        targets: names or mappings, as in the YAML; or one of them.
        inputs: the same; what has no kind gets the one that its cells look like. None takes every other column as
            `cde init` does.
        settings: further settings.

    Raises:
        ConfigError: one line for each fault in the mappings and the settings.
        DataError: the frame is empty, its names are no good, it lacks a column, or a target is not numeric.
        UsageError: the source is no frame, the targets or inputs are no names or mappings, or a column is named twice.
    """
    frame = checked_frame(source)
    wanted = _entries(targets, "targets")
    given = None if inputs is None else _entries(inputs, "inputs")
    names, own = [_name(entry) for entry in wanted], [_name(entry) for entry in given or ()]
    _check_differ(names, own)
    if given is None:
        inference = infer_data(frame, names, path=FRAME_PATH)
    else:
        asks = [isinstance(entry, str) or "kind" not in entry for entry in given]
        inference = infer_inputs(frame, names, dict(zip(own, asks, strict=True)), path=FRAME_PATH)
    found = inference.data
    columns = {column.column: column.model_dump(mode="json") for column in found.inputs}
    data = {
        "inputs": list(columns.values()) if given is None else [_completed(one, columns[_name(one)]) for one in given],
        "targets": wanted,
        "format": found.format.model_dump(mode="json", exclude_defaults=True),
        "split": found.split.model_dump(mode="json", include={"kind", "column"}),
        "missing": found.missing.model_dump(mode="json"),
    }
    arguments = {"targets": "targets", "inputs": "inputs"}
    return frame_config(data, settings, arguments=arguments, remarks=inference.remarks), frame


def _entries(value: Any, argument: str) -> list[Any]:
    """Return names and mappings as a list."""
    entries = [value] if isinstance(value, str | Mapping) else value
    if isinstance(entries, Sequence) or hasattr(entries, "tolist"):
        entries = list(entries)
        wrong = [entry for entry in entries if not (isinstance(entry, str) and entry) and not _is_column(entry)]
        if entries and not wrong:
            return entries
        value = wrong[0] if wrong else value
    raise UsageError(
        f"{argument}: expected names of columns, or mappings with 'column'; got {short_repr(value)}. "
        "Write for example ['a', 'b']."
    )


def _is_column(entry: Any) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("column"), str) and bool(entry["column"])


def _name(entry: Any) -> str:
    return str(entry if isinstance(entry, str) else entry["column"])


def _completed(entry: Any, inferred: dict[str, Any]) -> dict[str, Any]:
    """Add the inferred kind to a name, or to a mapping without a kind."""
    if isinstance(entry, str):
        return inferred
    return {"column": entry["column"], "kind": entry.get("kind", inferred["kind"]), **entry}


def _check_differ(targets: list[str], inputs: list[str]) -> None:
    """Refuse a column that is named twice."""
    faults = [
        f"{argument}: expected a column once among targets and inputs; got {name!r} again. Remove it."
        for argument, names, others in (("targets", targets, []), ("inputs", inputs, targets))
        for name in dict.fromkeys(names)
        if names.count(name) > 1 or name in others
    ]
    if faults:
        raise UsageError(*faults)
