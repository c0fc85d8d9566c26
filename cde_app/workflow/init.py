"""`cde init`: a configuration for a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cde_app.config import Config
from cde_app.config_file.text import commented_config
from cde_app.data.infer import infer_data
from cde_app.data.table import read_table


def infer_config(data_path: Path, targets: Sequence[str], *, folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return a complete, commented configuration for a table, with inferred column kinds, and the remarks at its top.

    A relative path to the table is made relative to the folder of the configuration.

    Raises:
        DataError: the table cannot be read, or a target does not exist.
    """
    path = data_path
    if str(data_path) != "-" and not data_path.is_absolute():
        path = Path(os.path.relpath(data_path, folder))
    inference = infer_data(read_table(data_path), targets, path=str(path))
    remarks = "".join(f"# {remark}\n" for remark in inference.remarks)
    return remarks + commented_config(Config(schema_version=1, data=inference.data)), inference.remarks
