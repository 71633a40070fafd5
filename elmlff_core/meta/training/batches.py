"""Training batches, which depend on seed and epoch alone: not on interruptions, nor on the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset, Sampler

from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.masks import Masks
from elmlff_core.graphs.orientation import random_orthogonal
from elmlff_core.meta.training.loss import Labelled
from elmlff_core.meta.training.rank import Rank


@dataclass(frozen=True)
class Draw:
    """Request for one batch: indices of its structures, and the seed of their orientations and masks."""

    indices: torch.Tensor
    seed: int


class EpochSampler(Sampler[Draw]):
    """Shuffled batches that depend only on seed and epoch, so that a resumed training sees the same batches."""

    def __init__(self, n_structures: int, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.n_structures, self.batch_size, self.seed, self.epoch = n_structures, batch_size, seed, epoch

    def __len__(self) -> int:
        return -(-self.n_structures // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
        for indices in torch.randperm(self.n_structures, generator=generator).split(self.batch_size):
            yield Draw(indices, int(torch.randint(2**62, (), generator=generator)))


class Batches(Dataset[Labelled]):
    """Graphs and labels of each draw, in random orientations if `rotate` is set, and with base models masked.

    Of each batch it gives the part of `rank`.  Orientations and masks are drawn for all of the batch, so that they are
    the same whatever part a structure is in.
    """

    def __init__(self, graphs: GraphDataset, rotate: bool, masks: Masks | None, rank: Rank) -> None:
        self.graphs, self.rotate, self.masks, self.rank = graphs, rotate, masks, rank

    def __getitem__(self, draw: Draw) -> Labelled:
        assert self.graphs.reference_forces is not None
        own = self.rank.part_of(draw.indices)
        batch = self.graphs.batch(own)
        reference = self.graphs.reference_forces[self.graphs.rows(own)]
        energy = self.graphs.reference_energy
        energy = None if energy is None else energy[own]
        stress = self.graphs.reference_stress
        stress = None if stress is None else stress[own]
        generator = torch.Generator().manual_seed(draw.seed)
        if self.rotate:
            drawn = random_orthogonal(len(draw.indices), generator)
            turns = self.rank.part_of(drawn)[batch.structure_index]  # (N, 3, 3)
            reference = (reference.unsqueeze(1) @ turns).squeeze(1)
            batch = batch.with_forces(batch.base_forces @ turns)
        if self.masks is not None:
            drawn = self.masks.draw(len(draw.indices), generator)
            batch = self.masks.masked(batch, self.rank.part_of(drawn))
        n_atoms = int(self.graphs.n_atoms[draw.indices].sum())
        shares = len(reference) / n_atoms, len(own) / len(draw.indices)
        return Labelled(batch, reference, energy, stress, *shares)
