"""Arrays that may be larger than memory, and the blocks in which they are processed.

A small array is kept in memory.  A larger one is a memory map of an unnamed temporary file, which is deleted with the
array.  It behaves like any NumPy array, but the operating system decides which of its pages are in memory.  Code
processes such an array in blocks, because an expression over the whole array would create a second one in memory.

Workers under other interpreters import this file, so it keeps to Python 3.9 and numpy.
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
from numpy.typing import DTypeLike

from elmlff_core.errors import ElmlffError

MEMORY_BYTES = 2**23  # largest size of an array in memory, 8 MB
MOST_PIECES = 1000
BLOCK_ROWS = 2**14  # atoms: forces of eight base models take 3 MB, which fits in the processor's cache


def cache_folder() -> Path:
    """Return ``$ELMLFF_CACHE``, or the platform's cache folder if it is not set."""
    if folder := os.environ.get("ELMLFF_CACHE"):
        return Path(folder)
    import platformdirs  # not installed where a worker runs under another interpreter

    return Path(platformdirs.user_cache_dir("elmlff"))


def new_array(shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> np.ndarray:
    """Create an array with arbitrary contents, in memory or in a file.

    Raises
    ------
    ElmlffError
        The array needs a file, and the cache folder cannot be written or has too little free space.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes <= MEMORY_BYTES:
        return np.empty(shape, dtype)
    with _nameless_file(n_bytes) as file:
        file.truncate(n_bytes)
        return _mapped(file, shape, dtype)


def blocks(n_atoms: np.ndarray, n_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of consecutive structures, as slices of structures and slices of their rows.

    A block has at most `n_rows` atoms, unless it is one larger structure.
    """
    ends = np.cumsum(n_atoms)
    start = first_row = 0
    while start < len(n_atoms):
        stop = max(start + 1, int(np.searchsorted(ends, first_row + n_rows, side="right")))
        end_row = int(ends[stop - 1])
        yield slice(start, stop), slice(first_row, end_row)
        start, first_row = stop, end_row


def row_offsets(n_atoms: np.ndarray) -> np.ndarray:
    """Return the first row of each structure in per-atom arrays, and the end of the last: (n_structures + 1,) int64."""
    offsets = np.zeros(len(n_atoms) + 1, dtype=np.int64)
    np.cumsum(n_atoms, out=offsets[1:])
    return offsets


def rows_of(offsets: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return the rows of the structures at `indices`, in that order: (n_rows,) int64.

    Parameters
    ----------
    offsets : (n_structures + 1,) int64, from `row_offsets`
    indices : (n,) int, the structures to pick
    """
    starts, ends = offsets[:-1][indices], offsets[1:][indices]
    n_atoms = ends - starts
    return np.arange(n_atoms.sum()) + np.repeat(starts - row_offsets(n_atoms)[:-1], n_atoms)


def picked_rows(array: np.ndarray, offsets: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    """Copy the rows of the structures at `indices`, in that order, block by block.

    Parameters
    ----------
    array : per-atom rows of all structures along `axis`
    offsets : (n_structures + 1,) int64, the `row_offsets` of all structures
    indices : (n,) int, the structures to pick
    axis : the axis of the rows; all other axes are copied whole
    """
    n_atoms = offsets[1:][indices] - offsets[:-1][indices]
    picked = new_array((*array.shape[:axis], int(n_atoms.sum()), *array.shape[axis + 1 :]), array.dtype)
    for block, rows in blocks(n_atoms):
        # np.take is twice as fast as indexing with an array.
        found = np.take(array, rows_of(offsets, indices[block]), axis)
        np.moveaxis(picked, axis, 0)[rows] = np.moveaxis(found, axis, 0)
    return picked


class GrowingArray:
    """An array built by appending rows, when their number is not known beforehand.

    Parameters
    ----------
    row_shape : shape of each row
    dtype : type of the array
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.row_shape, self.dtype = row_shape, np.dtype(dtype)
        self.pieces: list[np.ndarray] = []
        self.n_bytes, self.n_rows = 0, 0
        self.file: IO[bytes] | None = None

    def append(self, rows: np.ndarray) -> None:
        """Append a copy of `rows`, (n, *row_shape); raise ElmlffError if the cache folder is full."""
        piece = np.array(rows, dtype=self.dtype, order="C")
        self.pieces.append(piece)
        self.n_rows += len(piece)
        self.n_bytes += piece.nbytes
        if len(self.pieces) == MOST_PIECES:  # the overhead of many small arrays exceeds their contents
            self.pieces = [np.concatenate(self.pieces)]
        # Rows appended in one piece, such as the edges of one large structure, are in memory already.
        if self.n_bytes > MEMORY_BYTES and self.n_rows > len(piece):
            self._spill()

    def whole(self) -> np.ndarray:
        """Return all rows, (n_rows, *row_shape); nothing can be appended afterwards."""
        if self.file is None:
            empty = np.empty((0, *self.row_shape), self.dtype)
            return self.pieces[0] if len(self.pieces) == 1 else np.concatenate([empty, *self.pieces])
        self._spill()
        with self.file:
            self.file.flush()
            return _mapped(self.file, (self.n_rows, *self.row_shape), self.dtype)

    def _spill(self) -> None:
        if self.file is None:
            self.file = _nameless_file(0)
        try:
            for piece in self.pieces:
                piece.tofile(self.file)
        except OSError as error:
            raise _no_space(self.n_bytes) from error
        self.pieces, self.n_bytes = [], 0


def _nameless_file(n_bytes: int) -> IO[bytes]:
    """Open an unnamed file, deleted when it is closed, and reserve `n_bytes` of disk space for it.

    The space is reserved because a process that writes to a mapped page on a full disk is killed.
    """
    folder = cache_folder() / "scratch"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < n_bytes:
            raise _no_space(n_bytes)
        file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the caller closes it
        if n_bytes and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        raise _no_space(n_bytes) from error
    return file


def _mapped(file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    # A plain array that keeps the map alive: results computed from a np.memmap would have the type np.memmap too.
    return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)


def _no_space(n_bytes: int) -> ElmlffError:
    return ElmlffError(
        f"large arrays are kept in {cache_folder() / 'scratch'}, which cannot be written or has no space for "
        f"{n_bytes / 1e9:.2g} GB: set ELMLFF_CACHE to a folder on a larger disk"
    )
