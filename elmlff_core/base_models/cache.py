"""FeatureCache: predictions of base models on disk, one HDF5 file per model and dataset.

The name of a file is made of the fingerprints of the model and of the dataset, so a changed checkpoint or dataset gives
another file.  The file holds both fingerprints whole, which are checked whenever it is read, and the elements that the
model knows, so that they can be checked without loading it.  Predictions are appended in chunks.  The number of
finished structures is written after each chunk, so an interrupted prediction resumes.  A lock lets only one run at a
time write a file; other runs wait and then read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from filelock import FileLock

from elmlff_core.arrays import BLOCK_ROWS, cache_folder, new_array
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError

FORMAT_VERSION = 3
ANY_ELEMENT = "any"
PROPERTIES = ("forces", "energy", "stress")
UNREADABLE = (OSError, KeyError, ValueError, RuntimeError)  # what h5py raises of damaged files
Predict = Callable[[Sequence[Atoms]], Prediction]


def default_directory() -> Path:
    """Return the folder ``features`` in the cache folder of elmlff."""
    return cache_folder() / "features"


@dataclass(frozen=True)
class Origin:
    """What a file of the cache was computed from.

    Attributes
    ----------
    model, dataset : their fingerprints
    """

    model: str
    dataset: str


@dataclass(frozen=True)
class KnownElements:
    """The elements that a model with cached predictions knows: chemical symbols, or None if it accepts any element."""

    symbols: frozenset[str] | None


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
        path, origin = self.path(model_fingerprint, dataset_fingerprint), Origin(model_fingerprint, dataset_fingerprint)
        if not path.exists():
            return None
        with _lock(path):
            try:
                with _opened(path, origin) as file:
                    return None if file is None or _n_done(file) < n_structures else _read(file)
            except UNREADABLE:  # a checksum does not fit: the disk or a copy has changed it
                path.unlink()
                return None

    def elements(self, model_fingerprint: str, dataset_fingerprint: str) -> KnownElements | None:
        """Return the elements that the model knows; None if the cache has no prediction of it for the dataset."""
        path, origin = self.path(model_fingerprint, dataset_fingerprint), Origin(model_fingerprint, dataset_fingerprint)
        if not path.exists():
            return None
        with _lock(path), _opened(path, origin) as file:
            if file is None:
                return None
            symbols = str(file.attrs["elements"])
            return KnownElements(None if symbols == ANY_ELEMENT else frozenset(symbols.split()))

    def compute(
        self,
        model_fingerprint: str,
        dataset_fingerprint: str,
        structures: Sequence[Atoms],
        predict: Predict,
        chunk_size: int,
        report: Callable[[int], None],
        elements: Callable[[], frozenset[str] | None] = lambda: None,
    ) -> Prediction:
        """Predict the missing structures, chunk by chunk, and return the whole prediction.

        Parameters
        ----------
        structures : structures of the dataset, in order
        predict : called with at most `chunk_size` structures at a time
        report : called with the number of finished structures
        elements : called after a prediction, returns the chemical symbols that the model knows; None for any element
        """
        path, origin = self.path(model_fingerprint, dataset_fingerprint), Origin(model_fingerprint, dataset_fingerprint)
        with _lock(path):
            with _opened(path, origin) as file:
                done = -1 if file is None else _n_done(file)
            if done < 0:
                path.unlink(missing_ok=True)
                done = 0
            while done < len(structures):
                report(done)
                chunk = structures[done : done + chunk_size]
                part = predict(chunk)
                done += len(chunk)
                # The file is closed after each chunk, so that a killed run leaves a file that the next run can open.
                # The latest format also has checksums of its own tables.
                with h5py.File(path, "a", libver="latest") as file:
                    _append(file, part, done)
                    if "format_version" not in file.attrs:
                        _identify(file, origin, elements())
            report(done)
            with h5py.File(path, "r") as file:
                return _read(file)


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"))


@contextmanager
def _opened(path: Path, origin: Origin) -> Iterator[h5py.File | None]:
    """Open the file for reading; yield None if it cannot be read, is of another format, or is not of this `origin`."""
    try:
        file = h5py.File(path, "r")
        identity = (file.attrs.get("format_version"), file.attrs.get("model"), file.attrs.get("dataset"))
    except UNREADABLE:
        yield None
        return
    with file:
        yield file if identity == (FORMAT_VERSION, origin.model, origin.dataset) else None


def _identify(file: h5py.File, origin: Origin, elements: frozenset[str] | None) -> None:
    """Write from what the file is computed; the format version comes last, because it makes the file readable."""
    file.attrs["model"], file.attrs["dataset"] = origin.model, origin.dataset
    file.attrs["elements"] = ANY_ELEMENT if elements is None else " ".join(sorted(elements))
    file.attrs["format_version"] = FORMAT_VERSION


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
