"""Labels are found under the usual names or the user's, and invalid labels are refused."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from elmlff_core.data.labels import LabelKeys, dataset_from_structures
from elmlff_core.data.readers import read_dataset
from elmlff_core.errors import DataError

FORCES = np.arange(6.0).reshape(2, 3)


def dimer() -> Atoms:
    return Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])


def labelled(**arrays) -> Atoms:
    atoms = dimer()
    for name, values in arrays.items():
        atoms.arrays[name] = values
    return atoms


@pytest.mark.parametrize("name", ["REF_forces", "forces"])
def test_usual_names_are_found(name):
    assert np.array_equal(dataset_from_structures([labelled(**{name: FORCES})], "x").forces, FORCES)


def test_reference_names_take_precedence_over_a_calculator():
    atoms = labelled(REF_forces=FORCES)
    atoms.calc = SinglePointCalculator(atoms, forces=-FORCES)
    assert np.array_equal(dataset_from_structures([atoms], "x").forces, FORCES)


def test_the_users_names_are_used_and_no_others():
    atoms = labelled(mine=FORCES, REF_forces=-FORCES)
    atoms.info["my_energy"] = 3.0
    dataset = dataset_from_structures([atoms], "x", LabelKeys("my_energy", "mine"))
    assert np.array_equal(dataset.forces, FORCES)
    assert dataset.energy.tolist() == [3.0]


def test_forces_are_read_without_constraints():
    atoms = dimer()
    atoms.calc = SinglePointCalculator(atoms, forces=FORCES)
    atoms.set_constraint(FixAtoms([1]))
    assert np.array_equal(dataset_from_structures([atoms], "x").forces, FORCES)


def test_missing_forces_are_refused_and_never_computed():
    atoms = dimer()
    atoms.calc = EMT()
    with pytest.raises(DataError, match="no force labels under REF_forces or forces"):
        dataset_from_structures([dimer()], "x")
    with pytest.raises(DataError, match="structure 0 of x"):
        dataset_from_structures([dimer()], "x")


def test_errors_on_non_finite_labels_name_structure_and_atom():
    bad = FORCES.copy()
    bad[1, 2] = np.nan
    with pytest.raises(DataError, match="structure 1 of x has non-finite force labels on atom 1"):
        dataset_from_structures([labelled(forces=FORCES), labelled(forces=bad)], "x")
    atoms = labelled(forces=FORCES)
    atoms.info["energy"] = np.inf
    with pytest.raises(DataError, match="structure 0 of x has a non-finite energy"):
        dataset_from_structures([atoms], "x")


@pytest.mark.parametrize(("value", "shown"), [("abc", "'abc'"), (True, "'True'"), ([[1], [1, 2]], "...")])
def test_labels_that_are_no_numbers_are_refused(value, shown):
    atoms = labelled(forces=FORCES)
    atoms.info["energy"] = value
    with pytest.raises(DataError, match=r"structure 0 of x has the energy label .*, expected numbers"):
        dataset_from_structures([atoms], "x")


def test_labels_of_other_sizes_are_refused():
    atoms = labelled(forces=FORCES)
    atoms.info["energy"] = np.array([1.0, 2.0])
    with pytest.raises(DataError, match="structure 0 of x has 2 numbers as its energy label"):
        dataset_from_structures([atoms], "x")
    atoms.info["energy"] = np.array([1.5])  # some programs write it so
    assert dataset_from_structures([atoms], "x").energy.tolist() == [1.5]
    atoms.info["stress"] = np.ones(3)
    with pytest.raises(DataError, match=r"stress label of shape \(3,\), expected 6 or 3 x 3 numbers"):
        dataset_from_structures([atoms], "x")
    atoms.info["stress"] = np.arange(9.0)  # one row after another: xx xy xz yx ...
    assert dataset_from_structures([atoms], "x").stress.tolist() == [[0.0, 4.0, 8.0, 6.0, 4.0, 2.0]]


def test_labels_out_of_this_world_are_refused():
    bad = FORCES.copy()
    bad[1, 2] = -1e200  # its square is infinite
    with pytest.raises(DataError, match=r"structure 0 of x has the force label 1e\+200, more than 1e\+10"):
        dataset_from_structures([labelled(forces=bad)], "x")


def test_wrong_shape_and_no_structures_are_refused():
    with pytest.raises(DataError, match=r"has 2 atoms but forces of shape \(2, 2\)"):
        dataset_from_structures([labelled(forces=FORCES[:, :2])], "x")
    with pytest.raises(DataError, match="x holds no structures"):
        dataset_from_structures([], "x")


def test_stress_keeps_the_order_and_sign_of_ase(tmp_path):
    atoms = Atoms("Cu", cell=[3.0, 3.1, 3.2], pbc=True)
    stress = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((1, 3)), stress=stress)
    ase.io.write(tmp_path / "x.extxyz", atoms)
    assert np.allclose(read_dataset(tmp_path / "x.extxyz").stress[0], stress)


def test_the_stress_of_structures_without_one_is_unknown():
    structures = [labelled(forces=FORCES) for _ in range(3)]
    assert dataset_from_structures(structures, "x").stress is None
    structures[1].info["REF_stress"] = np.arange(6.0)
    stress = dataset_from_structures(structures, "x").stress
    assert stress.shape == (3, 6)
    assert np.isnan(stress[[0, 2]]).all()
    assert stress[1].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_missing_energies_of_some_structures_are_refused():
    structures = [labelled(forces=FORCES) for _ in range(3)]
    for atoms in structures[::2]:
        atoms.info["energy"] = 1.0
    with pytest.raises(DataError, match="1 of 3 structures of x have no energy label, the first is structure 1"):
        dataset_from_structures(structures, "x")
