"""A stack in torch-sim: the numbers of the ASE calculator, for many structures at the same time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.stress import voigt_6_to_full_3x3_stress

from elmlff_core import StackCalculator
from elmlff_core.errors import ElmlffError
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.stack.stack import Stack
from tests.stack.copper import copper, morse_stack

ts = pytest.importorskip("torch_sim", reason="comes with the extra 'torch-sim'")

from torch_sim.models.interface import validate_model_outputs  # noqa: E402
from torch_sim.testing import assert_model_calculator_consistency  # noqa: E402

from elmlff_core.stack.torch_sim_model import TorchSimModel  # noqa: E402


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return morse_stack(tmp_path_factory.mktemp("stack"))


def cells() -> list[Atoms]:
    """Three cells of copper of different sizes, one of them skewed."""
    found = [copper(20), copper(21).repeat((2, 1, 1)), copper(22)]
    found[2].set_cell(found[2].cell.array @ np.array([[1, 0, 0], [0.1, 1.02, 0], [0.05, -0.1, 1]]), scale_atoms=True)
    return found


@pytest.mark.parametrize("stress", [True, False])
def test_torch_sim_accepts_it(stack, stress):
    validate_model_outputs(TorchSimModel(stack, compute_stress=stress), torch.device("cpu"), torch.float64)


def test_the_numbers_are_those_of_the_calculator(stack):
    model, calculator, structures = TorchSimModel(stack, compute_stress=True), StackCalculator(stack), cells()
    found = model(ts.io.atoms_to_state(structures, torch.device("cpu"), torch.float64))
    for index, atoms in enumerate(structures):
        state = ts.io.atoms_to_state([atoms], torch.device("cpu"), torch.float64)
        tolerances = dict.fromkeys(("energy_atol", "force_atol", "stress_atol"), 1e-10)
        assert_model_calculator_consistency(model, calculator, state, **tolerances)
        assert found["energy"][index].item() == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-10)
        assert np.allclose(found["stress"][index], voigt_6_to_full_3x3_stress(calculator.get_stress(atoms)), atol=1e-12)
        assert found["energy_uncertainty"][index].item() == pytest.approx(calculator.get_property("energy_std", atoms))
    expected = np.concatenate([calculator.get_property("forces_std", atoms) for atoms in structures])
    assert np.allclose(found["forces_uncertainty"], expected)


def test_a_batch_moves_as_each_structure_in_ase(stack):
    model, structures = TorchSimModel(stack), cells()
    state = ts.io.atoms_to_state(structures, torch.device("cpu"), torch.float64)
    state.rng = 0
    state = ts.nve_init(state, model, kT=300 * units.kB)
    for index, atoms in enumerate(structures):
        atoms.set_momenta(state.momenta[state.system_idx == index].numpy())
    for _ in range(20):
        state = ts.nve_step(state, model, dt=2 * units.fs)
    for atoms, moved, energy in zip(structures, state.to_atoms(), state.energy.tolist(), strict=True):
        before = atoms.positions.copy()
        atoms.calc = StackCalculator(stack)
        VelocityVerlet(atoms, 2 * units.fs).run(20)
        assert np.abs(atoms.positions - before).max() > 0.05
        assert np.allclose(moved.positions, atoms.positions, rtol=0, atol=1e-6)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_states_in_single_precision_have_results_in_single_precision(stack):
    single = TorchSimModel(stack, dtype=torch.float32)
    found = single(ts.initialize_state(cells(), single.device, single.dtype))
    assert {array.dtype for array in found.values()} == {torch.float32}
    expected = [StackCalculator(stack).get_forces(atoms) for atoms in cells()]
    assert np.allclose(found["forces"], np.concatenate(expected), atol=1e-4)


def test_what_there_is_not_is_said(stack):
    other = Stack(stack.base_models, "median", {}, make_meta("median", {}))
    state = ts.io.atoms_to_state(cells(), torch.device("cpu"), torch.float64)
    with pytest.raises(ElmlffError, match="torch-sim needs energies: this stack has no energy"):
        TorchSimModel(other)(state)
    other.meta.energy = stack.meta.energy
    with pytest.raises(ElmlffError, match="the meta-model 'median' of this stack gives no stress"):
        TorchSimModel(other, compute_stress=True)(state)
    molecule = ts.io.atoms_to_state([Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])], torch.device("cpu"), torch.float64)
    assert torch.isnan(TorchSimModel(stack, compute_stress=True)(molecule)["stress"]).all()
