"""GraphBatch: several structures as tensors, flat over atoms, with what a network needs to pad them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from elmlff_core.features.features import Features
from elmlff_core.graphs.neighbours import minimum_image_edges


@dataclass(frozen=True)
class GraphBatch:
    """Graphs of B structures with N atoms and E edges in all, and the predictions of M bases.

    Attributes
    ----------
    n_atoms : (B,) int64
    atomic_numbers : (N,) int64
    base_forces : (N, M, 3) float32, eV/Å
    edges : (2, E) int64, source and target row among the N
    """

    n_atoms: torch.Tensor
    atomic_numbers: torch.Tensor
    base_forces: torch.Tensor
    edges: torch.Tensor

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same on another device."""
        return GraphBatch(
            self.n_atoms.to(device), self.atomic_numbers.to(device), self.base_forces.to(device), self.edges.to(device)
        )

    def with_forces(self, base_forces: torch.Tensor) -> GraphBatch:
        """The same graphs with other base forces (N, M, 3)."""
        return GraphBatch(self.n_atoms, self.atomic_numbers, base_forces, self.edges)

    @cached_property
    def structure_index(self) -> torch.Tensor:
        """The structure of each atom: (N,) int64."""
        return torch.repeat_interleave(torch.arange(len(self.n_atoms), device=self.n_atoms.device), self.n_atoms)

    @cached_property
    def slot(self) -> torch.Tensor:
        """The place of each atom in its structure: (N,) int64."""
        offsets = torch.cumsum(self.n_atoms, 0) - self.n_atoms
        return torch.arange(len(self.atomic_numbers), device=self.n_atoms.device) - offsets[self.structure_index]

    @cached_property
    def max_atoms(self) -> int:
        """Atoms of the largest structure."""
        return int(self.n_atoms.max())

    @cached_property
    def adjacency(self) -> torch.Tensor:
        """Padded adjacency with self-loops: (B, max_atoms, max_atoms) bool, True where the column is seen by the row.

        Rows of padding see themselves alone, which keeps their softmax finite.
        """
        size = self.max_atoms
        source, target = self.edges
        adjacency = torch.eye(size, dtype=torch.bool, device=source.device).repeat(len(self.n_atoms), 1, 1)
        adjacency[self.structure_index[target], self.slot[target], self.slot[source]] = True
        return adjacency

    def pad(self, values: torch.Tensor) -> torch.Tensor:
        """Per-atom values (N, F) as (B, max_atoms, F), zero where there is no atom."""
        if len(values) == len(self.n_atoms) * self.max_atoms:  # equal sizes: no copy
            return values.view(len(self.n_atoms), self.max_atoms, -1)
        padded = values.new_zeros(len(self.n_atoms), self.max_atoms, values.shape[-1])
        padded[self.structure_index, self.slot] = values
        return padded

    def flatten(self, padded: torch.Tensor) -> torch.Tensor:
        """The reverse of `pad`: (B, max_atoms, F) as (N, F)."""
        if len(self.atomic_numbers) == len(self.n_atoms) * self.max_atoms:
            return padded.reshape(len(self.atomic_numbers), -1)
        return padded[self.structure_index, self.slot]


@dataclass(frozen=True)
class GraphDataset:
    """Graphs of all structures of some features, made once, from which batches are cut without loops over atoms.

    Attributes
    ----------
    n_atoms : (S,) int64
    atomic_numbers : (N,) int64
    base_forces : (N, M, 3) float32, eV/Å
    edges : (2, E) int64, atoms counted within their structure, in the order of the structures
    n_edges : (S,) int64
    reference_forces : (N, 3) float32, eV/Å, or None
    """

    n_atoms: torch.Tensor
    atomic_numbers: torch.Tensor
    base_forces: torch.Tensor
    edges: torch.Tensor
    n_edges: torch.Tensor
    reference_forces: torch.Tensor | None = None

    @classmethod
    def from_features(cls, features: Features, cutoff: float) -> GraphDataset:
        """Neighbour lists of every structure within `cutoff` (Å), and its features as tensors."""
        edges = [minimum_image_edges(atoms, cutoff) for atoms in features.structures]
        reference = features.reference
        return cls(
            n_atoms=torch.from_numpy(features.n_atoms),
            atomic_numbers=torch.from_numpy(features.atomic_numbers),
            base_forces=torch.from_numpy(np.ascontiguousarray(features.forces.transpose(1, 0, 2), dtype=np.float32)),
            edges=torch.from_numpy(np.concatenate(edges, axis=1)),
            n_edges=torch.tensor([part.shape[1] for part in edges], dtype=torch.int64),
            reference_forces=None if reference is None else torch.from_numpy(reference.forces.astype(np.float32)),
        )

    def __len__(self) -> int:
        return len(self.n_atoms)

    def rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Rows in the per-atom arrays of the structures at `indices`, in that order: (N,) int64."""
        return _ranges(self._first_row[indices], self.n_atoms[indices])

    def batch(self, indices: Sequence[int] | torch.Tensor) -> GraphBatch:
        """The structures at `indices` as one batch."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        rows = self.rows(indices)
        n_atoms, n_edges = self.n_atoms[indices], self.n_edges[indices]
        shift = torch.repeat_interleave(torch.cumsum(n_atoms, 0) - n_atoms, n_edges)
        edges = self.edges[:, _ranges(self._first_edge[indices], n_edges)] + shift
        return GraphBatch(n_atoms, self.atomic_numbers[rows], self.base_forces[rows], edges)

    @cached_property
    def _first_row(self) -> torch.Tensor:
        return torch.cumsum(self.n_atoms, 0) - self.n_atoms

    @cached_property
    def _first_edge(self) -> torch.Tensor:
        return torch.cumsum(self.n_edges, 0) - self.n_edges


def _ranges(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """``[s, s + 1, ..., s + l - 1]`` for each start and length, joined: (sum of lengths,) int64."""
    before = torch.cumsum(lengths, 0) - lengths
    return torch.repeat_interleave(starts - before, lengths) + torch.arange(int(lengths.sum()))
