"""Arrays that may be larger than memory."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core import arrays
from elmlff_core.arrays import GrowingArray, blocks, new_array
from elmlff_core.errors import ElmlffError


@pytest.fixture
def tiny_memory(monkeypatch):
    """Keep arrays larger than 100 bytes in files."""
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 100)


def is_mapped(array: np.ndarray) -> bool:
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_small_arrays_are_in_memory(tiny_memory):
    assert not is_mapped(new_array((12,)))


def test_large_arrays_are_in_an_unnamed_file(tiny_memory):
    array = new_array((9, 3), np.float32)
    array[:] = np.arange(27).reshape(9, 3)
    assert is_mapped(array)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    assert array.sum() == 351
    assert not list((arrays.cache_folder() / "scratch").iterdir())


def test_too_little_disk_space_is_an_error_before_anything_is_written():
    with pytest.raises(ElmlffError, match=r"no space for 8e\+09 GB: set ELMLFF_CACHE"):
        new_array((10**18,))


def test_a_cache_folder_that_cannot_be_written_is_an_error(tiny_memory, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "file"))
    with pytest.raises(ElmlffError, match="ELMLFF_CACHE"):
        new_array((100,))


@pytest.mark.parametrize("most_pieces", [2, 1000])
@pytest.mark.parametrize("n_pieces", [0, 1, 2, 5])
def test_growing_arrays_hold_all_appended_rows(tiny_memory, monkeypatch, n_pieces, most_pieces):
    monkeypatch.setattr(arrays, "MOST_PIECES", most_pieces)
    rng = np.random.default_rng(0)
    pieces = [rng.integers(100, size=(size, 2)) for size in (40, 0, 1, 30, 7)[:n_pieces]]
    growing = GrowingArray((2,), np.int32)
    for piece in pieces:
        growing.append(piece)
    whole = growing.whole()
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole, np.concatenate([np.zeros((0, 2), int), *pieces]))
    assert is_mapped(whole) == (n_pieces > 1)  # one piece was in memory already


def test_blocks_hold_whole_structures_and_all_rows():
    n_atoms = np.array([3, 4, 50, 1, 1, 9])
    found = list(blocks(n_atoms, 10))
    assert [(block.start, block.stop) for block, _ in found] == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert [(rows.start, rows.stop) for _, rows in found] == [(0, 7), (7, 57), (57, 59), (59, 68)]


def test_without_structures_there_are_no_blocks():
    assert not list(blocks(np.zeros(0, dtype=int)))
