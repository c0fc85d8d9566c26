"""What is fuzzed: functions that take any bytes, of which only a `CdeError` may come.

Each reads something that a stranger may have written. The files of a run are fuzzed as by somebody who renews the
hashes.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cde_app.cli.gates import parse_gates
from cde_app.cli.options import parse_names, parse_numbers
from cde_app.config import TableFormat
from cde_app.config.threshold import parse_thresholds
from cde_app.config_file import parse_config
from cde_app.data.rival import read_rival
from cde_app.data.table import iter_table, read_table
from cde_app.errors import CdeError
from cde_app.machine.storage import file_hash, parse_json, read_arrays
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from tests.storing import write_manifest

Target = Callable[[bytes], None]

CONFIG = b"schema_version: 1\ndata: {path: a.csv, inputs: [x], targets: [y]}\n"
TABLE = b"x,region,a\n" + b"".join(b"%d,north,%d\n" % (n, n * n) for n in range(9))
FORECASTS = b"row,a_q05,a_q50,a_mean,a_sd\n" + b"".join(b"%d,1,2,2,1\n" % n for n in range(1, 10))


def parquet() -> bytes:
    """Return a small Parquet file."""
    file = io.BytesIO()
    numbers = [float(n) for n in range(9)]
    pq.write_table(pa.table({"x": numbers, "region": ["north"] * 9, "a": numbers}), file)
    return file.getvalue()


def arrays() -> bytes:
    """Return a small file of arrays."""
    file = io.BytesIO()
    np.savez(file, a=np.arange(3.0), b=np.zeros((2, 2), np.int64), c=np.array(["x"]))
    return file.getvalue()


def changed(content: bytes, data: bytes) -> bytes:
    """Change a good file: every three bytes of the data are a place, from the end if it is large, and a new byte."""
    result = bytearray(content)
    for place in range(0, len(data) - 2, 3):
        result[(data[place] << 8 | data[place + 1]) % len(result)] = data[place + 2]
    return bytes(result)


@contextlib.contextmanager
def a_file(content: bytes, name: str = "f") -> Iterator[Path]:
    """Write a file into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def read_configuration(data: bytes) -> None:
    """Read a configuration."""
    with contextlib.suppress(CdeError):
        parse_config(data, source_name="f.yaml", folder=Path("/"))


def read_settings(data: bytes) -> None:
    """Read a configuration with settings of the command line, one a line."""
    overrides = data.decode(errors="replace").split("\n")
    with contextlib.suppress(CdeError):
        parse_config(CONFIG, source_name="f.yaml", folder=Path("/"), overrides=overrides)


def read_options(data: bytes) -> None:
    """Read thresholds, gates, numbers and names of the command line."""
    text = data.decode(errors="replace")
    readers: tuple[Callable[[], object], ...] = (
        lambda: parse_thresholds([text], ["y", "a<b", "1"], option="--threshold"),
        lambda: parse_gates([text]),
        lambda: parse_numbers("--at", text),
        lambda: parse_numbers("--hdi", text, between=(0, 1)),
        lambda: parse_names("--keep", text),
    )
    for read in readers:
        with contextlib.suppress(CdeError):
            read()


def read_csv(data: bytes) -> None:
    """Read a table: any bytes, and a good table with changes."""
    for content in (data, changed(TABLE, data), changed(TABLE, data[1:]) + data[:1]):
        with a_file(content) as path, contextlib.suppress(CdeError):
            read_table(path)
        with a_file(content) as path, contextlib.suppress(CdeError):
            form = TableFormat(delimiter=";", decimal=",", encoding="latin-1")
            list(iter_table(path, chunk_rows=2, form=form, allows_no_rows=True))


def read_parquet(data: bytes) -> None:
    """Read a Parquet file with changes."""
    with a_file(changed(PARQUET, data)) as path, contextlib.suppress(CdeError):
        read_table(path)


def read_forecasts(data: bytes) -> None:
    """Read the file of another forecaster with changes."""
    with a_file(TABLE, "t.csv") as table, a_file(changed(FORECASTS, data)) as path:
        for kind in ("samples", "quantiles", "normal"):
            with contextlib.suppress(CdeError):
                read_rival(path, kind, table, ())  # type: ignore[arg-type]  # one of the kinds


def read_parts(data: bytes) -> None:
    """Read arrays and JSON; the callers turn a `ValueError` into an error about the file."""
    for content in (data, changed(ARRAYS, data)):
        with contextlib.suppress(ValueError):
            read_arrays(content)
    with contextlib.suppress(ValueError):
        parse_json(data)


class RunTarget:
    """Loads a copy of a run of which one file is changed; the first byte says which.

    Args:
        run: the run directory.
        folder: where the copy goes.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        self.run = Path(shutil.copytree(run, folder / "run"))
        self.files = [self.run / name for name in ("columns.json", "posterior/spec.json", "manifest.json")]
        self.files += [self.run / name for name in ("posterior/arrays.npz", "split.npz", "baselines.npz")]
        self.contents = [file.read_bytes() for file in self.files]

    def __call__(self, data: bytes) -> None:
        """Change a file, renew the hashes, and load the model."""
        index = data[0] % len(self.files) if data else 0
        file, content = self.files[index], changed(self.contents[index], data[1:])
        file.write_bytes(content)
        try:
            with contextlib.suppress(CdeError):
                if file.name != "manifest.json":
                    manifest = parse_json((self.run / "manifest.json").read_bytes())
                    manifest["outputs"][str(file.relative_to(self.run))] = file_hash(file)
                    write_manifest(self.run, manifest)
                TrainedModel.load(Run.open(self.run))
        finally:
            for original, before in zip(self.files, self.contents, strict=True):
                original.write_bytes(before)


PARQUET, ARRAYS = parquet(), arrays()
TARGETS: dict[str, Target] = {
    "configuration": read_configuration,
    "settings": read_settings,
    "options": read_options,
    "csv": read_csv,
    "parquet": read_parquet,
    "forecasts": read_forecasts,
    "parts": read_parts,
}
SEEDS: dict[str, tuple[bytes, ...]] = {
    "configuration": (CONFIG, b"a: &a [*a]", b"a: {<<: *b}", b"!!python/name:os", b"? [a]\n: |\n  b\n", b"\xff"),
    "settings": (b"training.max_steps=3", b"data.inputs.0={column: x}", b"model.latent.prior={kind: tfp}", b"a.b=*c"),
    "options": (b"1<y<=2", b"a<b>@c", b"crps.per_target.a>=1e-3", b"0.1,0.5", b"id, site"),
    "csv": (TABLE, b'"a;b"\n', b"\xef\xbb\xbfx\n1", b"\xff\xfea\0", b"PK\x03\x04", b"\x1f\x8b\x08\0", b"a\r1\r"),
    "parquet": (b"\0\0\0", b"\1\0\xff\2\0\xff"),
    "forecasts": (b"\0\0-", b"\0\x20e"),
    "parts": (ARRAYS, b'{"a": [1, NaN]}', b"PK\5\6" + bytes(18)),
}
