"""Tests of every trainable adapter on a model that it has trained: physics, shapes and messages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from elmlff_core.contracts.protocols import BaseForceField
from elmlff_core.errors import ForceFieldError
from elmlff_core.testing.force_field_checks import ForceFieldCase, descriptors
from elmlff_core.testing.tolerances import Tolerances

ADAPTERS = ("dp", "schnet", "painn", "nep")
Trained = Callable[..., BaseForceField]


@pytest.fixture(params=ADAPTERS)
def model(request: pytest.FixtureRequest, trained: Trained) -> BaseForceField:
    return trained(request.param)


@pytest.fixture
def ethylene() -> Atoms:
    atoms = molecule("C2H4")
    atoms.positions += np.random.default_rng(3).normal(scale=0.08, size=atoms.positions.shape)
    return atoms


def energy(model: BaseForceField, atoms: Atoms) -> float:
    found = model.predict([atoms]).energy
    assert found is not None
    return float(found[0])


def test_it_knows_its_elements_and_cutoff(model: BaseForceField) -> None:
    assert model.elements == {"H", "C"}
    assert model.cutoff in (4.0, 5.0)


def test_forces_are_minus_the_gradient_of_the_energy(model: BaseForceField, ethylene: Atoms) -> None:
    forces = model.predict([ethylene]).forces
    step = 1e-3
    for atom, axis in [(0, 0), (1, 2), (4, 1)]:
        ends = []
        for sign in (1, -1):
            moved = ethylene.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(energy(model, moved))
        assert forces[atom, axis] == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=2e-3, abs=2e-4)


def test_stress_is_the_strain_derivative_of_the_energy(model: BaseForceField, ethylene: Atoms) -> None:
    ethylene.set_cell([[4.5, 0, 0], [0.7, 5.0, 0], [0, 0.4, 5.5]])
    ethylene.pbc = True
    stress = model.predict([ethylene]).stress
    assert stress is not None
    step = 1e-3
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        ends = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = ethylene.copy()
            strained.set_cell(ethylene.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            ends.append(energy(model, strained))
        slope = (ends[0] - ends[1]) / (2 * step) / ethylene.get_volume()
        assert stress[0, voigt] == pytest.approx(slope, rel=2e-3, abs=2e-6)


def test_stress_is_left_out_unless_all_structures_are_periodic(model: BaseForceField, ethylene: Atoms) -> None:
    periodic = ethylene.copy()
    periodic.set_cell([9.0, 9.0, 9.0])
    periodic.pbc = True
    assert model.predict([periodic]).stress is not None
    assert model.predict([periodic, ethylene]).stress is None


def test_batched_equals_single_for_mixed_sizes(model: BaseForceField, ethylene: Atoms) -> None:
    boxed = molecule("CH4", cell=[6.0, 7.0, 8.0], pbc=True)
    boxed.rattle(0.05, seed=1)
    slab = ethylene.copy()
    slab.set_cell([5.0, 5.0, 0.0])
    slab.pbc = (True, True, False)
    reordered = ethylene[[5, 0, 3, 1, 2, 4]]
    structures = [ethylene, Atoms("C"), boxed, slab, reordered, Atoms("H", cell=[3, 3, 3], pbc=True), ethylene]
    together = model.predict(structures).checked(structures, model.name)
    assert together.energy is not None
    for index, atoms in enumerate(structures):
        alone = model.predict([atoms])
        assert together.energy[index] == pytest.approx(alone.energy[0], abs=1e-5)
        np.testing.assert_allclose(together.forces_of(index), alone.forces, atol=1e-5)
    np.testing.assert_allclose(together.forces_of(4), together.forces_of(0)[[5, 0, 3, 1, 2, 4]], atol=1e-5)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_descriptors_are_given_where_they_are_asked_for(trained: Trained, adapter: str, ethylene: Atoms) -> None:
    plain, describing = trained(adapter), trained(adapter, descriptors=True)
    periodic = molecule("CH4", cell=[7.0, 7.5, 8.0], pbc=True)
    structures = [ethylene, molecule("CH4"), periodic]
    without, found = plain.predict(structures), describing.predict(structures).checked(structures, adapter)
    assert without.descriptors is None
    np.testing.assert_allclose(found.forces, without.forces, rtol=1e-10, atol=1e-12)
    assert found.descriptors is not None
    assert len(found.descriptors) == 16
    case = ForceFieldCase(describing, structures, Tolerances(), np.random.default_rng(0))
    figure = descriptors(case)
    assert figure.limit is not None
    assert figure.value < figure.limit
    ethylene.positions[0] += [0.0, 0.1, 0.2]
    moved = describing.predict(structures).descriptors
    assert moved is not None
    assert not np.allclose(moved[0], found.descriptors[0], rtol=1e-3)
    np.testing.assert_allclose(moved[6:], found.descriptors[6:], rtol=1e-5, atol=1e-7)


def test_one_atom_feels_no_force(model: BaseForceField) -> None:
    prediction = model.predict([Atoms("C", positions=[[1.0, 2.0, 3.0]])])
    np.testing.assert_allclose(prediction.forces, np.zeros((1, 3)), atol=1e-10)


def test_no_structures_give_an_empty_prediction(model: BaseForceField) -> None:
    prediction = model.predict([])
    assert prediction.forces.shape == (0, 3)
    assert prediction.energy is not None
    assert prediction.energy.shape == (0,)


def test_a_molecule_is_the_same_in_a_large_box(model: BaseForceField, ethylene: Atoms) -> None:
    boxed = ethylene.copy()
    boxed.set_cell([20.0, 20.0, 20.0])
    boxed.pbc = True
    free, periodic = model.predict([ethylene]), model.predict([boxed])
    assert free.energy is not None
    assert periodic.energy is not None
    assert free.energy[0] == pytest.approx(periodic.energy[0], abs=1e-5)
    np.testing.assert_allclose(free.forces, periodic.forces, atol=1e-5)


def test_lattice_translations_change_nothing(model: BaseForceField, ethylene: Atoms) -> None:
    ethylene.set_cell([[5.0, 0, 0], [1.0, 5.5, 0], [0, 0.5, 6.0]])
    ethylene.pbc = True
    moved = ethylene.copy()
    moved.positions += 40 * moved.cell.array[0] - 25 * moved.cell.array[2]
    moved.positions[2] += 3 * moved.cell.array[1]
    np.testing.assert_allclose(model.predict([moved]).forces, model.predict([ethylene]).forces, atol=1e-5)


def test_energies_have_the_zero_of_the_reference(trained: Trained, tiny_data: tuple) -> None:
    _, valid = tiny_data
    for adapter in ("schnet", "painn"):
        found = trained(adapter).predict(valid.structures).energy
        # After a short training the error is a few eV; without element energies it would be 40 and 80 eV.
        assert np.abs(found - valid.energy).max() < 10.0


def test_an_unknown_element_is_named(model: BaseForceField, ethylene: Atoms) -> None:
    with pytest.raises(ForceFieldError, match=rf"structure 1 holds O, .*'{model.name}'.*it knows H, C"):
        model.predict([ethylene, molecule("H2O")])


def test_a_missing_checkpoint_is_named(model: BaseForceField, load: Callable, tmp_path) -> None:
    adapter = model.name.removeprefix("tiny-")
    with pytest.raises(ForceFieldError, match=r"missing.*nowhere\.pth"):
        load(adapter, tmp_path / "nowhere.pth")
    with pytest.raises(ForceFieldError, match="needs a checkpoint"):
        load(adapter, None)


@pytest.mark.parametrize(
    ("adapter", "name"), [("dp", "m.pth"), ("dp", "m.pt"), ("painn", "m.safetensors"), ("nep", "m.txt")]
)
def test_a_broken_checkpoint_is_an_error_of_the_model(load: Callable, tmp_path, adapter: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no model")
    with pytest.raises(ForceFieldError, match=rf"'broken' \(adapter '{adapter}'\) cannot load .*{name}"):
        load(adapter, tmp_path / name, "broken")
