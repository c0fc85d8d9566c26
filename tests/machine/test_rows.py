"""Rows in files, in blocks and drawn: what is written comes back, and what fails says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cde_app.errors import RunError
from cde_app.machine.rows import BLOCK_ROWS, RowFile, blocks_of, draw_rows, gather_rows, map_rows, store_rows
from cde_app.machine.streams import Stream


def test_blocks_come_back_as_one_array_that_numpy_reads_too(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    stored = store_rows(tmp_path / "a.npy", 3, [rows[:7], rows[7:7], rows[7:]])
    np.testing.assert_array_equal(stored, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), rows)
    assert not stored.flags.writeable


def test_a_mapped_array_outlives_its_file(tmp_path: Path) -> None:
    stored = store_rows(tmp_path / "a.npy", 1, [np.ones((5, 1))])
    (tmp_path / "a.npy").unlink()
    assert stored.sum() == 5


def test_no_rows_are_an_array_too(tmp_path: Path) -> None:
    assert store_rows(tmp_path / "a.npy", 4, []).shape == (0, 4)


def test_a_file_whose_writing_fails_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RowFile(tmp_path / "a.npy", 2) as file:
        file.append(np.ones((3, 2)))
        raise KeyboardInterrupt
    assert map_rows(tmp_path / "a.npy").shape == (0, 2)


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows have 2 columns; got an array \(5, 3\)"):
        store_rows(tmp_path / "a.npy", 2, [np.ones((5, 3))])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none/a\.npy: expected a file that can be written; got 'No such file"):
        store_rows(tmp_path / "none" / "a.npy", 1, [])


def test_a_full_disk_is_named() -> None:
    with pytest.raises(RunError, match=r"/dev/full: expected a file that can be written; got 'No space left"):
        store_rows(Path("/dev/full"), 1, [np.zeros((10_000, 1))])


def test_gathered_rows_are_those_of_the_array_in_the_order_asked_for(tmp_path: Path) -> None:
    array = np.arange(2.0 * BLOCK_ROWS + 20).reshape(-1, 2)
    rows = np.random.default_rng(0).permutation(len(array))
    np.testing.assert_array_equal(gather_rows(tmp_path / "a.npy", array, rows), array[rows])


@pytest.mark.parametrize("num_rows", [0, 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS])
def test_every_row_is_in_one_block(num_rows: int) -> None:
    blocks = [np.arange(num_rows)[block] for block in blocks_of(num_rows)]
    np.testing.assert_array_equal(np.concatenate([np.arange(0), *blocks]), np.arange(num_rows))
    assert all(0 < len(block) <= BLOCK_ROWS for block in blocks)


def test_few_rows_are_all_drawn_and_many_are_a_sorted_sample_that_the_seed_decides() -> None:
    np.testing.assert_array_equal(draw_rows(10, 10, seed=0, stream=Stream.START_ROWS), np.arange(10))
    drawn = draw_rows(1000, 100, seed=0, stream=Stream.START_ROWS)
    assert (len(drawn), len(np.unique(drawn)), drawn.max() < 1000) == (100, 100, True)
    assert np.all(np.diff(drawn) > 0)
    np.testing.assert_array_equal(drawn, draw_rows(1000, 100, seed=0, stream=Stream.START_ROWS))
    assert not np.array_equal(drawn, draw_rows(1000, 100, seed=1, stream=Stream.START_ROWS))
    assert not np.array_equal(drawn, draw_rows(1000, 100, seed=0, stream=Stream.MEAN_ROWS))
