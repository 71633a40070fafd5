"""Predict a dataset with base models, using the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ase import Atoms

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.concurrency import JointProgress, for_each_model, n_at_once
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.training import kind_of
from elmlff_core.contracts.dataset import Dataset, fingerprint_of
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.contracts.structures import check_geometry
from elmlff_core.errors import ElmlffError, ForceFieldError
from elmlff_core.worker.errors import WorkerError

# Atoms in one call of a base model: enough for the batches of backends, few enough that progress is shown and that an
# interruption costs seconds, even with a universal model that takes 10 ms an atom on a CPU.  It does not depend on the
# time that a call takes, because some backends round differently in other batches.
CHUNK_ATOMS = 1024


def cached_prediction(
    model: NamedModel,
    structures: Sequence[Atoms],
    dataset_fingerprint: str,
    cache: FeatureCache,
    progress: ProgressCallback,
) -> Prediction:
    """Return the prediction of `model` for `structures`, from the cache, or computed and added to it.

    Raises
    ------
    ForceFieldError
        The base model failed, or returned arrays of a wrong shape or with values that are not finite.  The message
        gives the model, the structure and the atom.
    """
    known = cache.read(model.fingerprint, dataset_fingerprint, len(structures))
    if known is not None:
        return known
    total, stopwatch = len(structures), Stopwatch(model)
    done = 0

    def report(finished: int) -> None:
        nonlocal done
        done = finished
        progress(Progress(finished, total))

    def predict(chunk: Sequence[Atoms]) -> Prediction:
        return stopwatch.predicted(chunk, done)

    size = chunk_size(structures)
    found = cache.compute(
        model.fingerprint, dataset_fingerprint, structures, predict, size, report, lambda: model.force_field.elements
    )
    stopwatch.note()
    return found


class Stopwatch:
    """Predicts with a base model, and measures how long it takes: a rate for plans."""

    def __init__(self, model: NamedModel) -> None:
        self.model, self.seconds, self.n_atoms = model, 0.0, 0

    def predicted(self, structures: Sequence[Atoms], first: int) -> Prediction:
        """Return what `predict_checked` returns."""
        started = time.perf_counter()
        found = predict_checked(self.model, structures, first)
        self.seconds += time.perf_counter() - started
        self.n_atoms += len(found.forces)
        return found

    def note(self) -> None:
        """Keep the rate, if anything was predicted."""
        if self.n_atoms:
            kind_of(self.model, "predicting").note(self.seconds, self.n_atoms)


def chunk_size(structures: Sequence[Atoms]) -> int:
    """Return the number of structures in one call of a base model."""
    return max(1, CHUNK_ATOMS // max(len(atoms) for atoms in structures))


def predict_part(
    model: NamedModel,
    structures: Sequence[Atoms],
    fingerprint: str,
    part: range,
    cache: FeatureCache,
    progress: ProgressCallback,
) -> None:
    """Add the prediction of a part of the structures of a dataset to the cache; errors as in `cached_prediction`.

    `part` has indices of structures, one for each call of the model: its step is the `chunk_size`.
    """

    stopwatch = Stopwatch(model)

    def predict(chunk: range) -> Prediction:
        return stopwatch.predicted(structures[chunk.start : chunk.stop], chunk.start)

    def report(done: int) -> None:
        progress(Progress(done, part.stop - part.start))

    cache.compute_part(model.fingerprint, fingerprint, part, predict, report, lambda: model.force_field.elements)
    stopwatch.note()


def predict_checked(model: NamedModel, structures: Sequence[Atoms], first: int = 0) -> Prediction:
    """Call a base model once and check its arrays; ForceFieldError as in `cached_prediction`."""
    check_geometry(structures, first)
    try:
        prediction = model.force_field.predict(structures)
    except WorkerError as error:
        raise error.shifted(first) from error.__cause__
    except ElmlffError:
        raise
    except Exception as error:  # a backend may raise any exception; the message must name the model
        raise ForceFieldError(
            f"model '{model.name}' (adapter '{model.plugin.name}') failed on structures {first} to "
            f"{first + len(structures) - 1}: {type(error).__name__}: {error}"
        ) from error
    if model.config.descriptors and prediction.descriptors is None and len(structures):
        raise ForceFieldError(
            f"model '{model.name}' gave no descriptors, but its adapter '{model.plugin.name}' says there are some: "
            f"set descriptors = false under [models.{model.name}], and report this to the author of the adapter"
        )
    return prediction.checked(structures, model.name, first)


def dataset_features(
    models: Sequence[NamedModel], dataset: Dataset, cache: FeatureCache, reporter: Reporter
) -> Features:
    """Return the predictions of `models` for `dataset`, using the cache; errors as in `cached_prediction`."""
    predictions = predictions_of(models, dataset.structures, dataset.fingerprint, cache, reporter)
    return Features.from_predictions(dataset.structures, predictions, dataset)


def structure_features(
    models: Sequence[NamedModel], structures: Sequence[Atoms], cache: FeatureCache, reporter: Reporter
) -> Features:
    """Return the predictions of `models` for structures without labels, using the cache; errors as above."""
    predictions = predictions_of(models, structures, fingerprint_of(structures), cache, reporter)
    return Features.from_predictions(structures, predictions)


def predictions_of(
    models: Sequence[NamedModel], structures: Sequence[Atoms], fingerprint: str, cache: FeatureCache, reporter: Reporter
) -> dict[str, Prediction]:
    """Return the prediction of each of `models`, using the cache; parameters and errors as in `cached_prediction`."""

    def predict(model: NamedModel, progress: ProgressCallback) -> Prediction:
        return cached_prediction(model, structures, fingerprint, cache, progress)

    if n_at_once(models) > 1:
        names = ", ".join(model.name for model in models)
        with reporter.progress(f"predicting with {names}") as progress:
            joint = JointProgress(progress, len(models))
            return for_each_model(models, lambda model: predict(model, joint.of(model.name)), joint.cancel)
    predictions = {}
    for model in models:
        with reporter.progress(f"predicting with {model.name}") as progress:
            predictions[model.name] = predict(model, progress)
    return predictions
