"""What becomes of an object that is stored and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

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
