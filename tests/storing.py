"""What becomes of an object that is stored and read again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from cde_app.machine.storage import file_hash, read_arrays, write_arrays
from cde_app.runs.contents import SUMS
from cde_app.runs.sums import text_of_sums
from cde_app.trees import from_tree, pack, to_tree, unpack

T = TypeVar("T")


def stored_and_read(value: T, cls: type[T] | None = None) -> T:
    """Return the object that is read, as one of a class; by default, of its own."""
    spec, arrays = pack(to_tree(value))
    return from_tree(cls or type(value), unpack(json.loads(json.dumps(spec, allow_nan=False)), arrays))


def write_manifest(run: Path, manifest: Mapping[str, object]) -> None:
    """Replace the manifest of a finished run, and the hashes of its files."""
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / SUMS).write_text(text_of_sums(run))


def with_distance_unit(run: Path, copy: Path, unit: object) -> Path:
    """Copy a run and replace its unit of distances, which None removes."""
    shutil.copytree(run, copy)
    arrays = read_arrays((copy / "baselines.npz").read_bytes())
    arrays.pop("distance_unit", None)
    write_arrays(copy / "baselines.npz", arrays | ({} if unit is None else {"distance_unit": np.array(unit)}))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["outputs"]["baselines.npz"] = file_hash(copy / "baselines.npz")
    write_manifest(copy, manifest)
    return copy
