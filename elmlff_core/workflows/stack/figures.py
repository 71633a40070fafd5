"""Figures of a stack run: which models each of them shows, and the numbers they are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.evaluation.baselines import BASELINES
from elmlff_core.evaluation.evaluation import Evaluation
from elmlff_core.evaluation.learning_curve import LearningCurve
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.features.energies import composition
from elmlff_core.features.metrics import energy_errors, labelled_stresses, stress_errors
from elmlff_core.report.page import Block, Picture, Text
from elmlff_core.report.parity import Values, parity

STRESS_COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")  # ASE's order
ONLY_LINEAR = "elmlff stack --learning-curve adds the stack itself, if it sees the geometry."
WITH_STACK = (
    "Each training of the stack has as many steps as that to all structures; after too short a training, the error may "
    "rise with the number of structures."
)
MOST_ELEMENTS = 12  # with residuals of their own, the most frequent ones


@dataclass(frozen=True)
class TestStructures:
    """Test structures and what the models of a run predict for them.

    Attributes
    ----------
    evaluation : errors and predictions of the run
    index : (n_structures,) int, indices of the test structures in their dataset
    """

    evaluation: Evaluation
    index: np.ndarray

    @property
    def features(self) -> Features:
        """Features of the test structures, with labels."""
        return self.evaluation.features["test"]

    def prediction(self, model: ModelErrors) -> Prediction:
        """Return what `model` predicts for them, of the first seed if there are several."""
        return self.evaluation.predictions[model.name]["test"]

    def shown(self, metric: str = "rmse_per_frame") -> list[ModelErrors]:
        """Return the best base model, the linear combination and the stacks, the run's stack last.

        Only models with errors by `metric` are among them.
        """
        errors = [model for model in self.evaluation.errors if metric in model.errors["test"]]
        base_models = [model for model in errors if model.kind == "base model"]
        best = sorted(base_models, key=lambda model: model.errors["test"][metric])[:1]
        linear = [model for model in errors if model.name == BASELINES["linear"]]
        stacks = [model for model in errors if model.kind == "stack"]
        return [*best, *linear, *sorted(stacks, key=lambda model: model.chosen)]


def parity_pictures(test: TestStructures) -> Iterator[Picture]:
    """Yield parity plots of forces and, where the labels have them, of energies and stresses."""
    yield force_parity(test)
    if models := test.shown("energy_rmse_per_atom"):
        yield energy_parity(test, models)
    if models := test.shown("stress_rmse"):
        yield stress_parity(test, models)


def force_parity(test: TestStructures) -> Picture:
    """Return the parity plot of force components."""
    features = test.features
    atoms = np.concatenate([np.arange(n_atoms) for n_atoms in features.n_atoms])
    places = {
        "structure": np.repeat(test.index, 3 * features.n_atoms),
        "atom": np.repeat(atoms, 3),
        "axis": np.tile(["x", "y", "z"], len(atoms)),
    }
    values = Values("force", "eV/Å", features.reference_forces.ravel(), places)
    models = test.shown()
    plot = parity(
        values,
        {model.name: test.prediction(model).forces.ravel() for model in models},
        {model.name: f"{model.headline:.4f} eV/Å per frame" for model in models},
        test.evaluation.stack.name,
    )
    caption = "Predicted against reference force components on test structures, and their errors."
    return Picture("parity_forces", plot, caption)


def energy_parity(test: TestStructures, models: Sequence[ModelErrors]) -> Picture:
    """Return the parity plot of energies per atom, with one of the models that have the same energy."""
    features = test.features
    counts, _ = composition(features)
    energy = _labels(features, "energy")
    # Without the energies of the elements, which are much larger than the differences of structures.
    beyond = 1000 * (energy - counts @ np.linalg.lstsq(counts, energy, rcond=None)[0]) / features.n_atoms
    errors: dict[str, np.ndarray] = {}
    rmse: dict[str, str] = {}
    for model in reversed(models):  # the run's stack is kept where others have the same energy
        error = energy_errors(test.prediction(model), features)
        assert error is not None
        if not any(np.allclose(1000 * error, other) for other in errors.values()):
            errors[model.name] = 1000 * error
            rmse[model.name] = f"RMSE {1000 * model.errors['test']['energy_rmse_per_atom']:.3g} meV/atom"
    plot = parity(
        Values("energy", "meV/atom", beyond, {"structure": test.index}),
        {name: beyond + error for name, error in reversed(errors.items())},
        rmse,
        test.evaluation.stack.name,
    )
    caption = (
        "Predicted against reference energies of test structures, without the least-squares energies of their "
        "elements, and their errors. Of models with the same energy one is shown."
    )
    return Picture("parity_energies", plot, caption)


def stress_parity(test: TestStructures, models: Sequence[ModelErrors]) -> Picture:
    """Return the parity plot of stress components."""
    features = test.features
    labelled = labelled_stresses(features)
    reference = 1000 * _labels(features, "stress")[labelled].ravel()
    places = {
        "structure": np.repeat(test.index[labelled], 6),
        "component": np.tile(STRESS_COMPONENTS, len(labelled)),
    }
    found, rmse = {}, {}
    for model in models:
        error = stress_errors(test.prediction(model), features)
        assert error is not None
        found[model.name] = reference + 1000 * error.ravel()
        rmse[model.name] = f"RMSE {1000 * model.errors['test']['stress_rmse']:.3g} meV/Å³"
    plot = parity(Values("stress", "meV/Å³", reference, places), found, rmse, test.evaluation.stack.name)
    caption = "Predicted against reference stress components of test structures, and their errors."
    return Picture("parity_stresses", plot, caption)


def _labels(features: Features, name: str) -> np.ndarray:
    found = getattr(features.reference, name)
    assert isinstance(found, np.ndarray), "only models with errors by these labels are shown"
    return found


def residual_picture(test: TestStructures) -> Picture:
    """Return the distributions of force errors by element, of the best base model, linear combination and stack."""
    from elmlff_core.report.plots import residuals_by_element

    features = test.features
    models = [model for model in test.shown() if model.kind != "stack" or model.chosen or model.meta == "linear"]
    errors = {model.name: test.prediction(model).forces - features.reference_forces for model in models}
    numbers, counts = np.unique(features.atomic_numbers, return_counts=True)
    frequent = sorted(np.argsort(-counts, kind="stable")[:MOST_ELEMENTS])
    n_atoms = {chemical_symbols[numbers[place]]: int(counts[place]) for place in frequent}
    plot = residuals_by_element(np.array(chemical_symbols)[features.atomic_numbers], errors, n_atoms)
    caption = "Distribution of the errors of force components on test structures, by element."
    if len(numbers) > MOST_ELEMENTS:
        caption += f" The {MOST_ELEMENTS} most frequent of {len(numbers)} elements are shown."
    return Picture("residuals_by_element", plot, caption)


def learning_blocks(evaluation: Evaluation, curves: Sequence[LearningCurve]) -> Iterator[Block]:
    """Yield what tells whether more epochs or more training structures would lower the error."""
    from elmlff_core.report.plots import learning_curve_plot, training_curve

    if (source := evaluation.chosen.learning_curve) is not None:
        models = [model for model in TestStructures(evaluation, np.zeros(0)).shown() if model.kind != "stack"]
        levels = {model.name: model.errors["valid"]["rmse_per_frame"] for model in models}
        caption = "Errors of the stack over the epochs of its training."
        yield Picture("training", training_curve(source, levels), caption)
    if not curves:
        return
    yield Text(
        f"The learning curve shows errors of the {' and '.join(curve.name for curve in curves)}, fitted to an eighth, "
        "a quarter, half and all of the training structures. Errors of the linear combination are means over parts "
        "without common structures. The base models are the same for all points: the curve shows what more structures "
        "would bring to the meta-model alone. " + (ONLY_LINEAR if len(curves) == 1 else WITH_STACK)
    )
    caption = "Force errors over the number of training structures."
    yield Picture("learning_curve", learning_curve_plot(curves), caption)
