"""The tables in `data/`: complete, described, and the made-up one what its command writes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cde_app.simulators import Bimodal

DATA = Path(__file__).parents[1] / "data"
SHAPES = {"motorcycle": (133, 2), "hurricanes": (15726, 10), "penguins": (342, 4), "bimodal": (2000, 2)}


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


def test_the_made_up_table_is_what_its_command_writes(cde: Callable[..., Any], tmp_path: Path) -> None:
    command = "cde simulate bimodal --rows 2000 --seed 0 --out"
    assert f"`{command} data/bimodal.csv`" in (DATA / "README.md").read_text(encoding="utf-8")
    assert cde(*command.split()[1:], tmp_path / "table.csv").code == 0
    assert (DATA / "bimodal.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()


def test_the_made_up_density_has_one_mode_on_the_left_and_two_on_the_right() -> None:
    y = np.linspace(-4, 4, 4001)

    def num_modes(x: float) -> int:
        density = Bimodal().log_density(np.full((len(y), 1), x), y[:, None])
        return int(np.sum((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])))

    assert [num_modes(x) for x in (-1.9, -1.0, 0.5, 1.0, 1.9)] == [1, 1, 2, 2, 2]


def test_the_recipe_states_the_score_of_the_true_density() -> None:
    score = -Bimodal().log_density(*Bimodal().draw(100_000, 4)).mean()
    assert f"an NLPD of {score:.2f} nats" in (DATA.parent / "configs" / "bimodal.yaml").read_text(encoding="utf-8")
