"""A stack with uncertainties in ASE: calculators, writers and molecular dynamics."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin

from elmlff_core import StackCalculator, load_stack
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.errors import ElmlffError
from elmlff_core.stack.outside import OutOfDomainWarning, outside_warning
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.committee import committee_spread
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.evaluate import evaluate_stack
from tests.stack.copper import copper, morse_stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return morse_stack(tmp_path)


def test_the_values_are_those_of_the_loaded_stack(stack, tmp_path):
    stack.save(tmp_path / "run")
    atoms = copper(99)
    atoms.calc = StackCalculator(tmp_path / "run")
    spread = committee_spread(stack.features([atoms]).forces)
    force = stack.uncertainty.force
    expected = force.element_scales[29] * (np.maximum(spread, force.floor) / force.reference) ** force.exponent
    assert atoms.calc.get_property("forces_std", atoms) == pytest.approx(expected)
    assert atoms.calc.results["forces_std"] == pytest.approx(expected)
    assert atoms.calc.get_property("energy_std", atoms) == pytest.approx(
        stack.uncertainty.energy_std(stack.features([atoms]))[0]
    )
    atoms.positions[0] += 0.2
    assert atoms.calc.get_property("forces_std", atoms, allow_calculation=False) is None
    assert not np.allclose(atoms.calc.get_property("forces_std", atoms), expected)


def test_ase_writers_accept_the_calculator_before_and_after_dynamics(stack, tmp_path):
    atoms = copper(99)
    atoms.calc = StackCalculator(stack)
    dynamics = Langevin(
        atoms, 2 * units.fs, temperature_K=300, friction=0.01, fixcm=False, rng=np.random.default_rng(0)
    )
    trajectory = Trajectory(str(tmp_path / "md.traj"), "w", atoms)
    dynamics.attach(trajectory.write)
    for step in range(2):
        forces = atoms.get_forces()
        ase.io.write(tmp_path / "now.extxyz", atoms)
        assert np.allclose(ase.io.read(tmp_path / "now.extxyz").get_forces(), forces, atol=1e-6)
        with ase.db.connect(str(tmp_path / f"{step}.json")) as database:
            database.write(atoms)
            assert np.allclose(database.get_atoms(1).get_forces(), forces)
        frozen = SinglePointCalculator(atoms, **atoms.calc.results)
        assert np.array_equal(frozen.get_forces(), forces)
        assert atoms.calc.export_properties()["energy"] == atoms.get_potential_energy()
        dynamics.run(2)
    trajectory.close()
    frames = ase.io.read(tmp_path / "md.traj", ":")
    assert len(frames) == 5  # the initial structure and four steps
    assert np.array_equal(frames[-1].get_forces(), atoms.get_forces())


def test_a_stack_without_uncertainties_has_no_such_property(stack, tmp_path):
    stack.save(tmp_path / "run")
    stack.uncertainty = None
    stack.save(tmp_path / "run")  # overwrites the stack that had them
    atoms = copper(99)
    atoms.calc = StackCalculator(load_stack(tmp_path / "run"))
    atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="no forces_std"):
        atoms.calc.get_property("forces_std", atoms)


def test_the_error_names_a_damaged_file(stack, tmp_path):
    stack.save(tmp_path / "run")
    (tmp_path / "run" / "uncertainty.json").write_text('{"format_version": 1}')
    with pytest.raises(ElmlffError, match=r"uncertainty\.json is missing or has changed"):
        load_stack(tmp_path / "run")


def test_many_structures_are_predicted_in_chunks(stack, monkeypatch):
    structures = [copper(seed) for seed in range(20, 29)]
    whole = stack.predict(structures)
    monkeypatch.setattr("elmlff_core.stack.stack.CHUNK_ATOMS", 8)  # two structures
    steps = []
    chunked = stack.predict(structures, steps.append)
    assert [step.done for step in steps] == [2, 4, 6, 8, 9]
    for name in ("n_atoms", "forces", "energy", "stress", "forces_std", "energy_std"):
        assert getattr(chunked, name) == pytest.approx(getattr(whole, name))
    structures[7].positions[2] = np.nan
    with pytest.raises(ElmlffError, match="structure 7: atom 2 is at"):
        stack.predict(structures)


@pytest.fixture
def stack_with_domain(stack: Stack) -> Stack:
    """The stack that knows its domain: copper at the usual lattice constant."""
    data = dataset_from_structures([copper(seed) for seed in range(40)], "copper")
    features = stack.features(data.structures, data)
    domain = Domain.fit(features.subset(range(30)), features.subset(range(30, 40)))
    stack.uncertainty = Uncertainty.fit(features, stack.meta.predict(features), stack.meta, domain)
    return stack


def stretched(seed: int) -> Atoms:
    atoms = copper(seed)
    atoms.set_cell(atoms.cell * 1.08, scale_atoms=True)
    atoms.calc = EMT()
    return atoms


def test_the_calculator_warns_once_of_atoms_outside_what_the_stack_was_fitted_on(stack_with_domain):
    atoms = copper(100)
    atoms.calc = StackCalculator(stack_with_domain)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        usual = atoms.calc.get_property("forces_std", atoms).max()
    atoms.set_cell(atoms.cell * 1.08, scale_atoms=True)
    with pytest.warns(OutOfDomainWarning, match=r"lies outside .*unknown surroundings on atoms \d") as caught:
        atoms.get_forces()
    assert sum(issubclass(entry.category, OutOfDomainWarning) for entry in caught) == 1
    assert (atoms.calc.get_property("outside", atoms) > 1).all()
    assert atoms.calc.get_property("forces_std", atoms).min() > usual
    atoms.rattle(0.01, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        atoms.get_forces()


def test_structures_outside_are_named_and_the_stack_keeps_its_domain_when_loaded(stack_with_domain, tmp_path):
    stack_with_domain.save(tmp_path / "stack")
    loaded = load_stack(tmp_path / "stack")
    tested = [copper(100), stretched(101), copper(102)]
    warning = outside_warning(loaded, loaded.predict(tested))
    assert "1 of 3 structures lies outside" in warning
    assert "structure 1: unknown surroundings on atoms" in warning
    assert "structure 0" not in warning
    assert outside_warning(loaded, loaded.predict(tested[::2])) is None
    notes = evaluate_stack(loaded, dataset_from_structures(tested, "tested"), Reporter()).notes
    assert any("1 of 3 structures lie outside" in note and "of the errors outside" in note for note in notes)
    loaded.uncertainty = None
    loaded.save(tmp_path / "stack")
    assert not (tmp_path / "stack/domain.safetensors").exists()
