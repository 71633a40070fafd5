"""Feature files: features in one safetensors file, which processes that fit meta-models elsewhere can read.

A file holds the input of meta-models: elements, positions, cells, periodicity, labels and predictions of base models.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.structures import Structures, flat_structures
from elmlff_core.files import replacing

# Prefixes of the names of arrays: energies, stresses and descriptors by model, and labels.
ENERGY, STRESS, DESCRIPTORS, REFERENCE = "energy.", "stress.", "descriptors.", "reference_"
LABELS = ("forces", "energy", "stress")


def save_features(features: Features, path: Path) -> None:
    """Write `features` to `path`, either completely or not at all; ElmlffError if it cannot be written."""
    structures = flat_structures(features.structures)
    tensors = {
        "n_atoms": features.n_atoms,
        "numbers": structures.numbers,
        "positions": structures.positions,
        "cells": structures.cells,
        "pbc": structures.pbc,
        "forces": features.forces,
        **{ENERGY + name: energy for name, energy in features.energies.items()},
        **{STRESS + name: stress for name, stress in features.stresses.items()},
        **{DESCRIPTORS + name: described for name, described in features.descriptors.items()},
    }
    if features.reference is not None:
        labels = {name: getattr(features.reference, name) for name in LABELS}
        tensors |= {REFERENCE + name: array for name, array in labels.items() if array is not None}
    metadata = {"models": json.dumps(features.models), "source": features.source}
    with replacing(path) as partial:
        try:
            save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # raised when the disk is full or the folder is gone
            raise OSError(str(error)) from error


def load_features(path: Path) -> Features:
    """Read the features that `save_features` wrote."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    n_atoms, labels = tensors["n_atoms"], _with_prefix(tensors, REFERENCE)
    reference = Prediction(n_atoms, **labels) if labels else None
    return Features(
        structures=Structures.from_arrays(
            n_atoms, tensors["numbers"], tensors["positions"], tensors["cells"], tensors["pbc"]
        ),
        models=tuple(json.loads(metadata["models"])),
        forces=tensors["forces"],
        energies=_with_prefix(tensors, ENERGY),
        reference=reference,
        source=metadata["source"],
        stresses=_with_prefix(tensors, STRESS),
        descriptors=_with_prefix(tensors, DESCRIPTORS),
    )


def _with_prefix(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
