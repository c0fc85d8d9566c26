"""The tables whose density is known: the densities are densities, and the draws follow them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import kstest

from cde_app.cli.truth import Kind
from cde_app.simulators import SIMULATORS, Simulator

NUM_ROWS = 4000
UNLIKELY = 6e-5
"""The probability beyond four standard errors of a normal variable."""

every_kind = pytest.mark.parametrize("simulator", SIMULATORS.values(), ids=list(SIMULATORS))


def uniforms_with_noise(simulator: Simulator, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the uniforms; a value with a probability of its own is put anywhere below its distribution function."""
    values = simulator.uniforms(inputs, targets)
    if simulator.has_density:
        return values
    spread = np.random.default_rng(7).uniform(size=values.shape)
    return np.where(targets == 0, spread * values, values)


@every_kind
def test_draws_follow_the_density(simulator: Simulator) -> None:
    inputs, targets = simulator.draw(NUM_ROWS, 5)
    values = uniforms_with_noise(simulator, inputs, targets)
    assert all(kstest(column, "uniform").pvalue > UNLIKELY for column in values.T)


@every_kind
def test_draws_do_not_follow_the_density_at_other_inputs_or_of_wider_targets(simulator: Simulator) -> None:
    """The negative control."""
    inputs, targets = simulator.draw(NUM_ROWS, 5)
    values = uniforms_with_noise(simulator, inputs, 1.2 * targets)
    assert min(kstest(column, "uniform").pvalue for column in values.T) < UNLIKELY
    if simulator.kind != "independent":
        values = uniforms_with_noise(simulator, -inputs[:, ::-1] / 2, targets)
        assert min(kstest(column, "uniform").pvalue for column in values.T) < UNLIKELY


def integral_of(simulator: Simulator, place: float) -> float:
    """Integrate the density where all inputs have one value, by the trapezoidal rule."""
    if len(simulator.targets) == 2:
        radius, angle = np.meshgrid(np.linspace(0.2, 5, 4001), np.linspace(-np.pi, np.pi, 17), indexing="ij")
        y = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2)
        density = np.exp(simulator.log_density(np.full((len(y), 1), place), y)).reshape(radius.shape)
        return float(trapezoid(trapezoid(density * radius, angle[0], axis=1), radius[:, 0]))
    grid = np.sinh(np.linspace(-7, 7, 40_001))  # dense around 0, and 550 at the ends
    if simulator.kind == "censored":
        grid = grid[grid > 0]
    x = np.full((len(grid) + 1, len(simulator.inputs)), place)
    density = np.exp(simulator.log_density(x, np.append(grid, 0.0)[:, None]))
    return float(trapezoid(density[:-1], grid)) + (density[-1] if simulator.kind == "censored" else 0.0)


@pytest.mark.parametrize("place", [-2.0, -0.3, 0.7, 2.0])
@every_kind
def test_densities_integrate_to_one(simulator: Simulator, place: float) -> None:
    tolerance = 2e-4 if simulator.kind == "censored" else 1e-5  # the first cell above 0 is missing
    assert integral_of(simulator, place) == pytest.approx(1, abs=tolerance)


def test_the_integral_notices_a_density_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a spread that the constant of the density does not know."""
    monkeypatch.setattr(type(SIMULATORS["ring"]), "radius", lambda self, x: np.full(len(x), 0.2))
    assert abs(integral_of(SIMULATORS["ring"], 0.0) - 1) > 0.1


@pytest.mark.parametrize("kind", [kind for kind, one in SIMULATORS.items() if len(one.targets) == 1])
def test_the_density_is_the_slope_of_the_distribution_function(kind: str) -> None:
    simulator = SIMULATORS[kind]  # the uniforms of two targets are those of polar coordinates
    inputs, targets = simulator.draw(200, 3)
    inside = targets[:, 0] > 1e-3 if simulator.kind == "censored" else np.ones(len(targets), dtype=bool)
    x, y, step = inputs[inside], targets[inside], 1e-5
    slope = (simulator.uniforms(x, y + step) - simulator.uniforms(x, y - step))[:, 0] / (2 * step)
    assert np.allclose(slope, np.exp(simulator.log_density(x, y)), rtol=1e-3, atol=1e-5)


@every_kind
def test_a_seed_determines_the_draw(simulator: Simulator) -> None:
    first, again, other = (np.hstack(simulator.draw(50, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_command_knows_every_kind() -> None:
    assert [kind.value for kind in Kind] == list(SIMULATORS)


def test_the_written_densities_are_those_of_the_written_numbers(cde: Callable[..., Any], tmp_path: Path) -> None:
    table, truth = tmp_path / "table.csv", tmp_path / "truth.csv"
    assert cde("simulate", "ring", "--rows", 20, "--seed", 3, "--out", table, "--truth", truth).code == 0
    header, *rows = csv.reader(table.read_text().splitlines())
    assert header == ["x", "y1", "y2"]
    values = np.array(rows, dtype=float)
    stated = np.array([line.split(",") for line in truth.read_text().splitlines()[1:]], dtype=float)
    assert stated[:, 0].tolist() == list(range(1, 21))
    assert np.array_equal(stated[:, 1], SIMULATORS["ring"].log_density(values[:, :1], values[:, 1:]))


def test_nothing_is_replaced_without_being_told_to(cde: Callable[..., Any], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    assert cde("simulate", "bimodal", "--rows", 5, "--out", table).code == 0
    before = table.read_bytes()
    refused = cde("simulate", "bimodal", "--rows", 5, "--seed", 1, "--out", table)
    assert refused.code == 2
    assert f"error: {table} exists; choose another file, or pass --overwrite." in refused.err
    assert table.read_bytes() == before
    assert cde("simulate", "bimodal", "--rows", 5, "--seed", 1, "--out", table, "--overwrite").code == 0
    assert table.read_bytes() != before


def test_table_and_truth_are_two_files(cde: Callable[..., Any], tmp_path: Path) -> None:
    refused = cde("simulate", "bimodal", "--out", tmp_path / "a.csv", "--truth", tmp_path / "a.csv")
    assert refused.code == 2
    assert "--truth: expected a file other than the table" in refused.err
    assert not (tmp_path / "a.csv").exists()
