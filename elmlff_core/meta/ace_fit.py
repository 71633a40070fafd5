"""The least-squares problem of `ace`: its rows, and the choice of the ridge.

Shapes: B structures of N atoms, M base models without the one that predicts zero, Z elements, P unknowns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from elmlff_core.arrays import blocks
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.expansion.expansion import ClusterExpansion
from elmlff_core.expansion.ridge import STRENGTHS, NormalEquations, Solution
from elmlff_core.features.metrics import rmse_of_frames
from elmlff_core.graphs.batch import GraphBatch, GraphDataset

BLOCK_ATOMS = 512  # in rows of the problem at a time
# With fewer validation structures one that is unlike the others would choose the ridge: of 10 structures of
# molybdenum one validates, and chose a ridge with which the error was three times as large as in other draws.
ENOUGH_TO_VALIDATE = 10
N_FOLDS = 5


class LeastSquares:
    """Unknowns are the coefficients around each element, the weights of base models, and a constant for each element.

    Parameters
    ----------
    expansion : its functions
    atomic_numbers : (Z,) int64, of the elements, ascending
    n_models : base models, without the one that predicts zero
    energy_weight : weight of the errors of energies divided by the roots of the numbers of atoms
    progress : to be called after each block of training structures
    """

    def __init__(
        self,
        expansion: ClusterExpansion,
        atomic_numbers: torch.Tensor,
        n_models: int,
        energy_weight: float,
        progress: ProgressCallback,
    ) -> None:
        self.expansion, self.atomic_numbers = expansion, atomic_numbers
        self.n_models, self.energy_weight, self.progress = n_models, energy_weight, progress
        self.n_elements = len(atomic_numbers)
        roughness = np.tile(expansion.roughness.numpy(), self.n_elements)
        self.scale = np.concatenate([roughness, np.ones(n_models + self.n_elements)])
        self.free = np.arange(len(self.scale)) >= len(roughness)
        self.folds: list[np.ndarray] = []
        self._sums: list[NormalEquations] = []

    def solve(self, train: GraphDataset, valid: GraphDataset, across_folds: bool = False) -> Solution:
        """Return the solution for all of `train`, with the ridge of the lowest mean RMSE per frame.

        It is that of the validation structures and, if they are few, of the training structures too, each predicted
        without those of its fold.  With `across_folds` there are folds, for `solution_without`, in any case.
        """
        few = len(valid) < ENOUGH_TO_VALIDATE and len(train) >= N_FOLDS
        n_folds = min(N_FOLDS, len(train)) if few or across_folds else 1
        order = np.random.default_rng(0).permutation(len(train))
        self.folds = [np.sort(order[start::n_folds]) for start in range(n_folds)]
        self._sums, done = [], 0
        for fold in self.folds:
            self._sums.append(NormalEquations(self.scale, self.free))
            for rows, labels, n_structures in self._rows(train, fold):
                self._sums[-1].add(rows, labels)
                done += n_structures
                self.progress(Progress(done, len(train), f"least squares for {len(self.scale):,} unknowns"))
        everything = NormalEquations.joined(self._sums)
        errors = [self._errors(everything, valid, np.arange(len(valid)))]
        if few:
            errors += [self._errors(self._without(number), train, fold) for number, fold in enumerate(self.folds)]
        means = np.concatenate(errors, axis=1).mean(axis=1)
        return everything.solution(float(STRENGTHS[int(np.argmin(means))]))

    def solution_without(self, number: int, strength: float) -> Solution:
        """Return the solution for the training structures that are not in the fold `number`."""
        return self._without(number).solution(strength)

    def _without(self, number: int) -> NormalEquations:
        nothing = NormalEquations(self.scale, self.free)  # for a fold that has all structures
        return NormalEquations.joined([nothing, *(one for other, one in enumerate(self._sums) if other != number)])

    def _rows(self, graphs: GraphDataset, structures: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Yield rows (n, P) and labels (n,) of the problem for some structures at a time, and the number of these."""
        assert graphs.reference_energy is not None
        for chosen, batch, labels in _batches(graphs, structures):
            of_energies, of_forces = self._columns(batch)
            weights = self.energy_weight / batch.n_atoms.double().sqrt()
            yield (
                torch.cat([of_forces, of_energies * weights.unsqueeze(1)]).numpy(),
                torch.cat([labels.flatten(), graphs.reference_energy[chosen] * weights]).numpy(),
                len(chosen),
            )

    def _columns(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return by what the unknowns are multiplied in energies (B, P) and force components (3 N, P)."""
        assert batch.base_energies is not None
        elements = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)
        of_energies, of_forces = self.expansion.design(batch, elements)
        counts = of_energies.new_zeros(len(batch.n_atoms), self.n_elements)
        counts.index_put_((batch.structure_index, elements), counts.new_ones(()), accumulate=True)
        base_forces = batch.base_forces[:, : self.n_models].transpose(1, 2).flatten(0, 1)
        nothing = of_forces.new_zeros(len(of_forces), self.n_elements)
        energies = torch.cat([of_energies, batch.base_energies[:, : self.n_models], counts], dim=1)
        return energies, torch.cat([of_forces, base_forces, nothing], dim=1)

    def _errors(self, equations: NormalEquations, graphs: GraphDataset, structures: np.ndarray) -> np.ndarray:
        """Return the force RMSE of each structure for each strength of the ridge: (strengths, structures), eV/Å."""
        solutions = np.stack([equations.solution(strength).coefficients for strength in STRENGTHS])
        errors = []
        for _, batch, labels in _batches(graphs, structures):
            found = self._columns(batch)[1].numpy() @ solutions.T
            n_atoms = batch.n_atoms.numpy()
            errors.append(np.stack([rmse_of_frames(one.reshape(-1, 3), labels.numpy(), n_atoms) for one in found.T]))
        return np.concatenate(errors, axis=1)


def _batches(graphs: GraphDataset, structures: np.ndarray) -> Iterator[tuple[torch.Tensor, GraphBatch, torch.Tensor]]:
    """Yield the indices of some of `structures` at a time, their batch, and the labels of their forces."""
    assert graphs.reference_forces is not None
    for part, _ in blocks(graphs.n_atoms[structures].numpy(), BLOCK_ATOMS):
        chosen = torch.from_numpy(structures[part])
        yield chosen, graphs.batch(chosen), graphs.reference_forces[graphs.rows(chosen)]
