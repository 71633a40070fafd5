"""`check_meta_model`: check the contract of a meta-model by fitting it to a small system."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing import meta_model_checks as checks
from elmlff_core.testing.meta_model_checks import MetaModelCase
from elmlff_core.testing.report import Check, Examination, Figure, Report
from elmlff_core.testing.tolerances import Tolerances

CHECKS: dict[str, Callable[[MetaModelCase], Figure]] = {
    "shapes": checks.shapes,
    "finite": checks.finite,
    "no_worse_than_worst_base": checks.no_worse_than_worst_base,
    "repeatable": checks.repeatable,
    "seeded": checks.seeded,
    "labels_unread": checks.labels_unread,
    "save_and_load": checks.save_and_load,
    "no_pickles": checks.no_pickles,
    "batched": checks.batched,
    "permutation": checks.permutation,
    "lattice_vectors": checks.lattice_vectors,
    "rotation": checks.rotation,
    "other_sizes": checks.other_sizes,
    "one_atom": checks.one_atom,
}
# A meta-model may work for one composition and order of atoms only, and refuse others with an error.
MAY_REFUSE = ("permutation", "other_sizes", "one_atom")


def check_meta_model(
    make: Callable[[], MetaModel],
    features: Features | None = None,
    *,
    training: TrainingConfig | None = None,
    skip: Mapping[str, str] | None = None,
    reported: Collection[str] = (),
    tolerances: Tolerances | None = None,
    seed: int = 0,
    raise_on_failure: bool = True,
) -> Report:
    """Check a meta-model by fitting it and predicting with it.

    Parameters
    ----------
    make : makes a meta-model that is not fitted, as ``lambda: Mine(MyOptions())``; called several times
    features : features with labels, for fits and predictions; None takes `example_features`
    training : settings for meta-models that are trained; None trains three epochs
    skip : check -> reason, for checks that do not apply
    reported : checks whose values are reported but cannot fail, such as ``["rotation"]`` for a meta-model that is not
        equivariant
    tolerances : limits of deviations
    seed : seed of the fit, of rotations and permutations
    raise_on_failure : False returns the report of a failed meta-model too

    Returns
    -------
    Report
        Every check with its status and measured value.

    Raises
    ------
    AssertionError
        A check failed; the message names every failed check.
    """
    features = features or example_features()
    training = training or TrainingConfig(epochs=3, batch_size=8, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        case = MetaModelCase(make, features, training, Path(folder), tolerances or Tolerances(), seed)
        examination = Examination("meta-model", ["fit", *CHECKS], skip, reported)
        fitted = examination.run("fit", partial(checks.fit, case))
        examination.report.subject = f"meta-model {type(case.meta).__name__}" if fitted else "meta-model"
        for title, check in CHECKS.items():
            if fitted:
                examination.run(title, partial(check, case), may_refuse=title in MAY_REFUSE)
            else:
                examination.report.checks.append(Check(title, "skipped", note="it cannot be fitted"))
    if raise_on_failure:
        examination.report.raise_for_failures()
    return examination.report


def example_features(n_structures: int = 24, seed: int = 0) -> Features:
    """Make features of rattled Cu3Au cells of eight atoms, labelled by EMT of ASE, with three base models.

    The base models have different errors: ``scaled`` is wrong by a factor per element, ``noisy`` by noise, and
    ``crowded`` by a factor that depends on the distance of the nearest neighbour.  Fixed weights cannot correct the
    last error, but a network can.
    """
    rng = np.random.default_rng(seed)
    calculator = EMT()
    structures, forces, energy = [], [], []
    for index in range(n_structures):
        atoms = bulk("Cu", "fcc", a=3.75, cubic=True).repeat((2, 1, 1))
        atoms.numbers[[0, 4]] = 79
        atoms.rattle(0.12, seed=seed + index)
        labelled = atoms.copy()
        labelled.calc = calculator
        structures.append(atoms)
        forces.append(labelled.get_forces())
        energy.append(labelled.get_potential_energy())
    dataset = Dataset.from_lists(structures, forces, energy, source="example features")
    return Features.from_predictions(structures, _example_base_models(structures, forces, energy, rng), dataset)


def _example_base_models(
    structures: list[Atoms], forces: list[np.ndarray], energy: list[float], rng: np.random.Generator
) -> dict[str, Prediction]:
    scale = float(np.std(np.concatenate(forces)))
    parts: dict[str, list[np.ndarray]] = {"scaled": [], "noisy": [], "crowded": []}
    for atoms, exact in zip(structures, forces, strict=True):
        distances = atoms.get_all_distances(mic=True)
        nearest = np.min(distances + 99 * np.eye(len(atoms)), axis=1)[:, None]  # Å, of 2.1 to 2.6
        noise = 0.3 * scale * rng.normal(size=(2, *exact.shape))
        # Two base models share some of the noise: if a combination could cancel all of it, nothing would be left to
        # learn.
        parts["scaled"].append(np.where(atoms.numbers[:, None] == 79, 1.2, 0.8) * exact + noise[0])
        parts["noisy"].append(exact + noise[0] + noise[1])
        parts["crowded"].append((1.0 + 3.0 * (nearest - 2.35)) * exact)
    zeros = dict(zip(parts, (0.0, -40.0, 10.0), strict=True))  # eV; families have different zeros of energy
    return {
        name: Prediction.from_lists(part, np.array(energy) + zeros[name] + 0.01 * rng.normal(size=len(energy)))
        for name, part in parts.items()
    }
