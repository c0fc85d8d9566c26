"""Rows in files, in blocks and drawn: what is written comes back, and what fails says so."""

from __future__ import annotations

import tracemalloc
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cde_app.errors import RunError
from cde_app.machine import rows as machine_rows
from cde_app.machine.rows import (
    BLOCK_ROWS,
    RowFile,
    blocks_of,
    draw_rows,
    gather_rows,
    map_rows,
    permuted_rows,
    store_rows,
)
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


INDICES: list[Any] = [
    slice(5, 17),
    slice(None, None, 7),
    slice(None),
    slice(60, 40),
    3,
    np.array([3, -1, 3, 0]),
    np.random.default_rng(0).integers(0, 50, (4, 30)),
    np.array([], np.intp),
    np.arange(50) % 11 == 0,
    (slice(2, 9), slice(1, None)),
    (np.array([30, 7]), 2),
    (slice(None), [0, 2]),
]


@pytest.mark.parametrize("most_mapped", [0, 1 << 26])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_of_a_large_file_gives_what_it_gives_of_an_array(
    index: Any, most_mapped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_rows, "MOST_MAPPED", most_mapped)
    monkeypatch.setattr(machine_rows, "BLOCK_ROWS", 20)
    rows = np.random.default_rng(0).normal(size=(50, 3))
    stored = store_rows(tmp_path / "a.npy", 3, [rows])
    np.testing.assert_array_equal(stored[index], rows[index])
    assert type(stored[index]) is np.ndarray


def test_rows_beyond_two_gigabytes_are_found_by_indices_of_32_bits(tmp_path: Path) -> None:
    shape, path = (400_000, 1000), tmp_path / "a.npy"
    sparse = np.lib.format.open_memmap(path, "w+", np.float64, shape)  # takes no space where nothing is written
    sparse[-2] = np.arange(1000)
    del sparse
    found = map_rows(path)[np.array([shape[0] - 2, 5], np.int32)]
    np.testing.assert_array_equal(found, [np.arange(1000), np.zeros(1000)])


def test_values_of_other_types_are_stored_one_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_rows, "MOST_MAPPED", 0)
    values = np.arange(2**64 - 9, 2**64 - 1, dtype=np.uint64)
    with RowFile(tmp_path / "a.npy", None, np.uint64) as file:
        file.append(values)
    assert map_rows(tmp_path / "a.npy")[[6, 1]].tolist() == values[[6, 1]].tolist()


def resident_file_bytes() -> int:
    """Return how much of mapped files counts as memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    fields = {name: line.split() for line in lines if (name := line.partition(":")[0])}
    return 1024 * (int(fields["Rss"][1]) - int(fields["Anonymous"][1]))


def test_the_rows_that_were_read_of_a_large_file_do_not_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [np.random.default_rng(seed).normal(size=(BLOCK_ROWS, 8)) for seed in range(8)]
    size, some = sum(block.nbytes for block in blocks), np.random.default_rng(0).integers(0, 8 * BLOCK_ROWS, 5000)

    def growth(most_mapped: int) -> int:
        monkeypatch.setattr(machine_rows, "MOST_MAPPED", most_mapped)
        stored, before = store_rows(tmp_path / "a.npy", 8, blocks), resident_file_bytes()
        for block in blocks_of(len(stored)):
            stored[block].sum()
        stored[some].sum()
        return resident_file_bytes() - before

    assert growth(0) < 0.1 * size
    assert growth(1 << 30) > 0.9 * size, "the control: a map stays"


def test_another_process_is_sent_the_path_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_rows, "MOST_MAPPED", 0)
    rows = np.random.default_rng(0).normal(size=(5000, 3))
    sent = ForkingPickler.dumps(store_rows(tmp_path / "a.npy", 3, [rows]))
    assert len(sent) < 1000
    np.testing.assert_array_equal(ForkingPickler.loads(sent)[10:20], rows[10:20])


def test_the_rows_of_a_permutation_are_those_of_numpy_in_half_of_the_memory() -> None:
    expected = np.random.default_rng(5).permutation(20_000)
    tracemalloc.start()
    permuted = permuted_rows(np.random.default_rng(5), 20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(permuted, expected)
    assert peak < 2 * permuted.nbytes + 5000 <= 2 * expected.nbytes


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
