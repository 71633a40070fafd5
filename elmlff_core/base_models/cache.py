"""FeatureCache: predictions of base models on disk, one folder per model and dataset.

The name of a folder is made of the fingerprints of the model and of the dataset, so a changed checkpoint or dataset
gives another folder.  Each chunk of a prediction is a safetensors file that is complete or not there, so an interrupted
prediction resumes.  Its name has the structures that are in it and the checksum of its bytes: a damaged file is not
read, but computed again.  A record in the folder has both fingerprints whole, and the elements that the model knows, so
that they can be checked without loading it.  A lock lets only one run at a time write a folder; other runs wait and
then read it.  Where a lock does not reach, as between machines on some network file systems, several runs write at the
same time: each chunk is good, and of those that overlap all readers take the same ones.

HDF5 is not used: a process that appends to an HDF5 file on a full disk reports success or is ended by SIGSEGV.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from ase import Atoms
from safetensors.numpy import load, save

from elmlff_core.arrays import GrowingArray, cache_folder
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record, write_bytes, write_record
from elmlff_core.locks import locked

CHUNK_NAME = re.compile(r"(\d+)-(\d+)-([0-9a-f]{8})\.safetensors")  # first structure, end, checksum
ORIGIN_FILE = "origin.json"
OF_ATOMS = {"forces": np.float64, "descriptors": np.float32}  # arrays with rows of atoms
PROPERTIES = (*OF_ATOMS, "energy", "stress")
Predict = Callable[[Sequence[Atoms]], Prediction]


def default_directory() -> Path:
    """Return the folder ``features`` in the cache folder of elmlff."""
    return cache_folder() / "features"


class Origin(TypedDict):
    """What the chunks of a folder were computed from: fingerprints, and the elements of the model, None for any."""

    model: str
    dataset: str
    elements: list[str] | None


@dataclass(frozen=True)
class KnownElements:
    """The elements that a model with cached predictions knows: chemical symbols, or None if it accepts any element."""

    symbols: frozenset[str] | None


class FeatureCache:
    """Predictions by model fingerprint and dataset fingerprint."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_directory()
        _make(self.directory)

    def path(self, model_fingerprint: str, dataset_fingerprint: str) -> Path:
        """Return the folder of one model and one dataset."""
        return self.directory / f"{model_fingerprint[:24]}-{dataset_fingerprint[:24]}"

    def read(self, model_fingerprint: str, dataset_fingerprint: str, n_structures: int) -> Prediction | None:
        """Return the whole prediction, or None if it is absent, incomplete or damaged."""
        folder = self.path(model_fingerprint, dataset_fingerprint)
        if not folder.exists():
            return None
        with locked(_lock(folder)):
            if _origin(folder, model_fingerprint, dataset_fingerprint) is None:
                return None
            first = _joined(_chunks(folder))
            return _read(first) if _n_done(first) >= n_structures else None

    def has(self, model_fingerprint: str, dataset_fingerprint: str, n_structures: int) -> bool:
        """Return whether the whole prediction is there, by the names of its files; a damaged one is found by `read`."""
        folder = self.path(model_fingerprint, dataset_fingerprint)
        known = _origin(folder, model_fingerprint, dataset_fingerprint) is not None
        return known and _n_done(_joined(_chunks(folder))) >= n_structures

    def whole(self, model_fingerprint: str, dataset_fingerprint: str, n_structures: int) -> CachedPrediction | None:
        """Return a prediction that is read in parts; None if it is absent, incomplete, or a file is damaged."""
        folder = self.path(model_fingerprint, dataset_fingerprint)
        if not self.has(model_fingerprint, dataset_fingerprint, n_structures):
            return None
        return CachedPrediction(_joined(_chunks(folder)))

    def elements(self, model_fingerprint: str, dataset_fingerprint: str) -> KnownElements | None:
        """Return the elements that the model knows; None if the cache has no prediction of it for the dataset."""
        folder = self.path(model_fingerprint, dataset_fingerprint)
        origin = _origin(folder, model_fingerprint, dataset_fingerprint)
        if origin is None:
            return None
        return KnownElements(None if origin["elements"] is None else frozenset(origin["elements"]))

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

        Raises
        ------
        ElmlffError
            The cache cannot be written, for example because the disk is full.
        """
        folder = self.path(model_fingerprint, dataset_fingerprint)
        with locked(_lock(folder)):
            _make(folder)
            origin = _origin(folder, model_fingerprint, dataset_fingerprint)
            if origin is None:
                # What is there, if anything, was computed from something else, or nobody knows from what.
                for chunk in _chunks(folder):
                    chunk.path.unlink(missing_ok=True)
            while True:
                chunks = _chunks(folder)
                first = _joined(chunks)
                done = _n_done(first)
                report(done)
                if done >= len(structures):
                    if (whole := _read(first)) is not None:
                        return whole
                    continue  # a damaged chunk was removed
                later = [chunk.first for chunk in chunks if chunk.first > done]
                part = predict(structures[done : min([done + chunk_size, *later])])
                if origin is None:
                    self._write_origin(folder, model_fingerprint, dataset_fingerprint, elements())
                    origin = _origin(folder, model_fingerprint, dataset_fingerprint)
                _write(folder, done, part)

    def compute_part(
        self,
        model_fingerprint: str,
        dataset_fingerprint: str,
        part: range,
        predict: Callable[[range], Prediction],
        report: Callable[[int], None],
        elements: Callable[[], frozenset[str] | None] = lambda: None,
    ) -> None:
        """Predict the structures of `part` that are missing, while other processes predict other parts.

        Parameters
        ----------
        part : indices of structures; its step is the size of chunks, and its start a multiple of it
        predict : called with the indices of one chunk
        report : called with the number of structures of the part that are finished
        elements : as in `compute`
        """
        folder = self.path(model_fingerprint, dataset_fingerprint)
        _make(folder)
        for first in part:
            report(first - part.start)
            if any(chunk.first == first for chunk in _chunks(folder)):
                continue
            found = predict(range(first, min(first + part.step, part.stop)))
            if _origin(folder, model_fingerprint, dataset_fingerprint) is None:
                self._write_origin(folder, model_fingerprint, dataset_fingerprint, elements())
            _write(folder, first, found)

    @staticmethod
    def _write_origin(folder: Path, model: str, dataset: str, elements: frozenset[str] | None) -> None:
        symbols = None if elements is None else sorted(elements)
        write_record(folder / ORIGIN_FILE, Origin(model=model, dataset=dataset, elements=symbols))


@dataclass(frozen=True, order=True)
class _Chunk:
    """A file with the structures from `first` up to `stop`; `checksum` is the CRC-32 of its bytes."""

    first: int
    stop: int
    checksum: int
    path: Path


@dataclass(frozen=True)
class CachedPrediction:
    """A whole prediction in the cache, in the files of `chunks`, which follow one another."""

    chunks: list[_Chunk]

    def part(self, first: int, stop: int) -> Prediction:
        """Return the prediction for the structures from `first` up to `stop`; what a chunk lacks is left out.

        Raises ElmlffError if a file is damaged or gone; it is then computed again by the next command.
        """
        begins = [chunk.first for chunk in self.chunks]
        some = self.chunks[bisect_right(begins, first) - 1 : bisect_left(begins, stop)]
        found = _read(some)
        if found is None:
            raise ElmlffError(f"{some[0].path.parent} in the feature cache has changed or is damaged: run again")
        return found.subset(range(first - some[0].first, stop - some[0].first))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ElmlffError(
            f"cannot write the feature cache {folder}: {error}; set ELMLFF_CACHE to another folder"
        ) from error


def _origin(folder: Path, model: str, dataset: str) -> Origin | None:
    """Return the origin of the chunks in a folder; None if it is absent, damaged, or of another model or dataset."""
    try:
        found = read_record(folder / ORIGIN_FILE, Origin)
    except ElmlffError:
        return None
    return found if (found["model"], found["dataset"]) == (model, dataset) else None


def _lock(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _chunks(folder: Path) -> list[_Chunk]:
    """Return the chunks in a folder, in order."""
    found = []
    for path in folder.glob("*.safetensors"):
        if (parts := CHUNK_NAME.fullmatch(path.name)) is not None and path.is_file():
            found.append(_Chunk(int(parts[1]), int(parts[2]), int(parts[3], 16), path))
    return sorted(found)


def _joined(chunks: Sequence[_Chunk]) -> list[_Chunk]:
    """Return the chunks up to the first gap, each from where the last one ends.

    Two writers may have written the same structures, in chunks of other lengths or with other last digits.  The longest
    chunk is taken, and of equal ones that with the lowest checksum, so that all readers take the same.
    """
    found: list[_Chunk] = []
    for chunk in sorted(chunks, key=lambda chunk: (chunk.first, -chunk.stop, chunk.checksum)):
        if chunk.first == _n_done(found) < chunk.stop:
            found.append(chunk)
    return found


def _n_done(joined: Sequence[_Chunk]) -> int:
    """Return the number of structures in chunks without a gap."""
    return joined[-1].stop if joined else 0


def _write(folder: Path, first: int, part: Prediction) -> None:
    arrays = {"n_atoms": part.n_atoms} | {name: getattr(part, name) for name in PROPERTIES}
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None})
    name = f"{first:08d}-{first + len(part.n_atoms):08d}-{zlib.crc32(data):08x}.safetensors"
    write_bytes(folder / name, data)


def _read(chunks: Sequence[_Chunk]) -> Prediction | None:
    """Return the prediction in chunks without a gap; remove a damaged chunk, if it is still there, and return None."""
    of_atoms: dict[str, GrowingArray] = {}
    others: dict[str, list[np.ndarray]] = {"n_atoms": [], "energy": [], "stress": []}
    for chunk in chunks:
        try:
            data = chunk.path.read_bytes()
        except FileNotFoundError:  # another writer has removed it, see above
            return None
        arrays = load(data) if zlib.crc32(data) == chunk.checksum else {}
        if len(arrays.get("n_atoms", ())) != chunk.stop - chunk.first:
            chunk.path.unlink(missing_ok=True)
            return None
        for name, dtype in OF_ATOMS.items():
            if (rows := arrays.get(name)) is not None:
                of_atoms.setdefault(name, GrowingArray(rows.shape[1:], dtype)).append(rows)
        for name, parts in others.items():
            if name in arrays:
                parts.append(arrays[name])

    def whole(name: str) -> np.ndarray | None:
        # A property that is absent in some chunk, as stress of a partly periodic dataset, is left out.
        return np.concatenate(others[name]) if len(others[name]) == len(chunks) else None

    n_atoms = np.concatenate(others["n_atoms"])
    found = {name: rows.whole() for name, rows in of_atoms.items()}
    complete = {name: rows for name, rows in found.items() if len(rows) == n_atoms.sum()}
    return Prediction(n_atoms, energy=whole("energy"), stress=whole("stress"), **complete)
