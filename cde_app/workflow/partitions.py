"""The partitions of a batch: which tables they are, and the name of the folder of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cde_app.data.files import find_files, source_name
from cde_app.errors import DataError, RunError, UsageError
from cde_app.machine.storage import file_names

TABLES = (".csv", ".tsv", ".parquet", ".pq")
"""How the names of tables in a folder end, possibly followed by one of `PACKED`; a file that is named may end in any
way."""
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class Partition:
    """A table to predict, and the folder of its predictions."""

    path: Path
    """Absolute, so that a worker finds it from any working directory."""
    folder: str
    """Its name in the folder of the batch."""


def find_partitions(inputs: Sequence[Path], out: Path) -> list[Path]:
    """Find the tables of a batch.

    Args:
        inputs: files, folders with all the tables in and below them, or globs.
        out: the folder of the batch.

    Returns:
        Absolute paths, sorted, each once.

    Raises:
        UsageError: an input is standard input.
        DataError: an input has no table; all of them at once.
        RunError: the folder of the batch is inside an input folder, or a table is inside the folder of the batch.
    """
    found, faults = set[Path](), list[str]()
    own = out.resolve()
    for path in inputs:
        if str(path) == "-":
            raise UsageError("INPUTS: expected files, folders or globs; got '-'. Use cde predict for standard input.")
        if path.is_dir() and own.is_relative_to(path.resolve()):
            raise RunError(
                f"{out} is inside the input folder {source_name(path)}, whose tables are predicted; choose another "
                "--out."
            )
        try:
            found.update(find_tables(path))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*faults)
    for path in sorted(found):
        if own in path.resolve().parents:
            raise RunError(
                f"{out} holds the table {source_name(path)}, which predictions may replace; choose another --out."
            )
    return sorted({Path(os.path.abspath(path)) for path in found})


def find_tables(path: Path) -> list[Path]:
    """Return the tables of an input, sorted: a file, all in and below a folder, or the files of a glob.

    Raises:
        DataError: there is none.
    """
    if not path.is_dir():
        return find_files(path)
    if tables := sorted(_tables_in(path)):
        return tables
    ends = ", ".join(TABLES)
    raise DataError(f"{source_name(path)}: must hold tables ({ends}); got none. Name the files, or a quoted glob.")


def _tables_in(folder: Path) -> Iterator[Path]:
    """Yield the tables in and below a folder; what begins with a dot or an underscore is none, as Spark has it."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            plain = name.lower()
            for end in PACKED:
                plain = plain.removesuffix(end)
            if not name.startswith((".", "_")) and plain.endswith(TABLES):
                yield Path(parent) / name


def name_partitions(paths: Sequence[Path], known: Mapping[str, str], taken: set[str]) -> list[Partition]:
    """Give every table a folder: that which it had before, or one of its name.

    Args:
        paths: absolute paths.
        known: path -> folder of an earlier batch; these folders stay, also if another table has the same name now.
        taken: names that are not free.
    """
    used = {name.casefold() for name in (*known.values(), *taken)}
    partitions = []
    for path in paths:
        name = known.get(str(path))
        if name is None:
            (name,) = file_names([_stem(path)])
            if name.casefold() in used:
                name = f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
            used.add(name.casefold())
        partitions.append(Partition(path, name))
    return partitions


def _stem(path: Path) -> str:
    """Return the name of a table without `.csv`, `.csv.gz` and the like."""
    name = path.name
    for end in (*PACKED, *TABLES):
        name = name[: -len(end)] if name.lower().endswith(end) and len(name) > len(end) else name
    return name
