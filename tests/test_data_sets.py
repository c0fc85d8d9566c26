"""The tables in `data/`: complete, described, and the made-up one what its generator says."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.integrate import quad

DATA = Path(__file__).parents[1] / "data"
SHAPES = {"motorcycle": (133, 2), "hurricanes": (15726, 10), "penguins": (342, 4), "bimodal": (2000, 2)}


@pytest.fixture(scope="module")
def bimodal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bimodal", DATA / "bimodal.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_complete_and_of_the_size_that_the_readme_states() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert {path.stem for path in DATA.glob("*.csv")} == SHAPES.keys()
    for name, (num_rows, num_columns) in SHAPES.items():
        with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        values = np.array(rows, dtype=float)
        assert values.shape == (num_rows, num_columns)
        assert np.isfinite(values).all()
        assert f"| `{name}.csv` | {num_rows:,} |" in readme
        section = readme.partition(f"## {name}.csv")[2].partition("\n## ")[0]
        assert all(f"`{column}`" in section for column in header)


def test_the_readme_names_every_file_beside_it() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in DATA.iterdir() if path.is_file()} - {"README.md"}
    assert all(f"`{name}`" in readme for name in files)


def test_the_made_up_table_is_what_its_generator_writes(bimodal: ModuleType) -> None:
    assert (DATA / "bimodal.csv").read_text(encoding="utf-8") == bimodal.table_text()


def test_other_seeds_draw_other_rows(bimodal: ModuleType) -> None:
    first, again, other = bimodal.draw(50, 1), bimodal.draw(50, 1), bimodal.draw(50, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("x", [-2.0, -1.0, -0.3, 0.0, 0.7, 2.0])
def test_the_made_up_density_integrates_to_one(bimodal: ModuleType, x: float) -> None:
    integral, _ = quad(lambda y: float(np.exp(bimodal.log_density(x, y))), -6, 6, points=[-2, -1, 0, 1, 2], limit=200)
    assert integral == pytest.approx(1, abs=1e-7)


def test_the_made_up_density_has_one_mode_on_the_left_and_two_on_the_right(bimodal: ModuleType) -> None:
    y = np.linspace(-4, 4, 4001)

    def num_modes(x: float) -> int:
        density = bimodal.log_density(np.full_like(y, x), y)
        return int(np.sum((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])))

    assert [num_modes(x) for x in (-1.9, -1.0, 0.5, 1.0, 1.9)] == [1, 1, 2, 2, 2]


def test_draws_follow_the_density(bimodal: ModuleType) -> None:
    """Probabilities P(y < c | x > 1) from draws and from the density differ by less than 4 standard errors."""
    x, y = bimodal.draw(20_000, 3)
    right, grid = x > 1, np.linspace(-6, 6, 2401)
    density = np.exp(bimodal.log_density(x[right][:400, None], grid[None, :])).mean(axis=0)
    for threshold in (-1.0, 0.0, 1.0, 2.0):
        expected = density[grid < threshold].sum() * (grid[1] - grid[0])
        standard_error = np.sqrt(0.25 / right.sum() + 0.25 / 400)
        assert abs((y[right] < threshold).mean() - expected) < 4 * standard_error


def test_the_recipe_states_the_score_of_the_true_density(bimodal: ModuleType) -> None:
    score = -bimodal.log_density(*bimodal.draw(100_000, 4)).mean()
    assert f"an NLPD of {score:.2f} nats" in (DATA.parent / "configs" / "bimodal.yaml").read_text(encoding="utf-8")
