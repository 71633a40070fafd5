"""Arrays that may be larger than memory."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core import arrays
from elmlff_core.arrays import GrowingArray, blocks, new_array
from elmlff_core.errors import ElmlffError


@pytest.fixture
def tiny_memory(monkeypatch):
    """Whatever is larger than a hundred bytes belongs into a file."""
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 100)


def is_mapped(array: np.ndarray) -> bool:
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def test_small_arrays_are_in_memory(tiny_memory):
    assert not is_mapped(new_array((12,)))


def test_large_arrays_are_in_a_file_that_nobody_sees(tiny_memory):
    array = new_array((9, 3), np.float32)
    array[:] = np.arange(27).reshape(9, 3)
    assert is_mapped(array)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    assert array.sum() == 351
    assert not list((arrays.cache_folder() / "scratch").iterdir())


def test_no_room_is_said_before_anything_is_written():
    with pytest.raises(ElmlffError, match=r"no room for 8e\+09 GB: set ELMLFF_CACHE"):
        new_array((10**18,))


def test_a_cache_folder_that_cannot_be_written_is_said(tiny_memory, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "file"))
    with pytest.raises(ElmlffError, match="ELMLFF_CACHE"):
        new_array((100,))


@pytest.mark.parametrize("most_parts", [2, 1000])
@pytest.mark.parametrize("n_parts", [0, 1, 2, 5])
def test_growing_arrays_end_as_what_was_appended(tiny_memory, monkeypatch, n_parts, most_parts):
    monkeypatch.setattr(arrays, "MOST_PARTS", most_parts)
    rng = np.random.default_rng(0)
    parts = [rng.integers(100, size=(size, 2)) for size in (40, 0, 1, 30, 7)[:n_parts]]
    growing = GrowingArray((2,), np.int32)
    for part in parts:
        growing.append(part)
    whole = growing.whole()
    assert whole.dtype == np.int32
    np.testing.assert_array_equal(whole, np.concatenate([np.zeros((0, 2), int), *parts]))
    assert is_mapped(whole) == (n_parts > 1)  # one piece was in memory already


def test_blocks_hold_whole_structures_and_all_rows():
    n_atoms = np.array([3, 4, 50, 1, 1, 9])
    found = list(blocks(n_atoms, 10))
    assert [(part.start, part.stop) for part, _ in found] == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert [(rows.start, rows.stop) for _, rows in found] == [(0, 7), (7, 57), (57, 59), (59, 68)]


def test_no_structures_are_no_blocks():
    assert not list(blocks(np.zeros(0, dtype=int)))
