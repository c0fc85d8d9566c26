"""What a run has stored of its model, part by part, for commands that need no more than a part of it."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator

import numpy as np

from cde_app.arrays import Array
from cde_app.data.encoding import ColumnContract
from cde_app.data.fingerprints import SeenRows
from cde_app.data.split import Split
from cde_app.errors import RunError
from cde_app.runs.run import Run
from cde_app.trees import from_tree


@contextlib.contextmanager
def parts_that_fit(run: Run) -> Iterator[None]:
    """Refuse a run if what is read in a block has another form than what a training stores, whoever has written it."""
    try:
        yield
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{run.path}: expected a trained model; got one whose parts do not fit together "
            f"({type(error).__name__}: {textwrap.shorten(str(error), 200, placeholder=' ...')}). Train it again."
        ) from error


def read_contract(run: Run) -> ColumnContract:
    """Return the columns of a finished run, which is all that some commands need of its model.

    Raises:
        RunError: they are missing or corrupt.
    """
    with parts_that_fit(run):
        contract = from_tree(ColumnContract, run.read_json("columns.json"), strict=True)
        contract.check()
    return contract


def read_rows(run: Run) -> tuple[Split, SeenRows]:
    """Return the split of a finished run, and the rows that its training has seen.

    Raises:
        RunError: they are missing or corrupt.
    """
    with parts_that_fit(run):
        parts = run.read_arrays("split.npz")
        stored = parts.pop("fingerprints")
        split = Split(**parts)
        split.check()
        seen = SeenRows(stored, len(split.train) + len(split.validation) + len(split.calibration))
        if stored.dtype != np.uint64 or stored.ndim != 1 or len(stored) > seen.num_rows:
            raise ValueError(f"expected fingerprints of rows; got an array {stored.dtype}{list(stored.shape)}")
    return split, seen


def read_scales(run: Run, contract: ColumnContract) -> Array:
    """Return the standard deviations of the training targets of a finished run, [P] [units of the targets].

    Raises:
        RunError: they are missing or corrupt.
    """
    with parts_that_fit(run):
        scales: Array = run.read_arrays("baselines.npz")["scales"]
        check_scales(scales, contract)
    return scales


def check_scales(scales: Array, contract: ColumnContract) -> None:
    """Check that each target has a scale.

    Raises:
        TypeError, ValueError: one has none.
    """
    number = len(contract.targets)
    if scales.shape != (number,) or not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError(f"expected {number} positive scales; got {scales}")
