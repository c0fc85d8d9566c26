"""Arguments and options that several commands share: one alias each, so that they are the same everywhere."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cde_app.cli.console import say
from cde_app.errors import UsageError
from cde_app.machine import memory
from cde_app.numerals import read_number, read_whole

if TYPE_CHECKING:
    from cde_app.config_file import ConfigFile
    from cde_app.execution.choose import Execution

MOST_SHOWN = 60
"""Characters of a value that a message shows."""


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


class ExecutorKind(StrEnum):
    """Where the work of a command runs."""

    SERIAL = "serial"
    PROCESSES = "processes"
    DASK = "dask"


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
            raise typer.BadParameter(f"expected a path; got {shortened(text)!r}: {error.strerror}.") from None
    return Path(text)


def shortened(text: str) -> str:
    """Return a value as a message shows it."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def read_folder(text: str) -> Path:
    """Read the path of a folder.

    Raises:
        BadParameter: as `read_path`, or the path is `-`, standard input or output.
    """
    if text == "-":
        raise typer.BadParameter("expected a folder; got '-'. Write ./- for a folder of that name.")
    return read_path(text)


def read_size(text: str) -> int:
    """Read a number of bytes: `2GB`, `1.5 GiB`, `500MB`.

    Raises:
        BadParameter: it is none.
    """
    try:
        return memory.read_size(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def whole_option(name: str, *, least: int | None = None, most: int | None = None, **rest: Any) -> Any:
    """Return an option that takes a whole number.

    Args:
        name: of the option.
        least: the smallest number; None if the command checks it.
        most: the largest number; None if there is none.
        rest: what else Typer is told.
    """
    limits = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"

    def read(value: str | int) -> int:
        with contextlib.suppress(ValueError):
            number = read_whole(str(value))
            if (least is None or number >= least) and (most is None or number <= most):
                return number
        raise typer.BadParameter(f"expected a whole number{limits}; got {shortened(str(value))!r}.")

    return typer.Option(name, min=least, max=most, parser=read, **rest)


def number_option(name: str, *, least: float, most: float, **rest: Any) -> Any:
    """Return an option that takes a number between two others, which are allowed themselves; see `whole_option`."""

    def read(value: str | float) -> float:
        with contextlib.suppress(ValueError):
            number = read_number(str(value))
            if least <= number <= most:
                return number
        raise typer.BadParameter(f"expected a number from {least:g} to {most:g}; got {shortened(str(value))!r}.")

    return typer.Option(name, min=least, max=most, parser=read, **rest)


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
OwnDataPath = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="The run's own table, if it has moved.", show_default=False, parser=read_path),
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
Everything = Annotated[bool, typer.Option("--all", help="Print everything, and not only what matters most.")]
Threads = Annotated[
    int | None,
    whole_option(
        "--threads",
        least=1,
        metavar="N",
        help="Threads to use. Default: OMP_NUM_THREADS, or every core.",
        show_default=False,
    ),
]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        parser=read_size,
        help="Memory that it may take, with its workers, e.g. 2GB. Default: what is free.",
        show_default=False,
    ),
]
Executor = Annotated[
    ExecutorKind | None,
    typer.Option("--executor", help="Where it runs. Default: processes, or dask with --scheduler.", show_default=False),
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786.")
]
Workers = Annotated[
    int | None,
    whole_option(
        "--workers",
        least=1,
        metavar="N",
        help="Workers at the same time. Default: one per core, as far as the memory goes.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier command has written there.")]

Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate", metavar="CONDITION", help="Exit with 5 unless this holds, e.g. 'crps_skill>0.1'. May be repeated."
    ),
]
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


def read_execution(
    executor: ExecutorKind | None, scheduler: str | None, workers: int | None, *, max_memory: int | None = None
) -> Execution:
    """Read where the work of a command runs.

    Raises:
        UsageError: the options contradict each other.
    """
    from cde_app.execution.choose import Execution

    if scheduler is not None and max_memory is not None:
        raise UsageError(
            "--max-memory: expected without --scheduler, whose workers have limits of their own; got both. "
            "Leave one of them out."
        )
    return Execution(None if executor is None else executor.value, scheduler, workers)


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
            number = read_number(part.strip())
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


def parse_names(option: str, text: str | None, *, of: str = "column") -> tuple[str, ...] | None:
    """Read `id,site`, names separated by commas; none if the text is empty.

    Args:
        option: the option, for the message.
        text: the names; None is passed on.
        of: what has the names.

    Raises:
        UsageError: a name is empty or repeated.
    """
    if not text:
        return None if text is None else ()
    names = [name.strip() for name in text.split(",")]
    faults = [f"{option}: expected names of {of}s, separated by commas; got {text!r}."] if not all(names) else []
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    faults += [f"{option}: expected every {of} once; got {name!r} again." for name in repeated]
    if faults:
        raise UsageError(*faults)
    return tuple(names)
