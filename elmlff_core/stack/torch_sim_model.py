"""TorchSimModel: a stack as a model of torch-sim, which simulates many systems at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.stress import voigt_6_to_full_3x3_stress

from elmlff_core.errors import ElmlffError
from elmlff_core.stack.calculator import NO_ENERGY, why_no_stress
from elmlff_core.stack.stack import Stack, StackPrediction, load_stack

try:
    from torch_sim.io import state_to_atoms
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise ImportError(f'torch-sim cannot be imported ({error}): pip install "elmlff[torch-sim]"') from error


class TorchSimModel(ModelInterface):
    """A stack as a model of torch-sim: all systems of a state go through the base models and the meta-model together.

    It gives ``energy`` (n_systems,) in eV, ``forces`` (n_atoms, 3) in eV/Å and, with `compute_stress`, ``stress``
    (n_systems, 3, 3) in eV/Å³.  The stress of systems that are not periodic in all directions is not a number.  A stack
    with calibrated uncertainties also gives ``forces_uncertainty`` (n_atoms,), the standard deviation of each force
    component in eV/Å, ``outside`` (n_atoms,), and ``energy_uncertainty`` (n_systems,) in eV, which torch-sim keeps in
    its states.

    `device` and `dtype` are those of the states and results; the stack runs where it was loaded to.

    Parameters
    ----------
    stack : a loaded stack, or the folder of a stack
    trust : as for `load_stack`, if `stack` is a folder
    device, dtype : of states and results
    compute_stress : whether it gives the stress

    Raises
    ------
    ElmlffError
        When it is called: a base model or the meta-model cannot be applied, the stack has no energy, or it has no
        stress and `compute_stress` asks for it.
    """

    def __init__(
        self,
        stack: Stack | str | Path,
        trust: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
        compute_stress: bool = False,
    ) -> None:
        super().__init__()
        self.stack = stack if isinstance(stack, Stack) else load_stack(stack, trust)
        self._device, self._dtype = torch.device(device), dtype
        self._compute_forces, self._compute_stress = True, compute_stress
        # The stack cuts batches itself: memory grows with the number of atoms alone.
        self._memory_scales_with = "n_atoms"

    def forward(self, state: SimState, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Compute energy, forces, stress and uncertainties of all systems of `state`."""
        structures = state_to_atoms(state)
        found = self.stack.predict(structures)
        if found.energy is None:
            raise ElmlffError(f"torch-sim needs energies: {NO_ENERGY}")
        arrays = {
            "energy": found.energy, "forces": found.forces, "forces_uncertainty": found.forces_std,
            "outside": found.outside, "energy_uncertainty": found.energy_std,
        }  # fmt: skip
        if self.compute_stress:
            arrays["stress"] = self._stress(structures, found)
        return {
            name: torch.as_tensor(array, dtype=state.dtype, device=state.device)
            for name, array in arrays.items()
            if array is not None
        }

    def _stress(self, structures: list[Any], found: StackPrediction) -> np.ndarray:
        """Return the stresses as matrices: (n_systems, 3, 3), eV/Å³."""
        if found.stress is not None:
            return voigt_6_to_full_3x3_stress(found.stress)
        if structures[0].pbc.all():  # in a state, all systems are periodic in the same directions
            raise ElmlffError(why_no_stress(self.stack, structures[0]))
        return np.full((len(structures), 3, 3), np.nan)
