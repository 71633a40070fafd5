"""Base models as functions that PyTorch can differentiate, although they give nothing but energies and forces.

The gradient of an energy is minus the forces, and the Hessian times a vector is a difference of forces.  So a network
can be trained through a base model for some evaluations a step, whatever the program that evaluates it.

Shapes: B structures of N atoms, M base models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import BaseForceField

STEP = 2e-3  # Å, by which the atom moves that moves furthest in a difference of forces


class BlackBoxes:
    """Some base models at some structures.

    Parameters
    ----------
    models : M base models
    structures : B structures
    """

    def __init__(self, models: Sequence[BaseForceField], structures: Sequence[Atoms]) -> None:
        self.models, self.structures = models, structures
        self.structure_index = torch.repeat_interleave(
            torch.arange(len(structures)), torch.tensor([len(atoms) for atoms in structures])
        )

    def moved(self, displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energies (B, M), eV, and forces (N, M, 3), eV/Å, after a displacement (N, 3) in Å; both float64.

        They can be differentiated by the displacement: energies twice, forces once.
        """
        energies, forces = _Moved.apply(displacement, self)
        return energies, forces

    def hessian_times(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the Hessian of each model times its vectors (N, M, 3): (N, M, 3), in their unit times eV/Å²."""
        found: torch.Tensor = _HessianTimes.apply(vectors, self)
        return found

    def evaluate(self, displacement: torch.Tensor | np.ndarray, model: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energies (B,) and forces (N, 3) of one model after a displacement (N, 3), float64."""
        moved = _moved(self.structures, np.asarray(displacement, dtype=np.float64))
        prediction = self._predict(model, moved)
        assert prediction.energy is not None
        return torch.from_numpy(prediction.energy), torch.from_numpy(prediction.forces)

    def derivative_of_forces(self, at: torch.Tensor | None, along: torch.Tensor, model: int) -> torch.Tensor:
        """Return how the forces of one model change along vectors (N, 3): (N, 3), by central differences."""
        start = np.zeros((len(along), 3)) if at is None else at.detach().double().numpy()
        direction = along.detach().double()
        longest = torch.zeros(len(self.structures), dtype=torch.float64)
        longest = longest.scatter_reduce(0, self.structure_index, direction.norm(dim=1), "amax")
        per_step = (longest / STEP)[self.structure_index].unsqueeze(1)  # of each structure; zero where nothing moves
        step = torch.where(per_step > 0, direction / per_step.clamp(min=1e-300), 0.0).numpy()
        both = _moved(self.structures, start + step) + _moved(self.structures, start - step)
        forward, backward = torch.from_numpy(self._predict(model, both).forces).chunk(2)
        return (forward - backward) / 2 * per_step

    def _predict(self, model: int, structures: Sequence[Atoms]) -> Prediction:
        with torch.enable_grad():  # which is off in functions of autograd, and base models of PyTorch need it
            return self.models[model].predict(structures)


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, displacement: torch.Tensor, boxes: BlackBoxes) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.set_materialize_grads(False)
        found = [boxes.evaluate(displacement.detach(), model) for model in range(len(boxes.models))]
        energies, forces = (torch.stack(parts, dim=1) for parts in zip(*found, strict=True))
        ctx.boxes = boxes
        ctx.save_for_backward(displacement, forces)
        return energies, forces

    @staticmethod
    def backward(ctx: Any, by_energies: torch.Tensor | None, by_forces: torch.Tensor | None) -> tuple[Any, None]:
        displacement, forces = ctx.saved_tensors
        total = torch.zeros_like(forces[:, 0])
        if by_energies is not None:
            # The saved forces belong to the graph: what is made of them here is differentiated by the part below.
            total = total - (by_energies[ctx.boxes.structure_index].unsqueeze(2) * forces).sum(dim=1)
        if by_forces is not None:
            for model in range(len(ctx.boxes.models)):
                total = total + ctx.boxes.derivative_of_forces(displacement, by_forces[:, model], model)
        return total.to(displacement.dtype), None


class _HessianTimes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, boxes: BlackBoxes) -> torch.Tensor:
        ctx.boxes = boxes
        models = range(len(boxes.models))
        products = [-boxes.derivative_of_forces(None, vectors[:, model], model) for model in models]
        return torch.stack(products, dim=1).to(vectors.dtype)

    @staticmethod
    def backward(ctx: Any, by_product: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _HessianTimes.apply(by_product, ctx.boxes), None  # a Hessian is symmetric


def _moved(structures: Sequence[Atoms], displacement: np.ndarray) -> list[Atoms]:
    """Return copies of structures after a displacement (N, 3), Å."""
    copies = [atoms.copy() for atoms in structures]
    for atoms, part in zip(copies, np.split(displacement, np.cumsum([len(one) for one in copies])[:-1]), strict=True):
        atoms.positions += part
    return copies
