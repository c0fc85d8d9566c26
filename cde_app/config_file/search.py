"""The search space of a sweep: checked value by value before anything is trained, and put into a configuration."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cde_app.config import Config, SearchedSetting, Sweep
from cde_app.config_file.check import check_document
from cde_app.config_file.document import AFTER_THE_FILE, Document, Fault, KeyPath, Place, dotted, plain_document
from cde_app.config_file.override import put
from cde_app.errors import ConfigError, SettingError

SPACE: KeyPath = ("sweep", "space")
OF_THE_ROWS = ("schema_version", "seed", "sweep", "data.path", "data.format", "data.split", "data.missing", "data.id")
"""Settings that say what a sweep is, or by which rows and targets its trials are scored; all trials share them."""


@dataclass(frozen=True)
class Dimension:
    """A setting that a sweep varies."""

    key: str
    """Dotted name of the setting."""
    choices: tuple[Any, ...] = ()
    """The values to choose from; none for a range."""
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    is_integer: bool = False
    """Whether the range has integers only."""


def search_space(document: Document, config: Config) -> tuple[tuple[Dimension, ...], Sweep]:
    """Return what a sweep varies, and its block; check every choice and both ends of every range.

    Each is checked with all else unchanged; whether the values of a trial go together is only known then.

    Args:
        document: the settings with their positions.
        config: the same, checked.

    Raises:
        SettingError: there is no search space.
        ConfigError: one line for each setting that does not exist or may not be varied, and each value that it refuses.
    """
    if config.sweep is None:
        raise SettingError(
            ("sweep",),
            "missing key; expected the settings that a sweep varies. Add for example "
            "`sweep: {space: {training.learning_rate: {low: 0.001, high: 0.1, log: true}}}`",
        )
    faults: list[Fault | str] = []
    dimensions = []
    for key, searched in config.sweep.space.items():
        path, checked = (*SPACE, key), []
        if _is_shared(key, config):
            message = "expected a setting that leaves rows and targets as they are; got another. Remove it."
            faults.append(Fault(document.key_place(path), f"{dotted(path)}: {message}"))
            continue
        for inner in _candidates(searched):
            try:
                checked.append(_config_with(document, config, {key: _part(document, (*path, *inner))}))
            except ConfigError as error:
                faults += error.faults
        values = [_value_at(other, key) for other in checked]
        is_integer = bool(values) and all(type(value) is int for value in values)
        if searched.step is not None and is_integer and not searched.step.is_integer():
            place = document.value_place((*path, "step"))
            message = f"expected an integer, as the setting is one; got {searched.step:g}. Correct it."
            faults.append(Fault(place, f"{dotted((*path, 'step'))}: {message}"))
        dimensions.append(_dimension(key, searched, is_integer=is_integer))
    if faults:
        raise ConfigError(*dict.fromkeys(map(str, faults)))
    return tuple(dimensions), config.sweep


def with_values(document: Document, config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with other values of some settings, as `--set` would make it, and without the sweep.

    Args:
        document: the settings with their positions.
        config: the same, checked, with the absolute paths of the tables.
        values: for each dimension, by dotted name, the number or the index of the choice.

    Raises:
        ConfigError: the values do not go together.
    """
    space = {} if config.sweep is None else config.sweep.space
    parts = {}
    for key, value in values.items():
        path = (*SPACE, key)
        if space[key].choices:
            parts[key] = _part(document, (*path, "choices", int(value)))
        else:
            parts[key] = plain_document(value, _last(document.value_place(path)), tuple(key.split(".")))
    return _config_with(document, config, parts).model_copy(update={"sweep": None})


def _is_shared(key: str, config: Config) -> bool:
    """Return whether a setting must be the same in all trials; inputs must, if their gaps decide about the rows."""
    fixed = (*OF_THE_ROWS, *(("data.inputs",) if config.data.missing.kind == "drop" else ()))
    names_targets = re.fullmatch(r"data\.targets(\.\d+(\.column)?)?", key) is not None
    return names_targets or any(key == name or key.startswith(f"{name}.") for name in fixed)


def _candidates(searched: SearchedSetting) -> Iterator[KeyPath]:
    """Yield the paths of the values to check."""
    if searched.choices:
        yield from (("choices", index) for index in range(len(searched.choices)))
    else:
        yield from (("low",), ("high",))


def _dimension(key: str, searched: SearchedSetting, *, is_integer: bool) -> Dimension:
    """Return a dimension; the end of a range is one of its values."""
    if searched.choices or searched.low is None or searched.high is None:
        return Dimension(key, choices=searched.choices)
    low, high, step = searched.low, searched.high, searched.step
    if step is not None:
        high = low + step * math.floor((high - low) / step + 1e-9)
    return Dimension(key, low=low, high=high, step=step, log=searched.log, is_integer=is_integer)


def _config_with(document: Document, config: Config, parts: Mapping[str, Document]) -> Config:
    """Return the configuration with some values replaced, each with its positions."""
    changed = copy.deepcopy(document)
    for key, part in parts.items():
        put(changed, key.split("."), part, _last(document.key_place((*SPACE, key))))
    found, _ = check_document(changed)
    paths = {"path": config.data.path, "predict": config.data.predict}
    return found.model_copy(update={"data": found.data.model_copy(update=paths)})


def _part(document: Document, path: KeyPath) -> Document:
    """Return a value of a document, with its positions, as one that overrides."""
    value = document.value
    for step in path:
        value = value[step]
    length = len(path)
    keys, values = (
        {own[length:]: _last(place) for own, place in places.items() if own[:length] == path}
        for places in (document.keys, document.values)
    )
    keys.pop((), None)
    return Document(copy.deepcopy(value), keys, values)


def _last(place: Place) -> Place:
    """Return the position as one of an override, which comes after the file."""
    return replace(place, line=AFTER_THE_FILE)


def _value_at(config: Config, key: str) -> Any:
    """Return a setting by its dotted name."""
    value: Any = config.model_dump(mode="python")
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list | tuple) else value[part]
    return value
