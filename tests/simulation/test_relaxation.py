"""Relaxation of positions and cells with a stack."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.optimize import minimize_scalar

from elmlff_core import StackCalculator
from elmlff_core.errors import ElmlffError
from elmlff_core.simulation.relaxation import relax
from elmlff_core.stack.stack import Stack, make_meta
from tests.stack.copper import morse_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return morse_stack(tmp_path_factory.mktemp("stack"))


@pytest.mark.parametrize("optimizer", ["bfgs", "fire"])
def test_positions_return_to_the_lattice(stack, tmp_path, optimizer):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=0)
    found = relax(stack, atoms, tmp_path / "out.extxyz", optimizer, path=tmp_path / "steps.extxyz", committee=True)
    assert found.converged
    assert found.largest_force < 0.01
    written = ase.io.read(tmp_path / "out.extxyz")
    moved = written.positions - bulk("Cu", cubic=True).positions
    assert np.allclose(moved, moved.mean(axis=0), atol=0.01)
    frames = ase.io.read(tmp_path / "steps.extxyz", ":")
    assert len(frames) == found.steps + 1
    assert np.diff([frame.get_potential_energy() for frame in frames])[-1] < 1e-3
    assert (written.arrays["forces_uncertainty"] > 0).all()
    for frame in (frames[0], frames[-1], written):
        assert np.allclose(frame.arrays["forces_comm"].reshape(-1, 2, 3).mean(axis=1), frame.get_forces(), atol=1e-7)
        assert np.mean(frame.info["energy_comm"]) == pytest.approx(frame.get_potential_energy())


def test_the_cell_goes_to_the_lowest_energy(stack, tmp_path):
    def energy(a: float) -> float:
        return StackCalculator(stack).get_potential_energy(bulk("Cu", cubic=True, a=a))

    best = minimize_scalar(energy, bounds=(3.4, 3.9), method="bounded", options={"xatol": 1e-5}).x
    found = relax(stack, bulk("Cu", cubic=True), tmp_path / "out.extxyz", cell=True, force=0.001)
    assert found.converged
    assert found.atoms.cell.lengths() == pytest.approx(best, abs=2e-3)
    assert found.pressure == pytest.approx(0, abs=0.05)


def test_too_few_steps_have_not_converged(stack, tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    found = relax(stack, atoms, tmp_path / "out.extxyz", steps=1)
    assert not found.converged
    assert found.steps == 1
    assert found.largest_force == pytest.approx(np.linalg.norm(found.atoms.get_forces(), axis=1).max(), abs=1e-6)


def test_a_cell_needs_stress(stack, tmp_path):
    with pytest.raises(ElmlffError, match="stress needs a structure that is periodic"):
        relax(stack, Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]), tmp_path / "out.extxyz", cell=True)
    without = Stack(stack.base_models, "median", {}, make_meta("median", {}))
    with pytest.raises(ElmlffError, match="'median' of this stack gives no stress; these do: 'mean', 'linear'"):
        relax(without, bulk("Cu", cubic=True), tmp_path / "out.extxyz", cell=True)
    assert not (tmp_path / "out.extxyz").exists()
