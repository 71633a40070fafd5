"""Networks of SchNetPack: building networks, saving them without pickles, and making batches for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import schnetpack as spk
import torch
from ase import Atoms
from safetensors import safe_open
from safetensors.torch import save
from schnetpack import properties
from schnetpack.data.loader import _atoms_collate_fn as collate

from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.toolkit import NeighbourFinder

if TYPE_CHECKING:
    from elmlff_plugins.schnetpack.options import SchNetPackOptions

FORMAT = "elmlff-schnetpack"
FORMAT_VERSION = 1
Sample = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """The data from which a network is built: family (``schnet`` or ``painn``), sizes, cutoff (Å), elements."""

    family: str
    n_atom_basis: int
    n_interactions: int
    n_rbf: int
    cutoff: float
    elements: tuple[str, ...]

    @classmethod
    def of(cls, family: str, options: SchNetPackOptions, elements: Iterable[str]) -> Architecture:
        """Make the architecture from `options`."""
        return cls(family, options.n_atom_basis, options.n_interactions, options.n_rbf, options.cutoff, tuple(elements))

    def build(self) -> spk.model.NeuralNetworkPotential:
        """Build a network with random weights; per-element energies are zero until they are set.

        Per-element energies are added in float64, because at a total energy of -1000 eV the resolution of float32 is
        only 0.1 meV.
        """
        families = {"schnet": spk.representation.SchNet, "painn": spk.representation.PaiNN}
        representation = families[self.family](
            n_atom_basis=self.n_atom_basis,
            n_interactions=self.n_interactions,
            radial_basis=spk.nn.GaussianRBF(n_rbf=self.n_rbf, cutoff=self.cutoff),
            cutoff_fn=spk.nn.CosineCutoff(self.cutoff),
        )
        offsets = spk.transform.AddOffsets(
            properties.energy, add_atomrefs=True, atomrefs=torch.zeros(119, dtype=torch.float64)
        )
        return spk.model.NeuralNetworkPotential(
            representation=representation,
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[
                spk.atomistic.Atomwise(n_in=self.n_atom_basis, output_key=properties.energy),
                spk.atomistic.Forces(),
            ],
            postprocessors=[spk.transform.CastTo64(), offsets],
        )


def set_precision(model: spk.model.NeuralNetworkPotential, dtype: torch.dtype) -> None:
    """Cast the network to `dtype`; the energies that are added to its output stay in float64."""
    for part in (model.representation, model.input_modules, model.output_modules):
        part.to(dtype)


def save_safetensors(model: torch.nn.Module, architecture: Architecture, path: Path) -> None:
    """Write the weights, with the architecture as JSON in the metadata of the file."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"format": FORMAT, "version": str(FORMAT_VERSION), "architecture": json.dumps(asdict(architecture))}
    from elmlff_core.files import write_bytes  # workers in other environments only read

    write_bytes(path, save(weights, metadata=metadata))


def load_safetensors(path: Path) -> tuple[spk.model.NeuralNetworkPotential, Architecture]:
    """Read a network that `save_safetensors` wrote."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        found = (metadata.get("format"), metadata.get("version"))
        if found != (FORMAT, str(FORMAT_VERSION)):
            raise ForceFieldError(
                f"{path} is of format {found[0]} version {found[1]}, expected {FORMAT} version {FORMAT_VERSION}"
            )
        settings = json.loads(metadata["architecture"])
        architecture = Architecture(**(settings | {"elements": tuple(settings["elements"])}))
        model = architecture.build()
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return model, architecture


class SampleMaker:
    """Converts structures to the dictionaries of tensors of SchNetPack, including neighbour lists.

    Parameters
    ----------
    cutoff : Å
    dtype : dtype of positions and offsets
    """

    def __init__(self, cutoff: float, dtype: torch.dtype) -> None:
        self._finder = NeighbourFinder(cutoff)
        self._dtype = dtype

    def __call__(self, atoms: Atoms) -> Sample:
        """Return the sample of one structure."""
        near = near_origin(atoms)
        centre, neighbour, offset = self._finder.pairs(near)
        return {
            properties.idx: torch.zeros(1, dtype=torch.int64),
            properties.n_atoms: torch.tensor([len(near)]),
            properties.Z: torch.from_numpy(near.numbers.astype(np.int64)),
            properties.R: torch.from_numpy(near.positions).to(self._dtype),
            properties.cell: torch.from_numpy(near.cell.array).to(self._dtype).view(1, 3, 3),
            properties.pbc: torch.from_numpy(near.pbc),
            properties.idx_i: torch.from_numpy(centre),
            properties.idx_j: torch.from_numpy(neighbour),
            properties.offsets: torch.from_numpy(offset).to(self._dtype),
        }


def near_origin(atoms: Atoms) -> Atoms:
    """Return a copy without labels, wrapped in periodic directions and centred in others.

    The network subtracts positions in float32, which is accurate only near the origin: at 1000 Å, bond lengths have
    errors of up to 1e-4 Å.
    """
    near = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if len(near) and not near.pbc.all():
        near.positions -= near.positions.mean(axis=0)
    if near.pbc.any():
        near.wrap()
    return near


def batches(samples: Iterable[Sample], max_pairs: int) -> Iterator[tuple[Sample, list[int]]]:
    """Collate consecutive samples up to `max_pairs` pairs of neighbours each.

    Yields
    ------
    batch, n_atoms
        The collated samples, and the number of atoms of each structure.
    """
    held: list[Sample] = []
    size = 0
    for sample in samples:
        # Atoms count too, because an atom without neighbours takes about as much time as a pair.
        weight = len(sample[properties.idx_i]) + len(sample[properties.Z])
        if held and size + weight > max_pairs:
            yield collate(held), [len(one[properties.Z]) for one in held]
            held, size = [], 0
        held.append(sample)
        size += weight
    if held:
        yield collate(held), [len(one[properties.Z]) for one in held]
