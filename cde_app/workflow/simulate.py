"""`cde simulate`: a table whose conditional density is known."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cde_app.machine.storage import replacing
from cde_app.simulators import SIMULATORS, table_text, truth_text


def simulate(kind: str, num_rows: int, seed: int, *, out: Path, truth: Path | None) -> list[Path]:
    """Draw a table and write it as CSV.

    Args:
        kind: a key of `SIMULATORS`.
        num_rows: N.
        seed: of the draw.
        out: the file of the table.
        truth: the file for the log density of every row; None writes none.

    Returns:
        The files.

    Raises:
        RunError: a file cannot be written.
    """
    simulator = SIMULATORS[kind]
    inputs, targets = simulator.draw(num_rows, seed)
    with replacing(out) as table, contextlib.nullcontext() if truth is None else replacing(truth) as densities:
        table.write(table_text(simulator, inputs, targets).encode())
        if densities is not None:
            densities.write(truth_text(simulator.log_density(inputs, targets)).encode())
    return [path for path in (out, truth) if path is not None]
