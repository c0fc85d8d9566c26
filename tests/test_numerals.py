"""Numbers in options and settings."""

from __future__ import annotations

import typing

import pytest

from cde_app.cli.app import app
from cde_app.numerals import is_number, read_number, read_whole

NOT_NUMBERS = [
    "",
    "-",
    ".",
    "1_0",
    "1_0.5",
    "1e1_0",
    "１",
    "٣",
    " 1",
    "1 ",
    "1\n",
    "1,5",
    "0x1",
    "nan",
    "inf",
    "1e",
    "1j",
]


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("-1.5", -1.5), (".5", 0.5), ("1.", 1), ("+1e-3", 1e-3), ("007", 7)]
)
def test_digits_are_a_number(text: str, value: float) -> None:
    assert read_number(text) == value


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_only_python_reads_is_no_number(text: str) -> None:
    assert not is_number(text)
    for read in (read_number, read_whole):
        with pytest.raises(ValueError, match="expected a"):
            read(text)


@pytest.mark.parametrize("text", ["1.0", "1e3", "9" * 5000])
def test_a_whole_number_has_digits_only_and_not_thousands_of_them(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whose words are Python's
        read_whole(text)


def test_every_option_that_takes_a_number_is_read_here() -> None:
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    found = 0
    for command in (command for group in groups for command in group.registered_commands):
        for name, hint in typing.get_type_hints(command.callback, include_extras=True).items():
            kinds, *rest = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else [hint]
            if {int, float} & {kinds, *typing.get_args(kinds)}:
                assert rest[0].parser is not None, (command.callback, name)
                found += 1
    assert found > 20
