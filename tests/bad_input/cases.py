"""What one malformed input is, and what the table of them has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

USAGE, DATA, NUMERICAL, GATE, RUN = 2, 3, 4, 5, 6

CONFIG = """\
schema_version: 1
data:
  path: table.csv
  inputs: [x, {column: region, kind: categorical}]
  targets: [a]
training:
  max_steps: 25
"""

ROWS = ["x,region,a", *(f"{n},{'north' if n % 2 else 'south'},{n * n}" for n in range(20))]
"""The lines of a good table: 20 rows below a header."""


@dataclass(frozen=True)
class Case:
    """A malformed input, the commands that meet it, and the lines with which each of them refuses it.

    The commands run in a folder with `config.yaml`, `table.csv` and `run`, a trained run with the inputs x and region
    and the targets a and b, whose table is `trained.csv`.
    """

    commands: tuple[str, ...]
    """Command lines of `cde`, for `shlex`."""
    code: int
    lines: tuple[str, ...]
    """Standard error, without `error: `; HERE is the folder, and HASH the beginning of a hash."""
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    """What is written before; a name that ends in `/` is a folder."""
    prepare: Callable[[Path], None] | None = None
    """What else is done before, in the folder. The run is then a copy that may be changed."""


def text(lines: list[str]) -> str:
    """Join lines, each of which ends."""
    return "".join(line + "\n" for line in lines)


def with_row(*rows: str) -> str:
    """Add rows to the good table."""
    return text([*ROWS, *rows])
