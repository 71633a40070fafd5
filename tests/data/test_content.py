"""Content of structures: what counts as the same structure, and what does not."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.data.content import SeenStructures, are_among, signatures
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.splits import read_splits
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.settings.config import DataConfig
from tests.conftest import random_molecules


def samples() -> list[Atoms]:
    """Molecules, a skewed crystal and a slab, with positions that no decimal fraction gives exactly."""
    slab = fcc111("Cu", (3, 3, 3), vacuum=7.0)
    assert slab.pbc.tolist() == [True, True, False]
    crystal = bulk("Cu") * (3, 2, 2)
    found = [*random_molecules(20), *random_molecules(20, seed=1, symbols="C20H42"), crystal, slab]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


def single_precision(atoms: Atoms) -> None:
    atoms.positions = atoms.positions.astype(np.float32)


def reordered(atoms: Atoms) -> None:
    order = np.random.default_rng(0).permutation(len(atoms))
    atoms.positions, atoms.numbers = atoms.positions[order], atoms.numbers[order]


def other_images(atoms: Atoms) -> None:
    shifts = np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
    atoms.positions += shifts @ atoms.cell.array


def other_labels(atoms: Atoms) -> None:
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((len(atoms), 3)))
    atoms.info["config_type"] = "labelled"


def unused_cell(atoms: Atoms) -> None:
    if not atoms.pbc.any():
        atoms.cell = [20, 20, 20]


@pytest.mark.parametrize("change", [single_precision, reordered, other_images, other_labels, unused_cell])
def test_the_same_structure_is_found(change) -> None:
    changed = samples()
    for atoms in changed:
        change(atoms)
    assert are_among(signatures(changed), signatures(samples())).all()


def test_a_file_with_eight_decimals_holds_the_same_structures(tmp_path: Path) -> None:
    """Of 2,000 structures of 60 atoms, dozens would have another hash of positions rounded to 1e-4 Å."""
    structures = random_molecules(2000, symbols="C20H40")
    ase.io.write(tmp_path / "kept.extxyz", structures)
    kept = ase.io.read(tmp_path / "kept.extxyz", ":")
    pairs = zip(structures, kept, strict=True)
    assert [np.array_equal(a.positions.round(4), b.positions.round(4)) for a, b in pairs].count(False) > 5
    assert are_among(signatures(kept), signatures(structures)).all()


def test_other_structures_are_not_found() -> None:
    known = samples()
    for atoms in (changed := samples()):
        atoms.positions[-1, 0] += 1e-3
    assert not are_among(signatures(changed), signatures(known)).any()
    for atoms in (changed := samples()):
        atoms.numbers[0] += 1
    assert not are_among(signatures(changed), signatures(known)).any()
    crystal, strained, free = bulk("Cu"), bulk("Cu"), bulk("Cu")
    strained.set_cell(strained.cell * 1.001, scale_atoms=True)
    free.pbc = False
    assert not are_among(signatures([strained, free]), signatures([crystal])).any()


def test_frames_of_a_trajectory_are_not_found_in_one_another() -> None:
    dataset = read_dataset("methane")
    found = signatures(dataset.structures)
    assert not are_among(found[::2], found[1::2]).any()


def test_seen_structures_are_kept_in_a_file(tmp_path: Path) -> None:
    structures = random_molecules(9)
    SeenStructures.of(structures[:4], structures[4:6]).save(tmp_path / "seen.safetensors")
    found = SeenStructures.load(tmp_path / "seen.safetensors")
    assert found is not None
    assert {name: index.tolist() for name, index in found.splits(structures[::-1]).items()} == {
        "train": [5, 6, 7, 8], "valid": [3, 4], "test": [0, 1, 2],
    }  # fmt: skip
    assert SeenStructures.load(tmp_path / "absent.safetensors") is None
    (tmp_path / "seen.safetensors").write_bytes(b"")
    with pytest.raises(ElmlffError, match=r"cannot read .*seen\.safetensors"):
        SeenStructures.load(tmp_path / "seen.safetensors")


def write(path: Path, dataset) -> str:
    structures = list(dataset.structures)
    for index, atoms in enumerate(structures):
        atoms.arrays["REF_forces"] = dataset.forces_of(index)
    ase.io.write(path, structures)
    return str(path)


def test_test_structures_that_are_training_data_are_refused_with_their_number(tmp_path: Path) -> None:
    dataset = read_dataset("methane")
    first = write(tmp_path / "first.extxyz", dataset.subset(range(100)))
    other = write(tmp_path / "other.extxyz", dataset.subset(range(93, 133)))
    unseen = write(tmp_path / "unseen.extxyz", dataset.subset(range(100, 140)))
    with pytest.raises(DataError, match=r"100 of the 100 test structures in .*first.extxyz are also in the training"):
        read_splits(DataConfig(train=first, test=first))
    with pytest.raises(DataError, match=r"7 of the 40 test structures in .*other.extxyz are also in the training data"):
        read_splits(DataConfig(train=first, test=other))
    assert len(read_splits(DataConfig(train=first, test=unseen)).test_index) == 40
