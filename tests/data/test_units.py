"""Labels in other units than eV and eV/Å are refused by the labels alone; good labels never are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.units import bond_stiffness, check_units, energy_by_forces, lowest_energies
from elmlff_core.errors import DataError
from elmlff_core.settings.config import Config
from elmlff_core.workflows.inputs import read_inputs

HARTREE, RYDBERG, BOHR = units.Hartree, units.Rydberg, units.Bohr
KCAL, KJ = units.kcal / units.mol, units.kJ / units.mol


def in_units(dataset: Dataset, energy: float, force: float) -> Dataset:
    """Return the dataset with labels in units of `energy` eV and `force` eV/Å."""
    assert dataset.energy is not None
    return replace(dataset, energy=dataset.energy / energy, forces=dataset.forces / force)


@pytest.fixture(scope="module")
def methane() -> Dataset:
    return read_dataset("methane").subset(range(0, 1200, 4))


@pytest.fixture(scope="module")
def copper() -> Dataset:
    """Hot copper with labels of EMT, and compressed and expanded cells among them."""
    structures, forces, energies = [], [], []
    for seed in range(40):
        atoms = bulk("Cu", cubic=True, a=3.61 + 0.02 * (seed % 4)) * (2, 2, 2)
        atoms.rattle(0.04, seed=seed)
        atoms.calc = EMT()
        forces.append(atoms.get_forces())
        energies.append(atoms.get_potential_energy())
        structures.append(atoms)
    return Dataset.from_lists(structures, forces, energies, source="copper")


@pytest.mark.parametrize(
    ("energy", "force", "message"),
    [
        (HARTREE, HARTREE / BOHR, r"force labels of .* in Hartree/Bohr: its C-H bonds have a force constant of 0\.6"),
        (RYDBERG, RYDBERG / BOHR, "force labels of .* in Rydberg/Bohr or Hartree/Å"),
        (KCAL, KCAL, "force labels of .* in kcal/mol/Å: its C-H bonds have a force constant of 7"),
        (KJ, KJ, "force labels of .* in kJ/mol/Å"),
        (1.0, HARTREE / BOHR, "force labels of .* in Hartree/Bohr"),
        (HARTREE, 1.0, r"the energy changes 0\.03.* times as much .* as with energies in Hartree and forces in eV/Å"),
        (KCAL, 1.0, "the energy changes 2.* times as much .* as with energies in kcal/mol and forces in eV/Å"),
    ],
)
def test_labels_of_a_molecule_in_other_units(methane: Dataset, energy: float, force: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_units(in_units(methane, energy, force))


@pytest.mark.parametrize(
    ("energy", "force", "message"),
    [
        (HARTREE, HARTREE / BOHR, "energies in Hartree and forces in Hartree/Bohr or energies in Rydberg"),
        (1.0, HARTREE / BOHR, "energies in eV and forces in Hartree/Bohr"),
        (HARTREE, 1.0, "energies in Hartree and forces in eV/Å"),
        (1.0, KCAL, "energies in eV and forces in kcal/mol/Å"),
    ],
)
def test_labels_of_a_metal_whose_energies_do_not_fit_its_forces(
    copper: Dataset, energy: float, force: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_units(in_units(copper, energy, force))


def test_total_energies_that_are_lower_than_possible(methane: Dataset) -> None:
    """Without a bond to hydrogen, and without similar pairs, the total energies alone tell."""
    atoms = molecule("CO2")
    atoms.positions *= 1.02
    energy = -188.6 * HARTREE  # the total energy of carbon dioxide, from the tables of Hartree-Fock and beyond
    forces = np.zeros((3, 3))
    check_units(Dataset.from_lists([atoms], [forces], [energy]))
    with pytest.raises(DataError, match=r"energy labels of .* seem to be in kcal/mol: they are 23"):
        check_units(Dataset.from_lists([atoms], [forces], [energy / KCAL], source="co2"))


def test_good_labels_are_not_refused(methane: Dataset, copper: Dataset) -> None:
    check_units(methane)
    check_units(copper)
    for dataset in (methane, copper):
        check_units(replace(dataset, energy=None))
        check_units(dataset.subset([0]))
        check_units(replace(dataset, forces=np.zeros_like(dataset.forces)))
    assert bond_stiffness(methane)[6].slope == pytest.approx(31, rel=0.2)  # 5 mdyn/Å, from infrared spectra
    assert energy_by_forces(copper).slope == pytest.approx(1, abs=0.1)


def test_labels_of_a_toy_in_its_own_units_are_not_refused() -> None:
    structures, forces, energies = [], [], []
    for seed in range(30):
        atoms = bulk("Ar", cubic=True, a=1.6) * (2, 2, 2)
        atoms.rattle(0.03, seed=seed)
        atoms.calc = LennardJones(sigma=1.0, epsilon=1.0, rc=2.0, smooth=True)
        forces.append(atoms.get_forces())
        energies.append(atoms.get_potential_energy())
        structures.append(atoms)
    check_units(Dataset.from_lists(structures, forces, energies))


@pytest.mark.parametrize("source", ["methane/train", "methane/test", "methanol-cu100/train", "mpf-tp/mpf-TP.xyz",
                                    "mlearn/Mo/train.extxyz", "mlearn/Mo/test.extxyz", "mlearn/Si/train.extxyz",
                                    "mlearn/Si/test.extxyz"])  # fmt: skip
def test_published_data_are_not_refused(shared: Path, source: str) -> None:
    path = shared / "data" / source
    if not path.exists():
        pytest.skip(f"there is no {path}")
    check_units(read_dataset(path))


def test_energies_of_atoms_are_those_of_tables() -> None:
    """Total energies by Hartree-Fock, in Hartree (Clementi and Roetti, 1974)."""
    known = {2: -2.862, 6: -37.69, 10: -128.55, 18: -526.82, 29: -1638.96, 36: -2752.05}
    found = lowest_energies(np.array(list(known))) / HARTREE
    assert found == pytest.approx(list(known.values()), rel=0.06)


def test_a_run_on_labels_in_other_units_stops_before_anything_is_trained(
    methane: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ase.io

    atomic = in_units(methane, HARTREE, HARTREE / BOHR)
    structures = list(atomic.structures)
    for index, atoms in enumerate(structures):
        atoms.arrays["REF_forces"], atoms.info["REF_energy"] = atomic.forces_of(index), atomic.energy[index]
    ase.io.write(tmp_path / "atomic.extxyz", structures)
    monkeypatch.chdir(tmp_path)
    config = Config.model_validate({"data": {"train": "atomic.extxyz"}})
    with pytest.raises(DataError, match=r"atomic.extxyz seem to be in Hartree/Bohr.* data.check_units = false"):
        read_inputs(config)
    assert len(
        read_inputs(Config.model_validate({"data": {"train": "atomic.extxyz", "check_units": False}})).splits.source
    )
