"""Batches in which some base models are masked.

`BaseMasks` shows subsets of the base models, so that one network can be evaluated for every subset.  `HiddenModels`
hides all of them from some structures, so that a network does not learn by heart how they err.

The forces of a masked base model are replaced by the linear combination of the remaining base models.  The network sees
the deviation of each base model from the combination, which is zero for a masked one.  The batch carries this
combination, because the network's own combination is that of all base models.  Masking is linear in the forces, so it
is equivariant under rotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from elmlff_core.graphs.batch import GraphBatch, GraphDataset


class Masks(Protocol):
    """Masks of the structures of a batch, drawn at random."""

    def draw(self, n_structures: int, generator: torch.Generator) -> torch.Tensor:
        """Draw what each structure is to show: (n_structures,)."""
        ...

    def masked(self, batch: GraphBatch, drawn: torch.Tensor) -> GraphBatch:
        """Return `batch` with what was drawn for its structures: (B,)."""
        ...


@dataclass(frozen=True)
class HiddenModels:
    """All base models of some structures are replaced by their linear combination.

    Attributes
    ----------
    atomic_numbers : (K,) int64, ascending
    weights : (K, M) float32, weights of the linear combination
    share : how many of the structures, from 0 to 1
    """

    atomic_numbers: torch.Tensor
    weights: torch.Tensor
    share: float

    def draw(self, n_structures: int, generator: torch.Generator) -> torch.Tensor:
        """Draw for each structure whether base models are hidden: (n_structures,) bool."""
        return torch.rand(n_structures, generator=generator) < self.share

    def masked(self, batch: GraphBatch, drawn: torch.Tensor) -> GraphBatch:
        """Return `batch` with the base models of the structures `drawn` hidden: (B,) bool."""
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)
        combined = batch.combined(self.weights[element].to(batch.base_forces.dtype))
        hidden = drawn[batch.structure_index][:, None, None]
        shown = batch.with_forces(torch.where(hidden, combined.unsqueeze(1), batch.base_forces), combined)
        if batch.components is None:
            return shown
        return replace(shown, components=torch.where(hidden[:, 0], 0.0, batch.components))


@dataclass(frozen=True)
class BaseMasks:
    """S subsets of M base models, for structures of K elements.

    Attributes
    ----------
    atomic_numbers : (K,) int64, ascending
    members : (S, M) bool, the base models of each subset
    weights : (S, K, M) float32, weights of the linear combination of each subset; zero for base models not in it
    for_validation : rows of the subsets whose validation errors select the best state of a training
    """

    atomic_numbers: torch.Tensor
    members: torch.Tensor
    weights: torch.Tensor
    for_validation: Sequence[int]

    @classmethod
    def from_arrays(
        cls, atomic_numbers: np.ndarray, members: np.ndarray, weights: np.ndarray, for_validation: Sequence[int]
    ) -> BaseMasks:
        """Make masks from NumPy arrays of any precision."""
        return cls(
            torch.from_numpy(np.asarray(atomic_numbers, dtype=np.int64)),
            torch.from_numpy(np.asarray(members, dtype=bool)),
            torch.from_numpy(np.asarray(weights, dtype=np.float32)),
            tuple(for_validation),
        )

    def draw(self, n_structures: int, generator: torch.Generator) -> torch.Tensor:
        """Draw a random subset for each structure: (n_structures,) int64.

        All sizes of subsets are equally likely, and so are all subsets of one size.  If instead each of eight base
        models were kept or masked independently, only 3 % of the structures would have a single base model.
        """
        sizes = self.members.sum(dim=1)
        per_size = torch.bincount(sizes)[sizes]
        return torch.multinomial(1.0 / per_size.double(), n_structures, replacement=True, generator=generator)

    def masked(self, batch: GraphBatch, drawn: torch.Tensor) -> GraphBatch:
        """Return `batch` with the subsets in the rows `drawn` of its structures: (B,) int64."""
        subset = drawn[batch.structure_index]  # (N,)
        return batch.with_forces(*self._masked(batch.base_forces, batch.atomic_numbers, subset))

    def subset_of(self, graphs: GraphDataset, index: int) -> GraphDataset:
        """Return `graphs` with the subset in row `index` for every structure."""
        subset = torch.full_like(graphs.atomic_numbers, index)
        base_forces, combined = self._masked(graphs.base_forces, graphs.atomic_numbers, subset)
        return replace(graphs, base_forces=base_forces, combined_forces=combined)

    def _masked(
        self, base_forces: torch.Tensor, atomic_numbers: torch.Tensor, subset: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masked base forces (N, M, 3) and their linear combination (N, 3), for the subset (N,) of each atom."""
        element = torch.searchsorted(self.atomic_numbers, atomic_numbers)
        weights = self.weights[subset, element].to(base_forces.dtype)  # (N, M)
        combined = torch.einsum("nm,nmx->nx", weights, base_forces)
        seen = self.members[subset].unsqueeze(-1)  # (N, M, 1)
        return torch.where(seen, base_forces, combined.unsqueeze(1)), combined
