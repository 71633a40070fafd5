"""Structures, and a stack of them, that tests of stacks and simulations share."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from elmlff_core.base_models.named import named_model
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.settings.config import ModelConfig
from elmlff_core.stack.stack import Stack, make_meta
from elmlff_core.uncertainty.uncertainty import Uncertainty

MORSE = {"calculator": "ase.calculators.morse:MorsePotential"}


def copper(seed: int) -> Atoms:
    """Make a rattled cell of copper, labelled by effective medium theory."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def morse_stack(folder: Path) -> Stack:
    """Make the mean of two Morse potentials, calibrated on effective medium theory."""
    models = [
        named_model(name, ModelConfig(adapter="ase", options=MORSE | {"arguments": {"epsilon": epsilon, "r0": 2.6}}))
        for name, epsilon in (("soft", 0.3), ("hard", 0.5))
    ]
    fitted = Stack(models, "mean", {}, make_meta("mean", {}))
    data = dataset_from_structures([copper(seed) for seed in range(12)], "copper")
    features = fitted.features(data.structures, data)
    fitted.meta.fit(FitRequest(features, features, None, folder, 0, lambda _: None))
    fitted.uncertainty = Uncertainty.fit(features, fitted.meta.predict(features), fitted.meta)
    return fitted
