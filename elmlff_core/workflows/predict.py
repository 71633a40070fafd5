"""The prediction workflow: what a stack predicts for many structures, shared among workers where that is worth it.

Base models predict through the cache, and then the stack goes over its blocks of structures.  Whether one process does
that, or each worker a part, the batches are the same, and so are the numbers.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from elmlff_core.arrays import blocks, cache_folder
from elmlff_core.base_models.cache import CachedPrediction, FeatureCache
from elmlff_core.base_models.prediction import predict_part, predictions_of
from elmlff_core.contracts.dataset import fingerprint_of
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.contracts.structures import n_atoms_of
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_dataset, read_structures
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.execution.placement import Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.files import sha256_of, write_bytes
from elmlff_core.locks import locked
from elmlff_core.stack.place import StackPlace
from elmlff_core.stack.stack import STACK_FILE, Stack, StackPrediction
from elmlff_core.workflows.ahead import MANY, parts_of

FOLDER = "predictions"  # in the cache folder, until all is done
BLOCK_ATOMS = 4096  # that a stack predicts at once


@dataclass(frozen=True)
class Source:
    """A stack and structures, in words and paths: a worker reads both itself.

    Attributes
    ----------
    stack : the stack
    data : what `read_dataset` reads or, without `keys`, `read_structures`
    keys : names of the labels, if labels are read
    """

    stack: StackPlace
    data: str
    keys: LabelKeys | None = None

    def structures(self) -> Sequence[Atoms]:
        """Read the structures."""
        return read_structures(self.data) if self.keys is None else read_dataset(self.data, self.keys).structures


@dataclass(frozen=True)
class Workers:
    """Where workers run that share a prediction, and where they find stack and structures."""

    placement: Placement
    source: Source


@dataclass(frozen=True)
class ManyStructures:
    """Structures that a stack predicts, block by block, with predictions of its base models from the cache.

    Attributes
    ----------
    stack : the stack
    structures : the structures
    fingerprint : their name in the cache
    cache : predictions of base models
    whole : whether to predict uncertainties too
    """

    stack: Stack
    structures: Sequence[Atoms]
    fingerprint: str
    cache: FeatureCache
    whole: bool = True

    @cached_property
    def blocks(self) -> list[slice]:
        """Consecutive structures that are predicted together; they depend on the structures alone."""
        return [block for block, _ in blocks(n_atoms_of(self.structures), BLOCK_ATOMS)]

    @cached_property
    def _cached(self) -> dict[str, CachedPrediction]:
        found = {}
        for model in self.stack.base_models:
            cached = self.cache.whole(model.fingerprint, self.fingerprint, len(self.structures))
            if cached is None:
                raise ElmlffError(f"the predictions of {model.name} in the feature cache are gone: run again")
            found[model.name] = cached
        return found

    def features(self, block: slice) -> Features:
        """Return the predictions of the base models for one block, which are in the cache."""
        predictions = {name: cached.part(block.start, block.stop) for name, cached in self._cached.items()}
        return Features.from_predictions(self.structures[block], predictions)

    def predicted(self, block: slice) -> StackPrediction:
        """Return the prediction of the stack for one block; errors as in `Stack.predict`."""
        return self.stack.combine(self.features(block), block.start, self.whole)

    def file(self, folder: Path, block: slice) -> Path:
        """Return the file in which a worker leaves its prediction for one block."""
        return folder / f"{block.start}-{block.stop}.safetensors"


@contextmanager
def predicted_blocks(
    many: ManyStructures, reporter: Reporter, workers: Workers | None = None
) -> Iterator[Iterator[tuple[slice, StackPrediction]]]:
    """Yield an iterator over the blocks of structures, in order, and what the stack predicts for each.

    Parameters
    ----------
    many : stack and structures
    reporter : receives messages and progress
    workers : share the work if there is enough of it; None for this process alone

    Raises
    ------
    DataError
        There are no structures.
    ElmlffError
        A base model or the stack cannot be applied, or a worker failed.
    """
    if not len(many.structures):
        raise DataError("there are no structures to predict")
    n_workers = 1 if workers is None else workers.placement.n_workers(MANY)
    parts = parts_of(many.structures, n_workers)
    if workers is None or len(parts) == 1 or not workers.placement.runs_elsewhere(len(parts)):
        predictions_of(many.stack.base_models, many.structures, many.fingerprint, many.cache, reporter)
        with reporter.progress("predicting") as progress:
            yield _here(many, progress)
        return
    place = workers.source.stack
    key = hashlib.sha256(
        repr((sha256_of(place.folder / STACK_FILE), many.fingerprint, place.device, many.whole)).encode()
    ).hexdigest()
    folder = cache_folder().absolute() / FOLDER / key[:24]
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        tasks = list(_tasks(many, parts, workers.source, folder))
        run_tasks(tasks, workers.placement, folder / "tasks", "predictions", reporter, len(parts))
        yield ((block, _read(many.file(folder, block))) for block in many.blocks)
        shutil.rmtree(folder)  # not after a failure: the logs are there, and the same command goes on


def _here(many: ManyStructures, progress: ProgressCallback) -> Iterator[tuple[slice, StackPrediction]]:
    for block in many.blocks:
        yield block, many.predicted(block)
        progress(Progress(block.stop, len(many.structures)))


def _tasks(many: ManyStructures, parts: Sequence[range], source: Source, folder: Path) -> Iterator[Task]:
    """Yield the predictions of base models that are not in the cache, and after them those of the stack."""
    common, names = (source, many.fingerprint, many.cache.directory.absolute()), []
    for model in many.stack.base_models:
        if many.cache.has(model.fingerprint, many.fingerprint, len(many.structures)):
            continue
        model.close()  # the workers load it for themselves
        for part in parts:
            names.append(f"predicting structures {part.start} to {part.stop - 1} with {model.name}")
            yield Task(names[-1], BasePart(*common, model.name, part))
    for number in range(len(parts)):
        first, stop = (len(many.blocks) * n // len(parts) for n in (number, number + 1))
        if first < stop:
            what = f"structures {many.blocks[first].start} to {many.blocks[stop - 1].stop - 1}"
            work = StackPart(*common, many.whole, folder, range(first, stop))
            yield Task(f"predicting {what} with the stack", work, tuple(names))


@dataclass(frozen=True)
class _Work:
    source: Source
    fingerprint: str
    cache: Path


@dataclass(frozen=True)
class BasePart(_Work):
    """Adds the prediction of one base model for a part of the structures to the cache."""

    model: str
    part: range

    def __call__(self, reporter: Reporter) -> None:
        stack, structures = _loaded(self.source)
        (model,) = (model for model in stack.base_models if model.name == self.model)
        with reporter.progress(f"predicting with {self.model}") as progress:
            predict_part(model, structures, self.fingerprint, self.part, FeatureCache(self.cache), progress)
        model.close()


@dataclass(frozen=True)
class StackPart(_Work):
    """Writes the predictions of the stack for some of its blocks to files."""

    whole: bool
    folder: Path
    numbers: range

    def __call__(self, reporter: Reporter) -> None:
        many = ManyStructures(*_loaded(self.source), self.fingerprint, FeatureCache(self.cache), self.whole)
        with reporter.progress("predicting with the stack") as progress:
            for done, number in enumerate(self.numbers, start=1):
                path = many.file(self.folder, many.blocks[number])
                if not path.exists():
                    _write(path, many.predicted(many.blocks[number]))
                progress(Progress(done, len(self.numbers)))


@functools.lru_cache(maxsize=1)
def _loaded(source: Source) -> tuple[Stack, Sequence[Atoms]]:
    """Load stack and structures; a worker that has several parts does so once."""
    return source.stack.load(), source.structures()


def _write(path: Path, found: StackPrediction) -> None:
    arrays = {field.name: getattr(found, field.name) for field in fields(found)}
    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}))


def _read(path: Path) -> StackPrediction:
    try:
        return StackPrediction(**load_file(path))
    except (OSError, SafetensorError) as error:
        raise ElmlffError(f"cannot read the prediction {path} of a worker: {error}; run again") from error


def joined(found: Iterator[tuple[slice, StackPrediction]]) -> Prediction:
    """Return the forces, energies and stresses of all blocks; a property that one of them lacks is left out."""
    parts = [Prediction(part.n_atoms, part.forces, part.energy, part.stress) for _, part in found]
    return Prediction.concatenate(parts)


def name_in_cache(structures: Sequence[Atoms]) -> str:
    """Return the name in the cache of structures with all that a force field may read of them.

    Beside what is in the fingerprint of a dataset these are further arrays, such as charges, and ``info``.
    """
    fingerprint = fingerprint_of(structures)
    others = [
        ({name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}, atoms.info)
        for atoms in structures
    ]
    if not any(arrays or info for arrays, info in others):
        return fingerprint
    return hashlib.sha256(fingerprint.encode() + pickle.dumps(others)).hexdigest()
