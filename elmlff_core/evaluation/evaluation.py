"""Evaluate: errors of bases, controls and stacks, and the plots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import DataError
from elmlff_core.evaluation.model_errors import Row, errors_of, over_seeds
from elmlff_core.evaluation.summary import CONTROLS
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.fits.fit import Fitted
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.stack.stack import Stack, make_meta

Parts = Mapping[str, Features]


@dataclass(frozen=True)
class Evaluation:
    """Everything that was predicted, and its errors.

    Attributes
    ----------
    rows : the table: bases, controls, stacks
    predictions : title of a row -> part -> prediction, that of the first seed where there are several
    features : part -> what the bases predict, with the labels
    chosen : the fit that is the run's stack
    """

    rows: list[Row]
    predictions: dict[str, dict[str, Prediction]]
    features: dict[str, Features]
    chosen: Fitted

    @property
    def stack_row(self) -> Row:
        """The row of the run's stack."""
        return next(row for row in self.rows if row.chosen)


def evaluate(fitted: Sequence[Fitted], features: dict[str, Features], directory: Path) -> Evaluation:
    """Errors of bases, controls and fits on every part; the stack is chosen by its error on validation structures.

    Parameters
    ----------
    fitted : every fit of the run
    features : of the parts ``train``, ``valid`` and ``test``
    directory : for the fits of controls, which leave nothing there
    """
    predictions = _base_predictions(features)
    rows = _base_rows(predictions, features)
    asked = {entry.fit.meta.name for entry in fitted}
    for meta, title in CONTROLS.items():
        if meta not in asked:
            predictions[title] = _control_predictions(meta, features, directory)
            rows.append(Row(title, "control", errors_of(predictions[title], features), meta=meta))
    groups = defaultdict(list)
    for entry in sorted(fitted, key=lambda entry: not entry.fit.without_bases):  # controls above stacks
        groups[entry.fit.title].append(entry)
    for title, group in groups.items():
        row, predictions[title] = _row_of_fits(title, group, features)
        rows.append(row)
    best = min((row for row in rows if row.kind == "stack"), key=lambda row: row.errors["valid"]["rmse_per_frame"])
    rows = [replace(row, chosen=row is best) for row in rows]
    return Evaluation(rows, predictions, features, chosen=groups[best.name][0])


def base_rows(features: Parts) -> list[Row]:
    """Errors of each base alone."""
    return _base_rows(_base_predictions(features), features)


def _base_rows(predictions: Mapping[str, Mapping[str, Prediction]], features: Parts) -> list[Row]:
    return [Row(name, "base", errors_of(predictions[name], features)) for name in features["train"].models]


def _base_predictions(features: Parts) -> dict[str, dict[str, Prediction]]:
    """Each base alone, its energies aligned to the reference on training structures."""
    predictions = {}
    for name in features["train"].models:
        alignment = EnergyCombination.fit(features["train"].of_models([name]))
        predictions[name] = {
            part: Prediction(
                values.n_atoms, values.base_prediction(name).forces, alignment.apply(values.of_models([name]))
            )
            for part, values in features.items()
        }
    return predictions


def _control_predictions(meta: str, features: Parts, directory: Path) -> dict[str, Prediction]:
    control = make_meta(meta, {})
    control.fit(FitRequest(features["train"], features["valid"], None, directory, 0, lambda _: None))
    return {part: in_blocks(values, control.predict) for part, values in features.items()}


def _row_of_fits(title: str, group: Sequence[Fitted], features: Parts) -> tuple[Row, dict[str, Prediction]]:
    """The row of one meta-model fitted with one or several seeds, and the predictions of the first."""
    first = group[0]
    predictions: dict[str, Prediction] = {}
    errors_by_seed = []
    for entry in group:
        found = {part: in_blocks(entry.fit.seen(values), entry.meta.predict) for part, values in features.items()}
        predictions = predictions or found
        errors_by_seed.append(errors_of(found, features))
    errors, spread = over_seeds(errors_by_seed)
    per_seed = [
        {"seed": entry.fit.seed, "errors": one, "seconds": entry.seconds}
        for entry, one in zip(group, errors_by_seed, strict=True)
    ]
    row = Row(
        name=title,
        kind="control" if first.fit.without_bases else "stack",
        errors=errors,
        spread=spread,
        per_seed=per_seed if first.fit.meta.trained else [],
        meta=first.fit.meta.name,
        seconds=float(np.mean([entry.seconds for entry in group])),
        n_parameters=first.n_parameters,
    )
    return row, predictions


def write_report(evaluation: Evaluation, run: RunFolder) -> None:
    """What the predictions look like: parity on test structures, and the learning curve of the run's stack."""
    from elmlff_core.report.plots import learning_curve, parity  # matplotlib, which no other command needs

    rows, test = evaluation.rows, evaluation.features["test"]
    best = min((row for row in rows if row.kind == "base"), key=lambda row: row.headline)
    others = [row for row in rows if row.kind == "stack" and not row.chosen]
    least_squares = [row for row in rows if row.name == CONTROLS["linear"]]
    shown = [best, *least_squares, *others, evaluation.stack_row]
    panels = {row.name: evaluation.predictions[row.name]["test"].forces for row in shown}
    parity(test.reference_forces, panels, test.n_atoms, run.path / "parity.png")
    if (curve := evaluation.chosen.learning_curve) is not None:
        levels = {row.name: row.errors["valid"]["rmse_per_frame"] for row in (best, *least_squares)}
        learning_curve(curve, levels, run.path / "learning_curve.png")


def evaluate_stack(fitted: Stack, dataset: Dataset, reporter: Reporter) -> list[Row]:
    """Errors of a loaded stack, and force errors of each of its bases, on labelled structures.

    DataError where the structures contain an element that a base does not know.
    """
    if fitted.elements is not None and (unknown := sorted(dataset.elements - fitted.elements)):
        raise DataError(f"{dataset.source} contains {', '.join(unknown)}, which a base of the stack does not know")
    features = dataset_features(fitted.models, dataset, FeatureCache(), reporter)
    parts = {"test": features}
    rows = [
        Row(name, "base", errors_of({"test": features.base_prediction(name).without_energy()}, parts))
        for name in features.models
    ]
    errors = errors_of({"test": in_blocks(features, fitted.meta.predict)}, parts)
    title = f"stack ({fitted.meta_name})"
    return [*rows, Row(title, "stack", errors, meta=fitted.meta_name, chosen=True)]
