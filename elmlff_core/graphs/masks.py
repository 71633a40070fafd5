"""BaseMasks: batches in which some bases are hidden, so that one network learns what every subset of them is worth.

A hidden base gives, in place of its own forces, the linear combination of the bases that are left: its deviation from
it, which is what a network sees of the base, is then zero.  The batch carries that combination, as the network would
else take its own, which is of all bases.  All of it is linear in the forces, and turns with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from elmlff_core.graphs.batch import GraphBatch, GraphDataset


@dataclass(frozen=True)
class BaseMasks:
    """S subsets of M bases, for structures of K elements.

    Attributes
    ----------
    atomic_numbers : (K,) int64, ascending
    members : (S, M) bool, the bases of each subset
    weights : (S, K, M) float32, of the linear combination of each subset; zero for bases that are not in it
    for_validation : rows of the subsets that choose among states of a training
    """

    atomic_numbers: torch.Tensor
    members: torch.Tensor
    weights: torch.Tensor
    for_validation: Sequence[int]

    @classmethod
    def from_arrays(
        cls, atomic_numbers: np.ndarray, members: np.ndarray, weights: np.ndarray, for_validation: Sequence[int]
    ) -> BaseMasks:
        """From NumPy arrays of any precision."""
        return cls(
            torch.from_numpy(np.asarray(atomic_numbers, dtype=np.int64)),
            torch.from_numpy(np.asarray(members, dtype=bool)),
            torch.from_numpy(np.asarray(weights, dtype=np.float32)),
            tuple(for_validation),
        )

    def draw(self, n_structures: int, generator: torch.Generator) -> torch.Tensor:
        """A random subset for each structure: (n_structures,) int64.

        Every size is as likely as any other, and every subset of a size: of eight bases drawn one by one, a single
        base would be left in 3 % of the structures alone.
        """
        sizes = self.members.sum(dim=1)
        per_size = torch.bincount(sizes)[sizes]
        return torch.multinomial(1.0 / per_size.double(), n_structures, replacement=True, generator=generator)

    def drawn(self, batch: GraphBatch, generator: torch.Generator) -> GraphBatch:
        """`batch` with a subset of its own for each structure."""
        subset = self.draw(len(batch.n_atoms), generator)[batch.structure_index]  # (N,)
        return batch.with_forces(*self._masked(batch.base_forces, batch.atomic_numbers, subset))

    def subset_of(self, graphs: GraphDataset, index: int) -> GraphDataset:
        """`graphs` with the subset in row `index` for every structure."""
        subset = torch.full_like(graphs.atomic_numbers, index)
        base_forces, combined = self._masked(graphs.base_forces, graphs.atomic_numbers, subset)
        return replace(graphs, base_forces=base_forces, combined_forces=combined)

    def _masked(
        self, base_forces: torch.Tensor, atomic_numbers: torch.Tensor, subset: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Base forces (N, M, 3) and their linear combination (N, 3), with the subset (N,) of each atom."""
        element = torch.searchsorted(self.atomic_numbers, atomic_numbers)
        weights = self.weights[subset, element].to(base_forces.dtype)  # (N, M)
        combined = torch.einsum("nm,nmx->nx", weights, base_forces)
        seen = self.members[subset].unsqueeze(-1)  # (N, M, 1)
        return torch.where(seen, base_forces, combined.unsqueeze(1)), combined
