"""Arrays that may be larger than memory, and the blocks in which they are worked on.

A small array lies in memory.  A larger one lies in a file without a name, which goes with it, and is mapped: it is a
NumPy array like any other, of whose pages the system keeps in memory what it has room for.  Code that meets one walks
over it in blocks, as an expression over all of it would make another one in memory.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import platformdirs
from numpy.typing import DTypeLike

from elmlff_core.errors import ElmlffError

MEMORY_BYTES = 2**23  # the most that an array in memory takes, 8 MB
MOST_PARTS = 1000
BLOCK_ROWS = 2**14  # atoms: forces of eight bases are 3 MB, which stay near the processor


def cache_folder() -> Path:
    """``$ELMLFF_CACHE``, or the platform's cache folder."""
    return Path(os.environ.get("ELMLFF_CACHE") or platformdirs.user_cache_dir("elmlff"))


def new_array(shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> np.ndarray:
    """An array to be filled; ElmlffError where it belongs into a file and the cache folder has no room."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes <= MEMORY_BYTES:
        return np.empty(shape, dtype)
    with _nameless_file(n_bytes) as file:
        file.truncate(n_bytes)
        return _mapped(file, shape, dtype)


def blocks(n_atoms: np.ndarray, n_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, slice]]:
    """Consecutive structures with at most `n_rows` atoms, or one structure: slices of structures, and of their rows."""
    ends = np.cumsum(n_atoms)
    start = first_row = 0
    while start < len(n_atoms):
        stop = max(start + 1, int(np.searchsorted(ends, first_row + n_rows, side="right")))
        end_row = int(ends[stop - 1])
        yield slice(start, stop), slice(first_row, end_row)
        start, first_row = stop, end_row


def row_offsets(n_atoms: np.ndarray) -> np.ndarray:
    """First row of each structure in per-atom arrays, and the end of the last: (n_structures + 1,) int64."""
    offsets = np.zeros(len(n_atoms) + 1, dtype=np.int64)
    np.cumsum(n_atoms, out=offsets[1:])
    return offsets


def rows_of(offsets: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Rows of the structures at `indices`, in that order, in arrays with these `row_offsets`: (n_rows,) int64."""
    starts, ends = offsets[:-1][indices], offsets[1:][indices]
    n_atoms = ends - starts
    return np.arange(n_atoms.sum()) + np.repeat(starts - row_offsets(n_atoms)[:-1], n_atoms)


def picked_rows(array: np.ndarray, offsets: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    """A new array of the rows of the structures at `indices`, in that order, picked block by block.

    Parameters
    ----------
    array : per-atom rows of all structures along `axis`
    offsets : the `row_offsets` of all structures
    indices : (n,) int, of the structures to pick
    axis : along which the rows lie; what lies before it is kept
    """
    n_atoms = offsets[1:][indices] - offsets[:-1][indices]
    picked = new_array((*array.shape[:axis], int(n_atoms.sum()), *array.shape[axis + 1 :]), array.dtype)
    for block, rows in blocks(n_atoms):
        # Twice as fast as an array as index.
        found = np.take(array, rows_of(offsets, indices[block]), axis)
        np.moveaxis(picked, axis, 0)[rows] = np.moveaxis(found, axis, 0)
    return picked


class GrowingArray:
    """Rows that are appended until it is known how many there are.

    Parameters
    ----------
    row_shape : of each row
    dtype : of the whole
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.row_shape, self.dtype = row_shape, np.dtype(dtype)
        self.parts: list[np.ndarray] = []
        self.n_bytes, self.n_rows = 0, 0
        self.file: IO[bytes] | None = None

    def append(self, rows: np.ndarray) -> None:
        """Add a copy of `rows`, (n, *row_shape); ElmlffError where the cache folder is full."""
        part = np.array(rows, dtype=self.dtype, order="C")
        self.parts.append(part)
        self.n_rows += len(part)
        self.n_bytes += part.nbytes
        if len(self.parts) == MOST_PARTS:  # many small ones take more than they hold
            self.parts = [np.concatenate(self.parts)]
        # What came in one piece, as the edges of one large structure do, is in memory already.
        if self.n_bytes > MEMORY_BYTES and self.n_rows > len(part):
            self._spill()

    def whole(self) -> np.ndarray:
        """All rows, (n_rows, *row_shape); nothing can be appended afterwards."""
        if self.file is None:
            empty = np.empty((0, *self.row_shape), self.dtype)
            return self.parts[0] if len(self.parts) == 1 else np.concatenate([empty, *self.parts])
        self._spill()
        with self.file:
            self.file.flush()
            return _mapped(self.file, (self.n_rows, *self.row_shape), self.dtype)

    def _spill(self) -> None:
        if self.file is None:
            self.file = _nameless_file(0)
        try:
            for part in self.parts:
                part.tofile(self.file)
        except OSError as error:
            raise _no_room(self.n_bytes) from error
        self.parts, self.n_bytes = [], 0


def _nameless_file(n_bytes: int) -> IO[bytes]:
    """A file that is gone with its last user, with room for `n_bytes`: a page that finds none kills the process."""
    folder = cache_folder() / "scratch"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < n_bytes:
            raise _no_room(n_bytes)
        file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the caller closes it
        if n_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        raise _no_room(n_bytes) from error
    return file


def _mapped(file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    # A plain array that keeps the map alive: what is computed from a memmap would call itself one.
    return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)


def _no_room(n_bytes: int) -> ElmlffError:
    return ElmlffError(
        f"large arrays are kept in {cache_folder() / 'scratch'}, which cannot be written or has no room for "
        f"{n_bytes / 1e9:.2g} GB: set ELMLFF_CACHE to a folder on a larger disk"
    )
