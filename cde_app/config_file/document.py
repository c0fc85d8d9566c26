"""YAML text as plain values with their positions.

Only YAML's plain data are read (no Python objects), aliases are expanded up to a bound, and a repeated key is a fault
instead of a silent replacement. `check` interprets the values.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from cde_app.errors import ConfigError, SettingError
from cde_app.numerals import is_number, read_number, read_whole

KeyPath = tuple[str | int, ...]

AFTER_THE_FILE = 10**9
"""The line of everything that overrides the file."""

MAX_BYTES = 2**20
MAX_ENTRIES = 20_000
MAX_DEPTH = 50
UNREADABLE = object()
"""Stands for a value whose fault has already been reported."""


@dataclass(frozen=True)
class Place:
    """The position of a key or a value.

    Args:
        where: `<file>:<line>:<column>`, `--set key=value`, or the argument of a Python function.
        line: counted from 1; overrides come after all lines of the file.
        column: counted from 1.
        text: the source of an unquoted scalar, else None.
    """

    where: str
    line: int
    column: int
    text: str | None = None

    @property
    def is_override(self) -> bool:
        """Whether it is after the file."""
        return self.line >= AFTER_THE_FILE


@dataclass(frozen=True)
class Fault:
    """One fault and its position."""

    place: Place
    message: str

    def __str__(self) -> str:
        return " ".join(f"{self.place.where}: {self.message}".splitlines())


@dataclass
class Document:
    """A configuration before it is checked: dicts, lists and scalars, with the position of each."""

    value: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    replaced_kinds: dict[KeyPath, Any] = field(default_factory=dict)
    """The kind that each override of a kind has replaced; None if the file had none there."""

    def is_overridden(self, path: KeyPath) -> bool:
        """Return whether an override has set the value at `path`, or a part of it."""
        places = (*self.keys.items(), *self.values.items())
        return any(p[: len(path)] == path and place.is_override for p, place in places)

    def key_place(self, path: KeyPath) -> Place:
        """Return the position of the key at `path`, or of its nearest parent that is written."""
        return next(places[p] for p in _upwards(path) for places in (self.keys, self.values) if p in places)

    def value_place(self, path: KeyPath) -> Place:
        """Return the position of the value at `path`, or of its nearest parent that is written."""
        return next(self.values[p] for p in _upwards(path) if p in self.values)

    def fault(self, error: SettingError, *, above: KeyPath = ()) -> Fault:
        """Return the fault of a setting, at its key or, if that is not written, at the key that the rule comes from.

        Args:
            error: the setting and what is wrong with it.
            above: the section that has the rule.
        """
        key = (*above, *error.key)
        is_written = key in self.keys or key in self.values
        place = self.key_place(key if is_written else (*above, *error.because))
        return Fault(place, f"{dotted(key)}: {error.message}")


def dotted(path: KeyPath) -> str:
    """Join a path with dots, as in messages and `--set`."""
    return ".".join(map(str, path))


def short_repr(value: Any) -> str:
    """Return `repr(value)`, without its middle if it is long."""
    try:
        return _short(repr(value))
    except ValueError:  # an integer with more digits than Python prints
        return "a number of many digits"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"


def read_document(text: str | bytes, source_name: str) -> Document:
    """Read a whole configuration file.

    Args:
        text: its content; bytes must be UTF-8.
        source_name: the file's name in messages.

    Returns:
        The document; repeated keys are among its `faults`.

    Raises:
        ConfigError: not UTF-8, too large, not YAML, empty, or not a mapping.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(
            f"{source_name}: expected a configuration of at most {MAX_BYTES} bytes; got more. Is this the table?"
        )
    if isinstance(text, bytes):
        text = _decode(text, source_name)
    document = Reader(source_name, None).read(text.removeprefix("\ufeff"))
    if document.value is None:
        raise ConfigError(
            f"{source_name}: expected a configuration that starts with 'schema_version: 1'; got an empty file. "
            "Write one with `cde init`."
        )
    if document.value is UNREADABLE:
        raise ConfigError(*map(str, document.faults))
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{document.values[()].where}: expected a mapping (`key: value` lines); got {short_repr(document.value)}. "
            "Start with 'schema_version: 1'."
        )
    return document


def plain_document(value: Any, place: Place, root: KeyPath = ()) -> Document:
    """Take values from Python as a document; arrays and tuples become lists.

    Args:
        value: mappings, lists and scalars.
        place: the position of all of them.
        root: the key that has the value.
    """
    document = Document()

    def take(value: Any, path: KeyPath) -> Any:
        document.values[path] = place
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{place.where}: expected at most {MAX_DEPTH} levels of nesting; got more.")
        if hasattr(value, "tolist"):  # an array or a scalar of NumPy
            value = value.tolist()
        if isinstance(value, Mapping):
            document.keys.update({(*path, str(key)): place for key in value})
            return {str(key): take(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [take(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if value is None or isinstance(value, str | bool | int | float):
            return value
        name = dotted((*root, *path))
        message = f"{name}: expected a number, a text, a list or a mapping; got {short_repr(value)}. Correct the value."
        document.faults.append(Fault(place, message))
        return UNREADABLE

    document.value = take(value, ())
    return document


def _means_what_it_says(text: str, value: Any) -> bool:
    """Return whether an unquoted value is no number, or the one that a human reads; YAML 1.1 has 010, 1_0 and 1:30."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if isinstance(value, float) and not math.isfinite(value):
        return True
    return is_number(text) and (read_whole(text) if isinstance(value, int) else read_number(text)) == value


def _upwards(path: KeyPath) -> Iterator[KeyPath]:
    """Yield `path`, its parent, ..., the root."""
    return (path[:length] for length in range(len(path), -1, -1))


def _decode(content: bytes, source_name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{content[error.start]:02x}"
        raise ConfigError(f"{source_name}:{line}: expected UTF-8 text; got {got}. Save the file as UTF-8.") from None


class Reader:
    """Turns YAML text into a `Document`.

    Args:
        source_name: the file's name in messages.
        place: the position of an override, which all its values have; None for a file.
        root: the key that an override sets.
    """

    def __init__(self, source_name: str, place: Place | None, root: KeyPath = ()) -> None:
        self.source_name = source_name
        self.place = place
        self.root = root
        self.document = Document()
        self.num_entries = 0

    def read(self, text: str) -> Document:
        """Read one YAML document.

        Raises:
            ConfigError: it cannot be read at all.
        """
        try:
            self.loader = yaml.SafeLoader(text)
            node = self.loader.get_single_node()
            self.document.values[()] = self._place(node.start_mark) if node else self._at(0, 0)
            self.document.value = self._value(node, ()) if node else None
        except RecursionError:
            raise self._deep() from None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            where = self._where(before.count("\n"), len(before) - before.rfind("\n") - 1)
            got = f"the character {text[error.position]!r}"
            raise ConfigError(f"{where}: expected text; got {got}. Remove it.") from None
        except yaml.MarkedYAMLError as error:
            raise self._syntax_fault(error) from None
        return self.document

    def _where(self, line: int, column: int) -> str:
        return self.place.where if self.place else f"{self.source_name}:{line + 1}:{column + 1}"

    def _at(self, line: int, column: int, text: str | None = None) -> Place:
        if self.place:
            return Place(self.place.where, self.place.line, self.place.column, text)
        return Place(self._where(line, column), line + 1, column + 1, text)

    def _place(self, mark: yaml.Mark, text: str | None = None) -> Place:
        return self._at(mark.line, mark.column, text)

    def _fault(self, place: Place, path: KeyPath, message: str) -> None:
        name = dotted((*self.root, *path))
        self.document.faults.append(Fault(place, f"{name}: {message}" if name else message))

    def _syntax_fault(self, error: yaml.MarkedYAMLError) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        where = self._where(mark.line, mark.column) if mark else self._where(0, 0)
        problem = (error.problem or "something else").removeprefix("but found ")
        if "'\\t'" in problem:
            return ConfigError(f"{where}: expected spaces; got a tab. Indent with spaces only.")
        return ConfigError(f"{where}: expected YAML; got: {problem}. Check colons, brackets, quotes and indentation.")

    def _deep(self) -> ConfigError:
        where = self._where(0, 0)
        return ConfigError(f"{where}: expected at most {MAX_DEPTH} levels of nesting; got more. Write it flatter.")

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.num_entries += 1
        if self.num_entries > MAX_ENTRIES:
            where = self._place(node.start_mark).where
            message = f"expected at most {MAX_ENTRIES} entries with every alias expanded; got more. Use fewer aliases."
            raise ConfigError(f"{where}: {message}")
        if len(path) > MAX_DEPTH:
            raise self._deep()
        self.document.values[path] = self._place(node.start_mark)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text = node.value if isinstance(node, yaml.ScalarNode) and node.style is None else None
        self.document.values[path] = self._place(node.start_mark, text)
        try:
            if isinstance(node, yaml.ScalarNode):
                value = self.loader.construct_object(node)
                if text is not None and not _means_what_it_says(text, value):
                    return self._other_number(text, value, path)
                return value
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # PyYAML on `!!int ""` and the like
            pass
        got = f"the tag {node.tag!r}" if text is None or node.tag.startswith("!") else short_repr(text)
        got = got.replace("tag:yaml.org,2002:", "!!")
        message = f"expected a plain value, list or mapping; got {got}. Write text in quotes, without a tag."
        self._fault(self.document.values[path], path, message)
        return UNREADABLE

    def _other_number(self, text: str, value: float, path: KeyPath) -> Any:
        message = f"expected digits, or text in quotes; got {_short(text)}, which YAML reads as {short_repr(value)}"
        self._fault(self.document.values[path], path, f"{message}. Write the number, or '{_short(text)}'.")
        return UNREADABLE

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        entries: list[tuple[yaml.ScalarNode, yaml.Node]] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                result = {**self._merged(value_node, path), **result}
            elif isinstance(key_node, yaml.ScalarNode):
                entries.append((key_node, value_node))
            else:
                place = self._place(key_node.start_mark)
                self._fault(place, path, "expected a key; got a list or mapping. Write `key: value`.")
        self.document.values[path] = self._place(node.start_mark)
        first: dict[str, Place] = {}
        for key_node, value_node in entries:
            key = str(key_node.value)
            place = self._place(key_node.start_mark)
            if key in first:
                before = "" if self.place else f"; first on line {first[key].line}"
                self._fault(place, (*path, key), f"duplicate key{before}. Keep one of them.")
                continue
            first[key] = self.document.keys[(*path, key)] = place
            result[key] = self._value(value_node, (*path, key))
        return result

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        """Return the entries that `<<: *anchor` adds; the first of several anchors takes precedence."""
        result: dict[str, Any] = {}
        for other in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(other, yaml.MappingNode):
                result.update(self._value(other, path))
            else:
                place = self._place(other.start_mark)
                self._fault(place, path, "expected a mapping after `<<:`. Name an anchored mapping.")
        return result
