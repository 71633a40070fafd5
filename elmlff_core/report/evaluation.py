"""Evaluate: errors of bases, controls and stack, and the plots."""

from __future__ import annotations

from elmlff_core.data.dataset import Dataset
from elmlff_core.errors import DataError
from elmlff_core.features.cache import FeatureCache
from elmlff_core.features.features import Features
from elmlff_core.features.predict import dataset_features
from elmlff_core.protocols import FitRequest
from elmlff_core.report.table import Row, base_rows, row
from elmlff_core.reporter import Reporter
from elmlff_core.run_folder import RunFolder
from elmlff_core.stack_folder import Stack, make_meta

CONTROLS = {"mean": "mean of the bases", "linear": "least squares per element"}


def evaluate(fitted: Stack, features: dict[str, Features], run: RunFolder) -> list[Row]:
    """Errors of bases, controls and stack on every part, and the plots."""
    from elmlff_core.report.plots import learning_curve, parity  # matplotlib, which no other command needs

    rows = base_rows(features)
    predicted = {}
    for name, title in CONTROLS.items():
        if name == fitted.meta_name:
            continue
        control = make_meta(name, {})
        control.fit(FitRequest(features["train"], features["valid"], None, run.fit, 0, lambda _: None))
        predicted[title] = {part: control.predict(values) for part, values in features.items()}
        rows.append(row(title, "control", predicted[title], features))
    title = f"stack ({fitted.meta_name})"
    predicted[title] = {part: fitted.meta.predict(values) for part, values in features.items()}
    rows.append(row(title, "stack", predicted[title], features))
    test = features["test"]
    best = min((entry for entry in rows if entry.kind == "base"), key=lambda entry: entry.headline)
    panels = {best.name: test.base_prediction(best.name).forces}
    panels |= {name: parts["test"].forces for name, parts in predicted.items() if name != CONTROLS["mean"]}
    parity(test.reference_forces, panels, test.n_atoms, run.path / "parity.png")
    curve = run.fit / "learning_curve.csv"
    if curve.exists():
        levels = {entry.name: entry.errors["valid"]["rmse_per_frame"] for entry in rows if entry is best}
        levels |= {
            entry.name: entry.errors["valid"]["rmse_per_frame"] for entry in rows if entry.name == CONTROLS["linear"]
        }
        learning_curve(curve, levels, run.path / "learning_curve.png")
    return rows


def evaluate_stack(fitted: Stack, dataset: Dataset, reporter: Reporter) -> list[Row]:
    """Errors of a loaded stack, and force errors of each of its bases, on labelled structures.

    DataError where the structures contain an element that a base does not know.
    """
    if fitted.elements is not None and (unknown := sorted(dataset.elements - fitted.elements)):
        raise DataError(f"{dataset.source} contains {', '.join(unknown)}, which a base of the stack does not know")
    features = dataset_features(fitted.models, dataset, FeatureCache(), reporter)
    parts = {"test": features}
    rows = [
        row(name, "base", {"test": features.base_prediction(name).without_energy()}, parts) for name in features.models
    ]
    title = f"stack ({fitted.meta_name})"
    return [*rows, row(title, "stack", {"test": fitted.meta.predict(features)}, parts)]
