"""FeatureCache: predictions of base models on disk, one HDF5 file per model and dataset.

The name of a file is made of the fingerprints of the model and of the dataset, so a changed checkpoint or dataset gives
another file.  Predictions are appended in chunks.  The number of finished structures is written after each chunk, so an
interrupted prediction resumes.  A lock lets only one run at a time write a file; other runs wait and then read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from filelock import FileLock

from elmlff_core.arrays import BLOCK_ROWS, cache_folder, new_array
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError

FORMAT_VERSION = 2
PROPERTIES = ("forces", "energy", "stress")
# What h5py raises of damaged files.
UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError)
Predict = Callable[[Sequence[Atoms]], Prediction]


def default_directory() -> Path:
    """Return the folder ``features`` in the cache folder of elmlff."""
    return cache_folder() / "features"


class FeatureCache:
    """Predictions by model fingerprint and dataset fingerprint."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_directory()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ElmlffError(
                f"cannot write the feature cache {self.directory}: {error}; set ELMLFF_CACHE to another folder"
            ) from error

    def path(self, model_fingerprint: str, dataset_fingerprint: str) -> Path:
        """Return the path of the file of one model and one dataset."""
        return self.directory / f"{model_fingerprint[:24]}-{dataset_fingerprint[:24]}.h5"

    def read(self, model_fingerprint: str, dataset_fingerprint: str, n_structures: int) -> Prediction | None:
        """Return the whole prediction, or None if it is absent or incomplete."""
        path = self.path(model_fingerprint, dataset_fingerprint)
        if not path.exists():
            return None
        with _lock(path):
            found = _readable(path)
        return found if found is not None and len(found.n_atoms) >= n_structures else None

    def holds(self, model_fingerprint: str, dataset_fingerprint: str, n_structures: int) -> bool:
        """Return whether the whole prediction is in the cache."""
        path = self.path(model_fingerprint, dataset_fingerprint)
        if not path.exists():
            return False
        with _lock(path), _opened(path) as file:
            return file is not None and _n_done(file) >= n_structures

    def compute(
        self,
        model_fingerprint: str,
        dataset_fingerprint: str,
        structures: Sequence[Atoms],
        predict: Predict,
        chunk_size: int,
        report: Callable[[int], None],
    ) -> Prediction:
        """Predict the missing structures, chunk by chunk, and return the whole prediction.

        Parameters
        ----------
        structures : structures of the dataset, in order
        predict : called with at most `chunk_size` structures at a time
        report : called with the number of finished structures
        """
        path = self.path(model_fingerprint, dataset_fingerprint)
        with _lock(path):
            begun = _readable(path)
            done = 0 if begun is None else len(begun.n_atoms)
            if begun is None:
                path.unlink(missing_ok=True)
            while done < len(structures):
                report(done)
                chunk = structures[done : done + chunk_size]
                part = predict(chunk)
                done += len(chunk)
                # The file is closed after each chunk, so that a killed run leaves a file that the next run can open.
                # The latest format also has checksums of its own tables.
                with h5py.File(path, "a", libver="latest") as file:
                    _append(file, part, done)
            report(done)
            with h5py.File(path, "r") as file:
                return _read(file)


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File | None]:
    """Open the file to read; yield None if it does not exist, is unreadable, or is not as this class writes it."""
    try:
        file = h5py.File(path, "r")
    except UNREADABLE:
        yield None
        return
    with file:
        yield file if _is_sound(file) else None


def _is_sound(file: h5py.File) -> bool:
    """Return whether the attributes and arrays are those that this class writes; checksums are another matter."""
    try:
        n_done = file.attrs["n_done"]
        if file.attrs["format_version"] != FORMAT_VERSION or not isinstance(n_done, np.integer):
            return False
        n_atoms, forces = file["n_atoms"], file["forces"]
        fits = n_atoms.ndim == 1 and n_atoms.dtype.kind in "iu" and 0 <= n_done <= len(n_atoms)
        shapes = {"forces": (3,), "energy": (), "stress": (6,)}
        fits &= all(
            file[name].dtype.kind == "f" and file[name].shape[1:] == shape
            for name, shape in shapes.items()
            if name in file
        )
        return bool(fits) and len(forces) >= int(n_atoms[: int(n_done)].sum())
    except UNREADABLE:
        return False


def _readable(path: Path) -> Prediction | None:
    """Return the finished part of the file, or None if there is none that can be read: it is computed again."""
    with _opened(path) as file:
        if file is None:
            return None
        try:
            return _read(file)
        except UNREADABLE:  # a checksum does not fit: the disk or a copy has changed it
            return None


def _n_done(file: h5py.File) -> int:
    return int(file.attrs["n_done"])


def _append(file: h5py.File, part: Prediction, n_done: int) -> None:
    # Rows beyond the number of finished structures belong to an interrupted chunk: they are overwritten.
    first_structure = n_done - len(part.n_atoms)
    rows_before = int(file["n_atoms"][:first_structure].sum()) if "n_atoms" in file else 0
    _write(file, "n_atoms", part.n_atoms, first_structure)
    for name in PROPERTIES:
        array = getattr(part, name)
        if array is not None:
            _write(file, name, array, rows_before if name == "forces" else first_structure)
    file.flush()
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["n_done"] = n_done


def _write(file: h5py.File, name: str, array: np.ndarray, start: int) -> None:
    if name not in file:
        # A checksum with every chunk: damaged numbers are not read, but computed again.
        shape, most = (0, *array.shape[1:]), (None, *array.shape[1:])
        file.create_dataset(name, shape=shape, maxshape=most, dtype=array.dtype, fletcher32=True)
    stop = start + len(array)
    file[name].resize(stop, axis=0)
    file[name][start:stop] = array


def _read(file: h5py.File) -> Prediction:
    n_done = _n_done(file)
    n_atoms = file["n_atoms"][:n_done]
    n_rows = int(n_atoms.sum())

    def whole(name: str, length: int) -> np.ndarray | None:
        # A property that was absent in some chunk, as stress of a partly periodic dataset, is too short: leave it out.
        return file[name][:length] if name in file and len(file[name]) >= length else None

    forces = new_array((n_rows, 3))
    for start in range(0, n_rows, BLOCK_ROWS):
        forces[start : start + BLOCK_ROWS] = file["forces"][start : min(start + BLOCK_ROWS, n_rows)]
    return Prediction(n_atoms, forces, whole("energy", n_done), whole("stress", n_done))
