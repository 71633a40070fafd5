"""The pages on other programs and on properties run as they stand, with a stack of copper that is made in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.optimize import BFGS

from elmlff_core import StackCalculator
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from tests.docs.pages import blocks, run_python
from tests.stack.copper import copper as copper_cell
from tests.stack.copper import morse_stack

DOCS = Path(__file__).resolve().parents[2] / "docs"
STACK = "copper/stacks/conservative"  # where the pages expect it
OUTSIDE = pytest.mark.filterwarnings("ignore::elmlff_core.stack.outside.OutOfDomainWarning")


@pytest.fixture(scope="module")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stack where the pages expect one."""
    folder = tmp_path_factory.mktemp("copper")
    stack = morse_stack(folder)
    data = dataset_from_structures([copper_cell(seed) for seed in range(30)], "copper")
    features = stack.features(data.structures, data)
    domain = Domain.fit(features.subset(range(20)), features.subset(range(20, 30)))
    stack.uncertainty = Uncertainty.fit(features, stack.meta.predict(features), stack.meta, domain)
    stack.save(folder / STACK)
    return folder


def test_torch_sim_relaxes_and_runs_many_structures(copper: Path) -> None:
    pytest.importorskip("torch_sim", reason="comes with the extra 'torch-sim'")
    (code,) = blocks(DOCS / "torch-sim.md", "python")
    found = run_python(code, copper)
    calculator = StackCalculator(copper / STACK)
    relaxed = found["relaxed"].to_atoms()
    assert len(relaxed) == 3
    for atoms, energy in zip(relaxed, found["relaxed"].energy.tolist(), strict=True):
        assert np.linalg.norm(calculator.get_forces(atoms), axis=1).max() < 0.02
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
    atoms.calc = StackCalculator(copper / STACK)
    kilojoule = units.kJ / units.mol
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * kilojoule
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) * kilojoule
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.abs(forces).max() > 0.1
    assert np.allclose(forces, atoms.get_forces(), rtol=0, atol=1e-6)
    seen = found["calculator"].results["forces_std"]
    assert np.allclose(seen, atoms.calc.get_property("forces_std", atoms), rtol=1e-6)


@OUTSIDE
def test_the_equation_of_state_agrees_with_the_stress(copper: Path) -> None:
    found = run_python(blocks(DOCS / "properties.md", "python")[0], copper)
    at_rest = found["copper"].get_stress()[:3].mean()
    compressed = found["copper"].copy()
    compressed.set_cell(compressed.cell * 0.999, scale_atoms=True)
    compressed.calc = found["copper"].calc
    change = 1 - compressed.get_volume() / found["copper"].get_volume()
    assert found["modulus"] == pytest.approx((at_rest - compressed.get_stress()[:3].mean()) / change, rel=0.02)
    assert found["volume"] == pytest.approx(found["copper"].get_volume(), rel=2e-3)


def test_phonons_have_acoustic_modes_and_the_frequency_of_a_frozen_phonon(copper: Path) -> None:
    pytest.importorskip("phonopy")
    found = run_python(blocks(DOCS / "properties.md", "python")[1], copper)
    phonons, atoms = found["phonons"], found["copper"]
    phonons.run_qpoints([[0, 0, 0], [0.5, 0, 0.5]])
    acoustic, at_x = phonons.qpoints.frequencies
    assert np.abs(acoustic).max() < 0.01
    # The longitudinal mode at X: every second plane along x moves against the others.
    moved, step = atoms.copy(), 0.01
    moved.positions[:, 0] += np.where(np.isclose(atoms.get_scaled_positions()[:, 0] % 1, 0.5), step, -step)
    moved.calc = atoms.calc
    energy = moved.get_potential_energy() - atoms.get_potential_energy()
    angular = np.sqrt(2 * energy / (atoms.get_masses().sum() * step**2))
    assert at_x[-1] == pytest.approx(angular / (2 * np.pi) * units.fs * 1000, rel=0.01)
    assert 0.8 * 3 * 8.314 < found["heat_capacity"] < 3 * 8.314  # the classical limit


@OUTSIDE
def test_the_barrier_is_that_of_the_symmetric_saddle(copper: Path) -> None:
    found = run_python(blocks(DOCS / "properties.md", "python")[2], copper)
    energies = found["energies"]
    assert energies[0] == pytest.approx(energies[-1], abs=1e-3)
    assert found["saddle"] is found["images"][2]
    # By symmetry the forces in the middle of the path do not push the atom off it.
    middle = found["ends"][0].copy()
    middle.positions = (found["ends"][0].positions + found["ends"][1].positions) / 2
    middle.calc = found["calculator"]
    BFGS(middle, logfile=None).run(fmax=0.02)
    assert found["barrier"] == pytest.approx(middle.get_potential_energy() - energies[0], abs=0.01)
    assert found["barrier"] > 0.1
