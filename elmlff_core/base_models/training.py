"""Training of base models, each in a folder whose name is made of data, options and seed, where later runs find it."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from ase import Atoms

from elmlff_core.base_models.named import NamedModel
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.contracts.protocols import TrainingRequest
from elmlff_core.data.content import SEEN_FILE, SeenStructures
from elmlff_core.errors import ElmlffError, ForceFieldError
from elmlff_core.execution.rates import Kind
from elmlff_core.files import read_record, refuse_links, sha256_of, write_record
from elmlff_core.locks import Timeout, locked
from elmlff_core.plugins.registry import require

TRAINED, LOCK = "trained.json", "training.lock"


class TrainedRecord(TypedDict):
    """What later commands read of ``trained.json``: the checkpoint, as a path in its folder, and its SHA-256."""

    checkpoint: str
    checkpoint_sha256: str
    adapter: str
    options: dict[str, Any]


def training_directory(model: NamedModel, train: Dataset, valid: Dataset, seed: int, root: Path) -> Path:
    """Return the folder of `model` trained on these data with these options; any change gives another folder."""
    key = json.dumps(
        [model.config.adapter, model.options.model_dump(mode="json"), train.labels_fingerprint,
         valid.labels_fingerprint, seed],
        sort_keys=True,
    )  # fmt: skip
    return root.expanduser() / f"{model.name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def trained_checkpoint(directory: Path) -> Path | None:
    """Return the checkpoint of a finished training in `directory`, or None."""
    record = directory / TRAINED
    if not record.exists():
        return None
    remedy = f"remove the folder {directory} to train again"
    found = read_record(record, TrainedRecord, remedy)
    checkpoint = directory / found["checkpoint"]
    if not checkpoint.is_file():
        raise ForceFieldError(f"{record} names {checkpoint}, which is not there: {remedy}")
    if sha256_of(checkpoint) != found["checkpoint_sha256"]:
        raise ForceFieldError(f"{checkpoint} has changed since its training: {remedy}")
    return checkpoint


def seen_in_training(model: NamedModel) -> SeenStructures | None:
    """Return the structures of the training of `model`, if elmlff trained its checkpoint, which is still in its place.

    None if that is not known: the model was trained elsewhere or by an earlier elmlff, or its checkpoint was copied.
    """
    if model.checkpoint is None:
        return None
    checkpoint = model.checkpoint.resolve()
    for directory in list(checkpoint.parents)[:3]:
        with suppress(ElmlffError):  # a file of that name may be of somebody else: then there is no record
            if trained_checkpoint(directory) == checkpoint:
                return SeenStructures.load(directory / SEEN_FILE)
    return None


def kind_of(model: NamedModel, step: str) -> Kind:
    """Return the kind of step that ``training`` or ``predicting`` with `model` is, of which rates are kept."""
    return Kind(step, model.plugin.name, model.options.model_dump(mode="json"))


def training_amount(model: NamedModel, structures: Sequence[Atoms]) -> float:
    """Return the amount of work of a training, to which its time is proportional: steps times atoms of a structure."""
    return model.length(len(structures)).steps * sum(map(len, structures)) / len(structures)


def train_model(
    model: NamedModel, train: Dataset, valid: Dataset, seed: int, directory: Path, progress: ProgressCallback
) -> NamedModel:
    """Return `model` with the checkpoint of its training in `directory`; train it unless that training is finished.

    If another process is running the same training, wait for it: a scheduler may give the task of a worker that it lost
    to another one, while the first still works.

    Raises
    ------
    ElmlffError
        The training failed, or its folder cannot be written.
    """
    assert model.plugin.trainer is not None
    require(model.plugin)
    directory.mkdir(parents=True, exist_ok=True)
    refuse_links(directory)
    if (known := trained_checkpoint(directory)) is not None:
        return replace(model, checkpoint=known)
    is_new = all(path.name == LOCK for path in directory.iterdir())
    waiting = Progress(0, model.length(len(train)).steps, "waiting for another run that trains it")
    try:
        with _turn(directory / LOCK, lambda: progress(waiting)) as alone:
            if (checkpoint := trained_checkpoint(directory)) is None:
                started = time.perf_counter()
                place = directory if alone else _own_folder(directory)
                request = TrainingRequest(model.name, train, valid, model.options, place, seed, progress)
                checkpoint = model.plugin.trainer.train(request)
                SeenStructures.of(train.structures, valid.structures).save(directory / SEEN_FILE)
                seconds = time.perf_counter() - started
                if is_new:  # and not the last part of a training that was interrupted
                    kind_of(model, "training").note(seconds, training_amount(model, train.structures))
                _record(model, len(train), checkpoint, directory, seconds)
    except OSError as error:  # the files of the trainers themselves, on a full disk for example
        raise ElmlffError(f"cannot train '{model.name}' in {directory}: {error.strerror or error}") from error
    return replace(model, checkpoint=checkpoint)


@contextmanager
def _turn(path: Path, waits: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock at `path`, as `locked` does; call `waits` before waiting for another process that holds it."""
    with ExitStack() as held:
        try:
            alone = held.enter_context(locked(path, wait=False))
        except Timeout:
            waits()
            alone = held.enter_context(locked(path))
        yield alone


def _own_folder(directory: Path) -> Path:
    """Make a folder in `directory` for one training, where no lock keeps others from the same training.

    Trainers write into their files as they go.  Of several trainings the last one to finish is recorded, and the
    checkpoints of the others stay what they are.
    """
    folder = directory / f"training-{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


def _record(model: NamedModel, n_structures: int, checkpoint: Path, directory: Path, seconds: float) -> None:
    length = model.length(n_structures)
    record = {
        "checkpoint": str(checkpoint.relative_to(directory)),
        "checkpoint_sha256": sha256_of(checkpoint),
        "adapter": model.config.adapter,
        "options": model.options.model_dump(mode="json"),
        "structures": n_structures,
        "steps": length.steps,
        "epochs": length.epochs,
        "seconds": round(seconds, 1),
    }
    write_record(directory / TRAINED, record, indent=1)
