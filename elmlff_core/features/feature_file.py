"""Feature files: features as one safetensors file, to be read by processes that fit meta-models elsewhere.

A file holds what meta-models look at: elements, positions, cells, periodicity, labels, and what the bases predict.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from safetensors import safe_open
from safetensors.numpy import save_file

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction

# Prefixes of what is stored by model.
ENERGY, STRESS = "energy.", "stress."


def save_features(features: Features, path: Path) -> None:
    """Write `features` to `path`, there at once or not at all."""
    structures = features.structures
    tensors = {
        "n_atoms": features.n_atoms,
        "numbers": features.atomic_numbers,
        "positions": np.concatenate([atoms.positions for atoms in structures]),
        "cells": np.stack([atoms.cell.array for atoms in structures]),
        "pbc": np.stack([atoms.pbc for atoms in structures]),
        "forces": features.forces,
        **{ENERGY + name: energy for name, energy in features.energies.items()},
        **{STRESS + name: stress for name, stress in features.stresses.items()},
    }
    if features.reference is not None:
        tensors["reference_forces"] = features.reference.forces
        if features.reference.energy is not None:
            tensors["reference_energy"] = features.reference.energy
    partial = path.with_name(path.name + ".partial")
    metadata = {"models": json.dumps(features.models), "source": features.source}
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, partial, metadata)
    partial.replace(path)


def load_features(path: Path) -> Features:
    """The reverse of `save_features`."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    n_atoms = tensors["n_atoms"]
    reference = None
    if "reference_forces" in tensors:
        reference = Prediction(n_atoms, tensors["reference_forces"], tensors.get("reference_energy"))
    cuts = np.cumsum(n_atoms)[:-1]
    structures = [
        Atoms(numbers, positions, cell=cell, pbc=pbc)
        for numbers, positions, cell, pbc in zip(
            np.split(tensors["numbers"], cuts),
            np.split(tensors["positions"], cuts),
            tensors["cells"],
            tensors["pbc"],
            strict=True,
        )
    ]
    return Features(
        structures=structures,
        models=tuple(json.loads(metadata["models"])),
        forces=tensors["forces"],
        energies=_by_model(tensors, ENERGY),
        reference=reference,
        source=metadata["source"],
        stresses=_by_model(tensors, STRESS),
    )


def _by_model(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
