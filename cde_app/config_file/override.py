"""Settings that replace others before anything is checked: `--set key.path=value`, or a mapping from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cde_app.config import Config, Section
from cde_app.config_file.document import (
    AFTER_THE_FILE,
    Document,
    Fault,
    KeyPath,
    Place,
    Reader,
    dotted,
    plain_document,
    short_repr,
)
from cde_app.config_file.schema import TAGS, free_mappings
from cde_app.errors import ConfigError

MOST_SHOWN = 200
"""Letters of an override that a message shows."""
_BARE_NAME_PARENTS = (("data", "inputs"), ("data", "targets"))


def apply_override(document: Document, override: str) -> None:
    """Write one `key.path=value` into a document, in place; a fault goes to `document.faults`.

    A missing section is created, a missing list starts as the default list, and a bare column name becomes the
    equivalent mapping.

    Args:
        document: what `read_document` returned.
        override: a dotted path, which may contain list indices, `=`, and a YAML value.
    """
    written = " ".join(override.splitlines())
    if len(written) > MOST_SHOWN:
        written = f"{written[:MOST_SHOWN]} ..."
    place = Place(f"--set {written}", AFTER_THE_FILE, 0)
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        message = f"expected KEY=VALUE; got {short_repr(override)}. Write for example --set training.max_steps=300"
        document.faults.append(Fault(place, message))
        return
    try:
        new = Reader("", place, tuple(parts)).read(text)
    except ConfigError as error:
        document.faults.append(Fault(place, f"{name}: {error.faults[0].removeprefix(f'{place.where}: ')}"))
        return
    put(document, parts, new, place)


def apply_settings(document: Document, settings: Any) -> None:
    """Write settings from Python into a document, in place; a fault goes to `document.faults`.

    A mapping changes the keys that it has; the others keep their values. Everything else replaces what was there.

    Args:
        document: the settings so far.
        settings: a mapping, nested (`{"training": {"max_steps": 300}}`) or with dotted keys.
    """
    place = Place("settings", AFTER_THE_FILE, 0)
    if not isinstance(settings, Mapping):
        message = f"expected a mapping such as {{'training.max_steps': 300}}; got {short_repr(settings)}. Write one."
        document.faults.append(Fault(place, message))
        return
    for parts, value in _leaves(settings, (), free_mappings()):
        if all(parts):
            put(document, parts, plain_document(value, place, tuple(parts)), place)
        else:
            message = f"expected names of settings as keys; got {'.'.join(parts)!r}. Correct the key."
            document.faults.append(Fault(place, message))


def _leaves(
    settings: Mapping[Any, Any], above: tuple[str, ...], whole: set[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of each setting; mappings that the user names as a whole are values."""
    for key, value in settings.items():
        path = (*above, *str(key).strip().split("."))
        if isinstance(value, Mapping) and value and dotted(path) not in whole:
            yield from _leaves(value, path, whole)
        else:
            yield path, value


def put(document: Document, parts: Sequence[str], new: Document, place: Place) -> None:
    """Write a value, which has its positions, into a document, in place; a fault goes to `document.faults`.

    Args:
        document: the settings so far.
        parts: the path, whose indices of lists are text.
        new: the value.
        place: the position of the key.
    """
    document.faults.extend(new.faults)
    path: KeyPath = ()
    container = document.value
    for depth, part in enumerate(parts):
        try:
            step = _step(container, part)
        except LookupError as error:
            message = f"{dotted((*path, part))}: {error.args[0]}. Set {dotted(path)} as a whole, or correct the path"
            document.faults.append(Fault(place, message))
            return
        path = (*path, step)
        if depth < len(parts) - 1:
            container = _descend(document, container, path, place)
    if path[-1] in TAGS:
        document.replaced_kinds.setdefault(path, container.get(path[-1]))
    _forget(document, path)
    container[path[-1]] = new.value
    document.keys[path] = place
    document.values.update({path + below: inner for below, inner in new.values.items()})
    document.keys.update({path + below: inner for below, inner in new.keys.items()})


def _step(container: Any, part: str) -> str | int:
    """Return `part` as a key of a mapping or an index of a list.

    Raises:
        LookupError: it is neither; the message says what was expected.
    """
    if isinstance(container, dict):
        return part
    if not isinstance(container, list):
        raise LookupError(f"expected a key of a mapping or an index of a list; got {part!r} below a single value")
    if not (part.isascii() and part.isdigit()) or int(part) >= len(container):
        raise LookupError(f"expected an index below {len(container)} (0 is the first); got {part!r}")
    return int(part)


def _descend(document: Document, container: Any, path: KeyPath, place: Place) -> Any:
    """Return the mapping or list at `path`; create it if it is missing."""
    step: Any = path[-1]
    child = container.get(step) if isinstance(container, dict) else container[step]
    if child is None:
        child = _default_list(path) or {}
        _forget(document, path)
        document.keys[path] = document.values[path] = place
    elif isinstance(child, str) and path[:2] in _BARE_NAME_PARENTS and len(path) == 3:
        child = {"column": child}
        document.values[(*path, "column")] = document.values[path]
    container[step] = child
    return child


def _default_list(path: KeyPath) -> list[Any] | None:
    """Return the default list at `path` as plain data, None if there is none."""
    value: Any = None
    for depth, part in enumerate(path):
        if depth == 0:
            known = Config.model_fields.get(str(part))
            value = known.default if known else None
        elif isinstance(part, str):
            value = getattr(value, part, None)
        else:
            value = value[part] if isinstance(value, tuple) and part < len(value) else None
    if not isinstance(value, tuple):
        return None
    return [item.model_dump(mode="json") if isinstance(item, Section) else item for item in value]


def _forget(document: Document, path: KeyPath) -> None:
    """Drop the positions of everything at and below `path`."""
    for places in (document.keys, document.values):
        for other in [p for p in places if p[: len(path)] == path]:
            del places[other]
