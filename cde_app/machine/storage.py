"""Files that are written completely or not at all, and values that JSON can hold."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import tempfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cde_app.errors import RunError

if TYPE_CHECKING:
    from cde_app.arrays import AnyArray

TEMPORARY_PREFIX = ".tmp-"
CANNOT_SYNC_FOLDERS = frozenset({errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a file system answers that has nothing to do when a folder is synchronised, such as SMB."""
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

    When this returns, the new content outlasts a loss of power.

    Returns:
        The path.

    Raises:
        RunError: the file cannot be written (no space, no permission, a folder of that name).
    """
    with replacing(path) as file:
        file.write(content)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the path when the block is done, unless it fails; see `write_atomically`."""
    with writing(path):
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: expected a file that may be replaced; got a folder or a device. Choose another.")
        make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o666 & ~_umask())
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first failure says more
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, which then outlast a loss of power; nothing happens if it is there."""
    missing = [part for part in (path, *path.parents) if not os.path.exists(part)]
    path.mkdir(parents=True, exist_ok=True)
    for part in missing:
        sync_folder(part.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder outlast a loss of power, on file systems that need to be asked for it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # it may be written, but not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file atomically; see `json_bytes`."""
    return write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return the content of a JSON file; `to_jsonable` says how numbers that are not finite are written."""
    return (json.dumps(to_jsonable(value), indent=2, allow_nan=False) + "\n").encode()


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
    # Not `np.savez`, which leaves its archive open if the block fails; that then complains when it is deleted.
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for key, array in plain.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    return path


def read_arrays(content: bytes) -> dict[str, AnyArray]:
    """Read what `write_arrays` wrote; nothing larger than the content itself is ever allocated.

    The file may come from anyone: nothing is unpickled or decompressed, and an array must be as large as it says.

    Raises:
        ValueError: it is no such file.
    """
    import numpy as np  # see `write_arrays`

    arrays: dict[str, AnyArray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(content):
                    raise ValueError(f"{entry.filename!r} is compressed or larger than its file")
                key = entry.filename.removesuffix(".npy")
                if key == entry.filename or key in arrays:
                    raise ValueError(f"{entry.filename!r} is no array, or there are two of it")
                data = io.BytesIO(archive.read(entry))
                if np.lib.format.read_magic(data) != (1, 0):
                    raise ValueError(f"{entry.filename!r} has another format than cde writes")
                shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(data)
                size = math.prod(shape) * dtype.itemsize
                if dtype.hasobject:
                    raise ValueError(f"{entry.filename!r} holds a pickle")
                if min(shape, default=0) < 0 or size != len(data.getbuffer()) - data.tell():
                    raise ValueError(f"{entry.filename!r} does not have the size that its header says")
                flat = np.frombuffer(data.read(), dtype)
                arrays[key] = flat.reshape(shape, order="F" if is_fortran else "C").copy(order="K")
    except (KeyError, EOFError, NotImplementedError, RuntimeError, SyntaxError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None
    return arrays


def parse_json(content: bytes) -> Any:
    """Parse JSON that cde wrote; it has no NaN and no infinity.

    Raises:
        ValueError: it is not such JSON, or nested too deeply.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


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
    """Delete a file, a link or a folder with all it holds; nothing happens if there is none.

    Raises:
        RunError: the system refused; what stays could be taken for something newer.
    """
    with writing(path, "a file or folder that can be deleted"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
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
