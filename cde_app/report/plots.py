"""All pictures: one function each, returning a figure whose title says what to look for."""

from __future__ import annotations

from cde_app.report.canvas import figure_bytes, save_figure
from cde_app.report.densities import plot_density_heatmap, plot_joint_rows, plot_ridges, spread_rows
from cde_app.report.diagnostics import plot_coverage, plot_ecdf, plot_history, plot_latent, plot_pit

__all__ = [
    "figure_bytes",
    "plot_coverage",
    "plot_density_heatmap",
    "plot_ecdf",
    "plot_history",
    "plot_joint_rows",
    "plot_latent",
    "plot_pit",
    "plot_ridges",
    "save_figure",
    "spread_rows",
]
