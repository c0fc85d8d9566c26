"""Arguments and options that several commands share: one alias each, so that they are the same everywhere."""

from __future__ import annotations

import errno
import math
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cde_app.cli.console import say
from cde_app.errors import UsageError

if TYPE_CHECKING:
    from cde_app.config_file import ConfigFile

MOST_SHOWN = 60
"""Characters of a path that a message shows if the path is too long."""


class WrittenFormat(StrEnum):
    """The file format of a table."""

    CSV = "csv"
    PARQUET = "parquet"


class OnFault(StrEnum):
    """What to do at a row that has a fault."""

    STOP = "stop"
    SKIP = "skip"


class ImageFormat(StrEnum):
    """The file format of a picture."""

    PNG = "png"
    SVG = "svg"


def read_path(text: str) -> Path:
    """Read a path; refuse the empty one, which a script passes if a variable is unset.

    Raises:
        BadParameter: the path is empty, or the system does not allow it.
    """
    if not text:
        raise typer.BadParameter("expected a path; got ''.")
    try:
        os.stat(text)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
            raise typer.BadParameter(f"expected a path; got {shown!r}: {error.strerror}.") from None
    return Path(text)


def read_folder(text: str) -> Path:
    """Read the path of a folder.

    Raises:
        BadParameter: as `read_path`, or the path is `-`, standard input or output.
    """
    if text == "-":
        raise typer.BadParameter("expected a folder; got '-'. Write ./- for a folder of that name.")
    return read_path(text)


ConfigPath = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML configuration; - reads standard input.", parser=read_path)
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, made by `cde train`.", parser=read_folder)]
DataPath = Annotated[
    Path, typer.Argument(metavar="DATA", help="CSV or Parquet table; - reads standard input.", parser=read_path)
]
OptionalDataPath = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="Table with the targets; default: the run's held-out rows.", parser=read_path),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. seed=1. May be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[
    bool | None,
    typer.Option("--quiet/--verbose", help="No progress at all, or every event (and the traceback of a bug)."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        help="Threads to use. Default: OMP_NUM_THREADS, or every core.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier command has written there.")]

Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="CONDITION",
        help="Its probability, e.g. 'y>100', 'y<=@limit' (a column) or '1<y<2'. May be repeated.",
    ),
]


def read_config(path: Path, overrides: list[str] | None, *, quiet: bool | None) -> ConfigFile:
    """Read the configuration that a command names ("-" is standard input) and print the remarks.

    Raises:
        ConfigError: one line for each fault in the file and in the overrides.
    """
    from cde_app.config_file import load_config

    file = load_config("-" if str(path) == "-" else path, overrides or ())
    for remark in () if quiet else file.remarks:
        say(f"note: {remark}")
    return file


def parse_numbers(
    option: str, text: str | None, *, between: tuple[float, float] | None = None
) -> tuple[float, ...] | None:
    """Read `0.05,0.5,0.95`.

    Args:
        option: the option, for the message.
        text: numbers, separated by commas; none if it is empty; None is passed on.
        between: limits of the numbers, which are not allowed themselves; None allows all finite ones.

    Raises:
        UsageError: a part is not such a number, or is repeated.
    """
    if not text:
        return None if text is None else ()
    low, high = between or (-math.inf, math.inf)
    wanted = "numbers" if between is None else f"numbers between {low:g} and {high:g}"
    numbers, faults = list[float](), list[str]()
    for part in text.split(","):
        try:
            number = float(part)
        except ValueError:
            number = math.nan
        if number in numbers:
            faults.append(f"{option}: expected every number once; got {part.strip()!r} again.")
        elif low < number < high and (between is None or 0.5 * (number + high) < high):  # not rounded to the end
            numbers.append(number)
        else:
            faults.append(f"{option}: expected {wanted}, separated by commas; got {part.strip()!r}.")
    if faults:
        raise UsageError(*faults)
    return tuple(numbers)


def parse_names(option: str, text: str | None) -> tuple[str, ...] | None:
    """Read `id,site`, names of columns separated by commas; none if the text is empty.

    Raises:
        UsageError: a name is empty or repeated.
    """
    if not text:
        return None if text is None else ()
    names = [name.strip() for name in text.split(",")]
    faults = [f"{option}: expected names of columns, separated by commas; got {text!r}."] if not all(names) else []
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    faults += [f"{option}: expected every column once; got {name!r} again." for name in repeated]
    if faults:
        raise UsageError(*faults)
    return tuple(names)
