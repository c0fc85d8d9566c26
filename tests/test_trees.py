"""Dataclasses as trees: what is stored is what is read."""

from __future__ import annotations

import json
from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from cde_app.arrays import Array
from cde_app.config import TableFormat
from cde_app.trees import from_tree, pack, to_tree, unpack
from tests.storing import stored_and_read


@dataclass(frozen=True)
class Shape(ABC):
    kind: ClassVar[str]
    corners: Array | None = None


@dataclass(frozen=True)
class Circle(Shape):
    kind = "circle"
    radius: float = 1.0


@dataclass(frozen=True)
class Ring(Circle):
    kind = "ring"
    width: float | Array = 0.5


class Point(NamedTuple):
    place: Array
    shape: Shape | None


@dataclass(frozen=True)
class Drawing:
    kind: str
    points: tuple[Point, ...]
    layers: dict[str, Shape]
    form: TableFormat
    size: tuple[int, ...] | None = None


def test_a_record_of_records_survives() -> None:
    drawing = Drawing(
        "sketch",
        (Point(np.arange(3.0), Ring(width=np.ones(2))), Point(np.zeros((0, 2)), None)),
        {"first": Circle(np.eye(2), 2.0)},
        TableFormat(decimal=","),
        (3, 4),
    )
    again = stored_and_read(drawing)
    assert (again.kind, again.size, again.form) == (drawing.kind, drawing.size, drawing.form)
    ring = again.points[0].shape
    assert isinstance(ring, Ring)
    np.testing.assert_array_equal(ring.width, np.ones(2))
    assert again.points[1].shape is None
    assert again.points[1].place.shape == (0, 2)
    assert type(again.layers["first"]) is Circle
    np.testing.assert_array_equal(again.layers["first"].corners, np.eye(2))


def test_a_kind_is_found_from_the_class_that_all_kinds_share() -> None:
    assert to_tree(Ring()) == {"kind": "ring", "corners": None, "radius": 1.0, "width": 0.5}
    assert stored_and_read(Ring(), Shape) == Ring()
    with pytest.raises(ValueError, match=r"Shape: kind must be one of circle, ring; got 'square'"):
        from_tree(Shape, {"kind": "square", "corners": None})


def test_what_is_no_record_stays_as_it_is() -> None:
    values = {"a": [1, 2.5, "text", None, True], "b": np.arange(2)}
    tree = to_tree(values)
    assert tree["a"] == values["a"]
    assert tree["b"] is values["b"]


def test_unpack_undoes_pack() -> None:
    tree = {"a": np.arange(3.0), "b": [{"c": np.eye(2), "d": None}, 1.5, "x"], "empty": [], "e": {"f": True}}
    spec, arrays = pack(tree)
    assert list(arrays) == ["a", "b.0.c"]
    back = unpack(json.loads(json.dumps(spec)), arrays)
    assert back["b"][1:] == [1.5, "x"]
    assert back["b"][0]["d"] is None
    assert back["empty"] == []
    assert back["e"] == {"f": True}
    np.testing.assert_array_equal(back["a"], tree["a"])
    np.testing.assert_array_equal(back["b"][0]["c"], np.eye(2))


@dataclass(frozen=True)
class Unreadable:
    shapes: list[Point]


@dataclass(frozen=True)
class Pair:
    ends: tuple[int, Point]
    size: float


def test_types_that_could_not_be_read_back_are_refused() -> None:
    point = Point(np.zeros(1), None)
    pair = stored_and_read(Pair((3, point), 1.0))
    assert pair.ends[0] == 3
    assert isinstance(pair.ends[1], Point)
    with pytest.raises(TypeError, match="cannot be read back"):
        stored_and_read(Unreadable([point]))
    with pytest.raises(TypeError, match="got nothing"):
        from_tree(Pair, to_tree(Pair((3, point), 1.0)) | {"size": None})
