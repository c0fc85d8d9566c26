"""Files that are written completely or not at all, and values that JSON can hold."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cde_app.errors import RunError

if TYPE_CHECKING:
    from cde_app.arrays import AnyArray

TEMPORARY_PREFIX = ".tmp-"
LONGEST_NAME = 100
"""Bytes of the part of a file name that comes from a text; file systems allow 255 for the whole name."""


@contextlib.contextmanager
def writing(path: Path, expected: str = "a file that can be written") -> Iterator[None]:
    """Turn an error of the system in a block (no space, no permission) into a line about a path.

    Raises:
        RunError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: expected {expected}; got {(error.strerror or str(error))!r}.") from error


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a temporary file in the same folder and rename it: after a crash, the content is the old or the new one.

    Returns:
        The path.

    Raises:
        RunError: the file cannot be written (no space, no permission, a folder of that name).
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o666 & ~_umask())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file atomically; `to_jsonable` says how numbers that are not finite are written."""
    return write_atomically(path, (json.dumps(to_jsonable(value), indent=2, allow_nan=False) + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> Path:
    """Write arrays as an `.npz` file, atomically; the same arrays give the same bytes, and no pickle is written.

    Raises:
        ValueError: an array holds Python objects.
    """
    import numpy as np  # here, because commands that write no arrays use this module too

    plain = {key: np.asarray(array) for key, array in arrays.items()}
    for key, array in plain.items():
        if array.dtype.hasobject:
            raise ValueError(f"{path}: array {key!r} holds Python objects, which only a pickle could store")
    buffer = io.BytesIO()
    np.savez(buffer, **plain)
    return write_atomically(path, buffer.getvalue())


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """Read the process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def delete(path: Path) -> None:
    """Delete a file, a link or a folder with all it holds; nothing happens if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def file_names(texts: Iterable[str]) -> list[str]:
    """Turn texts, such as column names, into file names that are short and safe, and different for different texts.

    If two names would be the same, even only on a case-insensitive file system, the start of its hash is added to each.
    """
    texts = list(texts)
    names = {text: _plain_name(text) for text in texts}
    shared = Counter(_as_any_system_sees(name) for name in names.values())
    for text, name in names.items():
        if shared[_as_any_system_sees(name)] > 1 or re.search(r"-[0-9a-f]{12}$", name):
            names[text] = f"{name}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"
    return [names[text] for text in texts]


def _plain_name(text: str) -> str:
    """Keep letters, digits, `_`, `.` and `-`; replace other characters, and `.` or `-` at the start."""
    name = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text))
    return re.sub(r"^([.-]|$)", "_", name.encode()[:LONGEST_NAME].decode(errors="ignore"))


def _as_any_system_sees(name: str) -> str:
    """Drop what some file systems do not distinguish: case, and how an accent is encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def to_jsonable(value: Any) -> Any:
    """Turn NumPy scalars and arrays, tuples and paths into JSON types.

    JSON has neither NaN nor infinity: a number that is not finite becomes null.
    """
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return to_jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
