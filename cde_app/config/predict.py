"""The `predict` block."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cde_app.config.section import ColumnName, PositiveInt, Section

Level = Annotated[float, Field(gt=0, lt=1)]


class Predict(Section):
    """What prediction computes unless the command line overrides it."""

    num_components: PositiveInt = 256
    """Mixture components (Sobol nodes) per row, shared among ensemble members; 3/2 as many for later chain targets."""
    samples: PositiveInt = 100
    """Draws per row in samples.csv."""
    quantiles: tuple[Level, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    """Levels of the quantile columns in summary.csv; repeated levels are written once [fraction]."""
    intervals: tuple[Level, ...] = ()
    """Probabilities of central intervals, two columns each in summary.csv [fraction]."""
    thresholds: tuple[str, ...] = ()
    """Probabilities in summary.csv: 'y > 100', 'y <= @limit' (a column of the table) or '1 < y < 2'."""
    hdi: tuple[Level, ...] = ()
    """Probabilities of highest-density regions in hdi.csv [fraction]."""
    modes: bool = False
    """Write the modes of each density to modes.csv."""
    grid: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    """Points over the range of each target at which densities.csv has density and distribution function."""
    at: tuple[float, ...] = ()
    """Further points of every target in densities.csv [units of the target]."""
    given: tuple[ColumnName, ...] = ()
    """Targets that the tables to predict have: the forecasts are of the other targets, given these."""
    chunk_rows: PositiveInt = 1024
    """Rows read at once; no prediction depends on it."""
    total: bool = False
    """Whether to write the distributions of each target's sum and mean over all rows to totals.csv."""
    total_by: str | None = None
    """A column of the predicted table: totals for each of its values, instead of one for all rows (implies total)."""
