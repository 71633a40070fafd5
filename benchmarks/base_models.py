"""Base models for benchmarks: those that `make demo` trained, or those that the user names.

python benchmarks/features.py --base-model nep=nep.txt --base-model painn=painn.pt --data frames.extxyz
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from elmlff_core.base_models.named import NamedModel, model_settings, named_model
from elmlff_core.base_models.training import trained_checkpoint
from elmlff_core.data.readers import read_structures
from elmlff_core.settings.config import Config, ModelConfig

VACUUM = 10.0  # Å, around molecules: beyond any cutoff
TRAINED = Path("elmlff-models")
# The calculator of SchNetPack loads pickles only, but elmlff saves its networks without; name a pickle instead.
UNKNOWN_TO_THEIR_BACKEND = ".safetensors"


def parse(description: str | None, n_structures: int) -> tuple[list[NamedModel], list[Atoms]]:
    """Return base models and structures of the command line; by default those of the embedded example."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--base-model", action="append", default=[], metavar="NAME=CHECKPOINT", help="NAME is the name of a preset."
    )
    parser.add_argument("--data", default="methane")
    arguments = parser.parse_args()
    given = dict(text.split("=", 1) for text in arguments.base_model) or trained_here()
    if not given:
        raise SystemExit("no base model: run `make demo` first, or name one with --base-model nep=nep.txt")
    models = [named_model(name, settings(name, Path(path))) for name, path in given.items()]
    structures = read_structures(arguments.data)
    chosen = np.linspace(0, len(structures) - 1, min(n_structures, len(structures))).astype(int)
    picked = [structures[index] for index in chosen]
    for atoms in picked:
        if not atoms.cell.rank:  # the calculator of calorine needs a cell
            atoms.center(vacuum=VACUUM)
    return models, picked


def trained_here() -> dict[str, str]:
    """Return the name of each base model that was trained in this folder, with its checkpoint."""
    found = {}
    for folder in sorted(TRAINED.glob("*")):
        checkpoint = trained_checkpoint(folder)
        if checkpoint is not None and checkpoint.suffix != UNKNOWN_TO_THEIR_BACKEND:
            found[folder.name.rpartition("-")[0]] = str(checkpoint)
    return found


def settings(name: str, checkpoint: Path) -> ModelConfig:
    """Return the settings of preset `name` with a checkpoint of the user, which is trusted."""
    return model_settings(Config(models={name: ModelConfig(checkpoint=checkpoint, trust=True)}), name)


def own_calculator(model: NamedModel) -> Calculator:
    """Return the ASE calculator of the backend of the model."""
    return OWN[model.plugin.name](str(model.checkpoint))


def alone(model: NamedModel, structures: list[Atoms]) -> Callable[[], None]:
    """Return a function that evaluates batches of elmlff's size, made before, with the backend alone."""
    if model.plugin.name == "dp":
        return _potential_alone(model, structures)
    if model.plugin.name == "nep":  # NEP evaluates one structure at a time
        calculator = own_calculator(model)
        return lambda: [calculator.calculate(atoms) for atoms in structures]
    return _network_alone(model, structures)


def _potential_alone(model: NamedModel, structures: list[Atoms]) -> Callable[[], None]:
    potential = own_calculator(model).dp
    names = potential.get_type_map()
    coordinates = np.stack([atoms.positions.ravel() for atoms in structures])
    cells = np.stack([atoms.cell.array.ravel() for atoms in structures]) if structures[0].pbc.any() else None
    types = [names.index(symbol) for symbol in structures[0].get_chemical_symbols()]
    return lambda: potential.eval(coordinates, cells, types)


def _network_alone(model: NamedModel, structures: list[Atoms]) -> Callable[[], None]:
    from elmlff_plugins.schnetpack.model import SampleMaker, batches

    field: Any = model.force_field
    samples = map(SampleMaker(field.cutoff, field._dtype), structures)
    ready = [batch for batch, _ in batches(samples, field._batch_pairs)]

    def evaluate() -> None:
        for batch in ready:
            field._model(dict(batch))

    return evaluate


def _deepmd(checkpoint: str) -> Any:
    from deepmd.calculator import DP

    return DP(checkpoint)


def _calorine(checkpoint: str) -> Any:
    from calorine.calculators import CPUNEP

    return CPUNEP(checkpoint)


def _schnetpack(checkpoint: str) -> Any:
    import schnetpack
    import torch
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import MatScipyNeighborList
    from schnetpack.utils import load_model

    return SpkCalculator(
        model=load_model(checkpoint, device=torch.device("cpu")), neighbor_list=MatScipyNeighborList(cutoff=5.0),
        energy_key=schnetpack.properties.energy, force_key=schnetpack.properties.forces, energy_unit="eV",
        position_unit="Ang",
    )  # fmt: skip


OWN: dict[str, Callable[[str], Any]] = {
    "dp": _deepmd,
    "nep": _calorine,
    "schnet": _schnetpack,
    "painn": _schnetpack,
}
