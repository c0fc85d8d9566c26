"""`cde check`: what a training will find in a table, and what it will do."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cde_app.config_file import ConfigFile
from cde_app.data.check import TableReport, describe_table
from cde_app.data.files import source_name
from cde_app.data.readings import read_for_training
from cde_app.data.table import iter_table
from cde_app.machine.rows import BLOCK_ROWS


def check_table(file: ConfigFile) -> TableReport:
    """Check the configuration's table and describe what a training will find.

    Raises:
        ConfigError: the model does not fit the table.
        DataError: the table breaks the column contract; all faults at once.
    """
    data, source = file.config.data, source_name(file.config.data.path)
    with tempfile.TemporaryDirectory() as folder, file.locating_faults():
        chunks = iter_table(data.path, chunk_rows=BLOCK_ROWS, form=data.format)
        readings = read_for_training(data, chunks, Path(folder) / "readings.npy", source=source)
        return describe_table(file.config, readings, source=source)
