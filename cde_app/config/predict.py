"""The `predict` block."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cde_app.config.section import PositiveInt, Section


class Predict(Section):
    """What prediction computes unless the command line says otherwise."""

    num_components: PositiveInt = 256
    """Components per row, shared by an ensemble's members: Sobol nodes; 3/2 as many for a chain's later targets."""
    samples: PositiveInt = 100
    """Draws per row in samples.csv."""
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    """Quantile columns in summary.csv; a level named twice gives one [fraction]."""
    chunk_rows: PositiveInt = 1024
    """Rows held in memory at once."""
