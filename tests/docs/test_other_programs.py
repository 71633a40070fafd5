"""The pages that show a stack in other programs run as they stand, with a stack of copper that is made in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units

from elmlff_core import StackCalculator
from tests.docs.pages import blocks, run_python
from tests.stack.copper import morse_stack

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stack where the pages expect one."""
    folder = tmp_path_factory.mktemp("copper")
    morse_stack(folder).save(folder / "copper" / "stacks" / "conservative")
    return folder


def test_torch_sim_relaxes_and_runs_many_structures(copper: Path) -> None:
    pytest.importorskip("torch_sim", reason="comes with the extra 'torch-sim'")
    (code,) = blocks(DOCS / "torch-sim.md", "python")
    found = run_python(code, copper)
    calculator = StackCalculator(copper / "copper" / "stacks" / "conservative")
    relaxed = found["relaxed"].to_atoms()
    assert len(relaxed) == 3
    for atoms, energy in zip(relaxed, found["relaxed"].energy.tolist(), strict=True):
        assert np.linalg.norm(calculator.get_forces(atoms), axis=1).max() < 0.01
        assert energy == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-6)
    seen = found["moved"].forces_uncertainty.numpy()
    expected = [calculator.get_property("forces_std", atoms) for atoms in found["moved"].to_atoms()]
    assert np.allclose(seen, np.concatenate(expected), rtol=1e-6)


def test_openmm_has_the_energy_and_the_forces_of_the_stack(copper: Path) -> None:
    pytest.importorskip("openmmml", reason="comes with the extra 'openmm'")
    from openmm import unit

    (code,) = blocks(DOCS / "openmm.md", "python")
    found = run_python(code, copper)
    assert len((copper / "copper.csv").read_text().splitlines()) == 1 + 3
    state = found["simulation"].context.getState(positions=True, energy=True, forces=True)
    atoms = found["atoms"].copy()
    atoms.set_cell(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom))
    moved = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    assert np.abs(moved - atoms.positions).max() > 0.02
    assert atoms.get_volume() != pytest.approx(found["atoms"].get_volume(), abs=1e-4)  # the barostat has worked
    atoms.positions = moved
    atoms.calc = StackCalculator(copper / "copper" / "stacks" / "conservative")
    kilojoule = units.kJ / units.mol
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * kilojoule
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) * kilojoule
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.abs(forces).max() > 0.1
    assert np.allclose(forces, atoms.get_forces(), rtol=0, atol=1e-6)
    seen = found["calculator"].results["forces_std"]
    assert np.allclose(seen, atoms.calc.get_property("forces_std", atoms), rtol=1e-6)
