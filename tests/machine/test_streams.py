"""Random numbers: what is drawn for one purpose shares nothing with what is drawn for another."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import cde_app
from cde_app.machine.streams import Stream, generator

PACKAGE = Path(cde_app.__file__).parent


def keys_in(source: str) -> dict[str, set[tuple[int | None, ...]]]:
    """Return what distinguishes the generators of each purpose: numbers, None where they are computed."""
    found = defaultdict(set)
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        named = [i for i, value in enumerate(values) if ast.unparse(value).startswith("Stream.")]
        if named:
            is_generator = ast.unparse(call.func) == "generator"
            more = values[named[0] + 1 :] if is_generator else []
            key = tuple(value.value if isinstance(value, ast.Constant) else None for value in more)
            found[ast.unparse(values[named[0]]).removeprefix("Stream.")].add(key)
    return dict(found)


def clashing(keys: dict[str, set[tuple[int | None, ...]]]) -> list[str]:
    """Return the purposes of which two generators may be equal: one has fewer numbers, the other a zero or any."""

    def may_be_equal(few: tuple[int | None, ...], many: tuple[int | None, ...]) -> bool:
        return len(few) < len(many) and all(value in (0, None) for value in many[len(few) :])

    return [name for name, own in keys.items() if any(may_be_equal(one, other) for one in own for other in own)]


def test_no_two_generators_of_a_purpose_are_the_same_by_accident() -> None:
    together = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for name, own in keys_in(path.read_text()).items():
            together[name] |= own
    assert {"DRAWS", "DRIFT_TESTS", "KEPT_OUT_ROWS"} <= together.keys() == {stream.name for stream in Stream}
    assert clashing(together) == []


def test_a_zero_more_is_the_same_generator_and_would_be_found() -> None:
    draws = [generator(3, Stream.DRAWS, *more).random() for more in ((), (0,), (1,))]
    assert draws[0] == draws[1] != draws[2]
    source = "generator(seed, Stream.DRAWS, k)\ndraw_rows(9, 3, seed=seed, stream=Stream.DRAWS)"
    assert clashing(keys_in(source)) == ["DRAWS"]
    assert clashing(keys_in(source.replace(", k)", ", 1)"))) == []
