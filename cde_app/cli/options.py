"""Arguments and options that several commands share: one alias each, so that they are the same everywhere."""

from __future__ import annotations

import errno
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


def parse_quantiles(text: str | None) -> tuple[float, ...] | None:
    """Read `0.05,0.5,0.95`.

    Raises:
        UsageError: a part is not a number between 0 and 1, or is repeated.
    """
    if text is None:
        return None
    levels, faults = list[float](), list[str]()
    for part in text.split(","):
        try:
            level = float(part)
        except ValueError:
            level = -1.0
        if level in levels:
            faults.append(f"--quantiles: expected every level once; got {part.strip()!r} again.")
        elif 0 < level < 1:
            levels.append(level)
        else:
            faults.append(f"--quantiles: expected numbers between 0 and 1, separated by commas; got {part.strip()!r}.")
    if faults:
        raise UsageError(*faults)
    return tuple(levels)
