"""How objects are stored: dataclasses as trees of plain values and arrays; a tree as JSON and separate arrays.

A dataclass becomes a dictionary of its fields. If its class has several kinds, such as `Kernel`, the dictionary also
has the kind, which identifies the subclass. The types of the fields determine the rest. There is no pickle.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from cde_app.arrays import AnyArray

T = TypeVar("T")


def to_tree(value: Any) -> Any:
    """Return dictionaries and lists of plain values and arrays; `from_tree` reads them.

    Args:
        value: a dataclass, a named tuple or a section of the configuration; a plain value, an array, or a tuple, list
            or dictionary of such.
    """
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    cls: Any = type(value)
    if _is_record(cls):
        kind = {"kind": value.kind} if _has_kinds(cls) else {}
        return kind | {name: to_tree(getattr(value, name)) for name in _hints(cls)}
    if isinstance(value, dict):
        return {key: to_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_tree(item) for item in value]
    return value


def from_tree(cls: type[T], tree: Any, *, strict: bool = False) -> T:
    """Rebuild what `to_tree` returned.

    Args:
        cls: its class, or the base class of its kind.
        tree: what `to_tree` returned.
        strict: check the types of the values, because the tree may come from anyone.

    Raises:
        AttributeError, IndexError, KeyError, TypeError, ValueError: it is no such tree: the class has no such kind, a
            field is missing, or if `strict` a value has another type or a number is not finite.
    """
    rebuilt: T = _rebuild(cls, tree, strict)
    return rebuilt


def pack(tree: Any) -> tuple[Any, dict[str, AnyArray]]:
    """Split a tree into JSON, where an array is `{"array": path}`, and the arrays by path."""
    arrays: dict[str, AnyArray] = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, np.ndarray):
            arrays[path] = node
            return {"array": path}
        if isinstance(node, dict):
            return {key: walk(value, f"{path}.{key}" if path else key) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, f"{path}.{index}") for index, value in enumerate(node)]
        return node

    return walk(tree, ""), arrays


def unpack(spec: Any, arrays: dict[str, AnyArray]) -> Any:
    """Undo `pack`."""
    if isinstance(spec, dict):
        if spec.keys() == {"array"}:
            return arrays[spec["array"]]
        return {key: unpack(value, arrays) for key, value in spec.items()}
    if isinstance(spec, list):
        return [unpack(value, arrays) for value in spec]
    return spec


def _rebuild(hint: Any, tree: Any, strict: bool) -> Any:
    """Rebuild a value of a type."""
    arguments, origin = get_args(hint), get_origin(hint)
    arms = [argument for argument in arguments if argument is not NoneType]
    if tree is None and len(arms) < len(arguments):
        return None
    if tree is None:
        raise TypeError(f"expected {hint}; got nothing")
    if hasattr(hint, "model_validate"):
        return hint.model_validate(tree)
    if _is_record(hint):
        cls = _of_kind(hint, tree["kind"]) if _has_kinds(hint) else hint
        names = [name for name in _hints(cls) if name in tree or not _may_be_absent(cls, name)]
        return cls(**{name: _rebuild(_hints(cls)[name], tree[name], strict) for name in names})
    if strict and origin in (tuple, dict) and not isinstance(tree, (list, tuple) if origin is tuple else dict):
        raise TypeError(f"expected {hint}; got {_short(tree)}")
    if origin is tuple:
        types = [arms[0]] * len(tree) if arms[-1] is ... else arms
        return tuple(_rebuild(one, item, strict) for one, item in zip(types, tree, strict=True))
    if origin is dict:
        return {key: _rebuild(arms[1], item, strict) for key, item in tree.items()}
    if len(arms) == 1 < len(arguments):
        return _rebuild(arms[0], tree, strict)
    if any(map(_is_record, arms)):
        raise TypeError(f"a value of the type {hint} cannot be read back")
    if strict and not any(_is_of(one, tree) for one in (arms if origin in (Union, UnionType) else [hint])):
        raise TypeError(f"expected {getattr(hint, '__name__', hint)}; got {_short(tree)}")
    return tree


def _is_of(hint: Any, value: Any) -> bool:
    """Return whether a plain value or an array has a type, and a number is finite; other types are not checked."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is np.ndarray:
        scalar = get_args(get_args(hint)[1])[0]
        if not isinstance(value, np.ndarray):
            return isinstance(value, Real)  # an array without dimensions that is stored as a number
        return scalar is Any or issubclass(value.dtype.type, get_origin(scalar) or scalar)
    if hint in (float, int):
        is_number = isinstance(value, Real if hint is float else Integral) and not isinstance(value, bool | np.bool_)
        return is_number and math.isfinite(value)
    return isinstance(value, hint) if hint in (str, bool) else True


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}{list(value.shape)}"
    return textwrap.shorten(repr(value), 60, placeholder=" ...")


def _of_kind(cls: type, kind: str) -> type:
    """Return the subclass of a kind."""
    found = list(_concrete(cls))
    kinds = {one.kind: one for one in found}
    if len(kinds) < len(found):
        raise TypeError(f"{cls.__name__}: two classes have the same kind")
    if kind not in kinds:
        raise ValueError(f"{cls.__name__}: kind must be one of {', '.join(kinds)}; got {kind!r}")
    return kinds[kind]


def _concrete(cls: Any) -> Iterator[Any]:
    """Yield those classes among a class and its subclasses that define a kind."""
    if "kind" in vars(cls):
        yield cls
    for subclass in cls.__subclasses__():
        yield from _concrete(subclass)


def _is_record(cls: Any) -> bool:
    """Return whether a class has typed fields: a dataclass or a named tuple."""
    return isinstance(cls, type) and (is_dataclass(cls) or hasattr(cls, "_fields"))


@cache
def _may_be_absent(cls: Any, name: str) -> bool:
    """Return whether a field is None by default, as it is in what was stored before there was the field."""
    return is_dataclass(cls) and any(one.name == name and one.default is None for one in fields(cls))


@cache
def _has_kinds(cls: Any) -> bool:
    """Return whether a class declares `kind` for its subclasses, and not as a field of its own."""
    return "kind" in get_type_hints(cls) and "kind" not in _hints(cls)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """Return the types of the fields of a record, by name, in the order of its constructor."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls)] if is_dataclass(cls) else cls._fields
    return {name: hints[name] for name in names}
