"""GraphBatch: several structures as tensors with one row per atom, and the operations that pad them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from elmlff_core.arrays import GrowingArray, new_array
from elmlff_core.contracts.features import Features
from elmlff_core.graphs.neighbours import minimum_image_edges, periodic_edges


@dataclass(frozen=True)
class GraphBatch:
    """Graphs of B structures with N atoms and E edges in total, and the predictions of M base models.

    Attributes
    ----------
    n_atoms : (B,) int64
    atomic_numbers : (N,) int64
    base_forces : (N, M, 3) float, eV/Å
    edges : (2, E) int64, rows of the source and the target atom among the N atoms; with vectors, sorted by the target
    vectors : (E, 3) float, Å, from the target to the source; None if there is one edge per pair, whatever its images
    base_energies : (B, M) float, eV; None if the network does not use them
    base_stresses : (B, M, 6) float, eV/Å³, ASE's Voigt order and sign; None if the network has no stress
    volumes : (B,) float, Å³; None if there are no base stresses
    combined_forces : (N, 3) float, eV/Å, the linear combination that a network starts from if base models are masked;
        None if the network uses its own combination
    components : (N, C) float, of descriptors of base models; None if the network does not see them
    """

    n_atoms: torch.Tensor
    atomic_numbers: torch.Tensor
    base_forces: torch.Tensor
    edges: torch.Tensor
    vectors: torch.Tensor | None = None
    base_energies: torch.Tensor | None = None
    combined_forces: torch.Tensor | None = None
    base_stresses: torch.Tensor | None = None
    volumes: torch.Tensor | None = None
    components: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> GraphBatch:
        """Return the same batch on another device."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: None if one is None else one.to(device) for name, one in given.items()}
        return GraphBatch(**moved)

    def with_forces(self, base_forces: torch.Tensor, combined_forces: torch.Tensor | None = None) -> GraphBatch:
        """Return the same graphs with other base forces (N, M, 3) and their linear combination (N, 3)."""
        return replace(self, base_forces=base_forces, combined_forces=combined_forces)

    def with_vectors(self, vectors: torch.Tensor) -> GraphBatch:
        """Return the same graphs with other edge vectors (E, 3)."""
        return replace(self, vectors=vectors)

    def combined(self, weights: torch.Tensor) -> torch.Tensor:
        """Return base forces weighted by `weights` (N, M), or `combined_forces` if given: (N, 3), eV/Å."""
        if self.combined_forces is not None:
            return self.combined_forces
        return (weights.unsqueeze(2) * self.base_forces).sum(dim=1)

    @cached_property
    def structure_index(self) -> torch.Tensor:
        """The index of the structure of each atom: (N,) int64."""
        if self.n_atoms.shape[0] == 1:
            return torch.zeros_like(self.atomic_numbers)
        return torch.repeat_interleave(torch.arange(len(self.n_atoms), device=self.n_atoms.device), self.n_atoms)

    @cached_property
    def slot(self) -> torch.Tensor:
        """The index of each atom within its structure: (N,) int64."""
        offsets = torch.cumsum(self.n_atoms, 0) - self.n_atoms
        return torch.arange(len(self.atomic_numbers), device=self.n_atoms.device) - offsets[self.structure_index]

    @cached_property
    def max_atoms(self) -> int:
        """The number of atoms of the largest structure."""
        return int(self.n_atoms.max())

    @cached_property
    def adjacency(self) -> torch.Tensor:
        """The padded adjacency: (B, max_atoms, max_atoms) bool, True if the column is a neighbour of the row.

        Each row is also its own neighbour.  Rows of padding have no other neighbour, which keeps their softmax finite.
        """
        size = self.max_atoms
        source, target = self.edges
        adjacency = torch.eye(size, dtype=torch.bool, device=source.device).repeat(len(self.n_atoms), 1, 1)
        adjacency[self.structure_index[target], self.slot[target], self.slot[source]] = True
        return adjacency

    def pad(self, values: torch.Tensor) -> torch.Tensor:
        """Return per-atom values (N, F) as (B, max_atoms, F), zero in rows of padding."""
        if len(values) == len(self.n_atoms) * self.max_atoms:  # equal sizes: no copy
            return values.view(len(self.n_atoms), self.max_atoms, -1)
        padded = values.new_zeros(len(self.n_atoms), self.max_atoms, values.shape[-1])
        padded[self.structure_index, self.slot] = values
        return padded

    def flatten(self, padded: torch.Tensor) -> torch.Tensor:
        """Return padded values (B, max_atoms, F) as (N, F), the reverse of `pad`."""
        if len(self.atomic_numbers) == len(self.n_atoms) * self.max_atoms:
            return padded.reshape(len(self.atomic_numbers), -1)
        return padded[self.structure_index, self.slot]


@dataclass(frozen=True)
class GraphDataset:
    """Graphs of all structures of some features, built once; batches are taken from it without loops over atoms.

    Its tensors may be in files, see `elmlff_core.arrays`; a batch then reads only the rows it needs.

    Attributes
    ----------
    n_atoms : (S,) int64
    atomic_numbers : (N,) int64
    base_forces : (N, M, 3) float, eV/Å
    edges : (2, E) int32, indices of atoms within their structure, in the order of the structures
    n_edges : (S,) int64
    reference_forces : (N, 3) float, eV/Å, or None
    vectors : (E, 3) float, Å, from the target to the source; None if there is one edge per pair, whatever its images
    base_energies : (S, M) float, eV; None if the network does not use them
    base_stresses : (S, M, 6) float, eV/Å³, ASE's Voigt order and sign; None if the network has no stress
    volumes : (S,) float, Å³; None if there are no base stresses
    reference_energy : (S,) float, eV, labels for a network that predicts an energy, or None
    reference_stress : (S, 6) float, eV/Å³, labels for a network that predicts a stress, NaN for structures without one,
        or None
    combined_forces : (N, 3) float, eV/Å, the linear combination that a network starts from if base models are masked;
        None if the network uses its own combination
    components : (N, C) float, of descriptors of base models; None if the network does not see them
    """

    n_atoms: torch.Tensor
    atomic_numbers: torch.Tensor
    base_forces: torch.Tensor
    edges: torch.Tensor
    n_edges: torch.Tensor
    reference_forces: torch.Tensor | None = None
    vectors: torch.Tensor | None = None
    base_energies: torch.Tensor | None = None
    reference_energy: torch.Tensor | None = None
    combined_forces: torch.Tensor | None = None
    base_stresses: torch.Tensor | None = None
    volumes: torch.Tensor | None = None
    reference_stress: torch.Tensor | None = None
    components: torch.Tensor | None = None

    @classmethod
    def from_features(
        cls, features: Features, cutoff: float, images: bool = False, dtype: torch.dtype = torch.float32
    ) -> GraphDataset:
        """Build the neighbour list of every structure within `cutoff` (Å), and its features as tensors of `dtype`.

        With `images` there is one edge, with its vector, for every periodic image of a neighbour.  Otherwise there is
        one edge per pair of atoms and direction.
        """
        kind = torch.empty(0, dtype=dtype).numpy().dtype
        edges, vectors = GrowingArray((2,), np.int32), GrowingArray((3,), kind)
        n_edges = []
        for atoms in features.structures:
            if images:
                pairs, between = periodic_edges(atoms, cutoff)
                vectors.append(between)
            else:
                pairs = minimum_image_edges(atoms, cutoff)
            edges.append(pairs.T)
            n_edges.append(pairs.shape[1])
        n_rows = len(features.atomic_numbers)
        base_forces = new_array((n_rows, len(features.models), 3), kind)
        reference = None if features.reference is None else new_array((n_rows, 3), kind)
        for rows, block in features.blocks():
            base_forces[rows] = block.forces.transpose(1, 0, 2)
            if reference is not None:
                reference[rows] = block.reference_forces
        return cls(
            n_atoms=torch.from_numpy(features.n_atoms),
            atomic_numbers=torch.from_numpy(features.atomic_numbers),
            base_forces=torch.from_numpy(base_forces),
            edges=torch.from_numpy(edges.whole()).T,
            n_edges=torch.tensor(n_edges, dtype=torch.int64),
            reference_forces=None if reference is None else torch.from_numpy(reference),
            vectors=torch.from_numpy(vectors.whole()) if images else None,
        )

    def __len__(self) -> int:
        return len(self.n_atoms)

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the rows of the structures at `indices` in the per-atom arrays, in that order: (N,) int64."""
        return _ranges(self._first_row[indices], self.n_atoms[indices])

    def batch(self, indices: Sequence[int] | torch.Tensor) -> GraphBatch:
        """Return the structures at `indices` as one batch."""
        if len(self) == len(indices) == 1:
            return self._alone()
        indices = torch.as_tensor(indices, dtype=torch.int64)
        rows = self.rows(indices)
        n_atoms, n_edges = self.n_atoms[indices], self.n_edges[indices]
        shift = torch.repeat_interleave(torch.cumsum(n_atoms, 0) - n_atoms, n_edges)
        picked = _ranges(self._first_edge[indices], n_edges)
        return GraphBatch(
            n_atoms,
            self.atomic_numbers[rows],
            self.base_forces[rows],
            self.edges[:, picked] + shift,
            None if self.vectors is None else self.vectors[picked],
            None if self.base_energies is None else self.base_energies[indices],
            None if self.combined_forces is None else self.combined_forces[rows],
            None if self.base_stresses is None else self.base_stresses[indices],
            None if self.volumes is None else self.volumes[indices],
            None if self.components is None else self.components[rows],
        )

    def between(self, start: int, stop: int) -> GraphDataset:
        """Return the structures from `start` to `stop`; the arrays are views, nothing is copied."""
        rows, edges = (slice(int(n[:start].sum()), int(n[:stop].sum())) for n in (self.n_atoms, self.n_edges))
        names = ("atomic_numbers", "base_forces", "reference_forces", "combined_forces", "components")
        of_atoms = dict.fromkeys(names, rows)
        others: dict[str, Any] = {**of_atoms, "vectors": edges, "edges": (slice(None), edges)}
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        views: dict[str, Any] = {
            name: None if value is None else value[others.get(name, slice(start, stop))]
            for name, value in given.items()
        }
        return GraphDataset(**views)

    def _alone(self) -> GraphBatch:
        """Return the only structure as a batch, without copies: a step of a simulation has one structure."""
        edges = self.edges.to(torch.int64, memory_format=torch.contiguous_format)
        return GraphBatch(
            self.n_atoms, self.atomic_numbers, self.base_forces, edges, self.vectors, self.base_energies,
            self.combined_forces, self.base_stresses, self.volumes, self.components,
        )  # fmt: skip

    @cached_property
    def _first_row(self) -> torch.Tensor:
        return torch.cumsum(self.n_atoms, 0) - self.n_atoms

    @cached_property
    def _first_edge(self) -> torch.Tensor:
        return torch.cumsum(self.n_edges, 0) - self.n_edges


def _ranges(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return ``[s, s + 1, ..., s + l - 1]`` for each start s and length l, concatenated: (sum of lengths,) int64."""
    before = torch.cumsum(lengths, 0) - lengths
    return torch.repeat_interleave(starts - before, lengths) + torch.arange(int(lengths.sum()))
