"""Labels and lessons: what the stack says of made structures, in parts, and how they are divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.labels import LabelKeys, dataset_from_structures
from elmlff_core.distillation import labels as module
from elmlff_core.distillation.labels import (
    all_labels,
    labelling_tasks,
    labellings,
    load_structures,
    picked,
    save_structures,
    why_no_energies,
)
from elmlff_core.distillation.reference import Reference, joined, read_reference
from elmlff_core.distillation.students import Lessons, load_dataset, made_dataset, save_dataset
from elmlff_core.errors import ConfigError
from elmlff_core.stack.place import StackPlace
from tests.stack.copper import copper, morse_stack


def cluster(seed: int) -> Atoms:
    """Make a free cluster of copper."""
    atoms = copper(seed)
    atoms.pbc = False
    return atoms


def test_parts_give_what_the_stack_predicts_at_once(tmp_path, monkeypatch):
    stack = morse_stack(tmp_path / "fit")
    stack.save(tmp_path / "stack")
    structures = [cluster(0), copper(1), cluster(2), copper(3), copper(4)]
    path = tmp_path / "candidates.safetensors"
    save_structures(structures, path)
    read = load_structures(path)
    assert all(np.array_equal(one.positions, other.positions) for one, other in zip(read, structures, strict=True))
    monkeypatch.setattr(module, "ATOMS_OF_A_PART", 8)
    parts = labellings(read, path, StackPlace(tmp_path / "stack"), tmp_path / "labels")
    assert [part.indices for part in parts] == [(0, 2), (1, 3), (4,)]
    for task in labelling_tasks(parts):
        task.work(Reporter())
    assert not labelling_tasks(parts)
    found = all_labels(parts)
    for index, atoms in enumerate(structures):
        alone = stack.predict([atoms])
        assert np.allclose(found.forces_of(index), alone.forces, atol=1e-10)
        assert found.energy[index] == pytest.approx(alone.energy[0], abs=1e-10)
        assert np.isfinite(found.stress[index]).all() == atoms.pbc.all()
        rows = slice(found.offsets[index], found.offsets[index + 1])
        assert np.allclose(found.forces_std[rows], alone.forces_std, atol=1e-10)
    some = picked(found, np.array([3, 0]))
    assert np.array_equal(some.forces_of(1), found.forces_of(0))
    assert np.array_equal(some.stress[0], found.stress[3])


def test_a_student_learns_energies_only_of_forces_that_are_their_gradient(tmp_path):
    stack = morse_stack(tmp_path)
    assert why_no_energies(stack) is None
    stack.meta_name = "egat"
    assert "forces alone" in why_no_energies(stack)


def of(seeds: range) -> Dataset:
    return dataset_from_structures([copper(seed) for seed in seeds], "copper")


def test_lessons_hold_every_structure_once_and_none_that_is_held_out(tmp_path):
    reference, made = Reference(of(range(6)), of(range(6, 8)), of(range(8, 12))), of(range(20, 50))
    lessons = Lessons.of(reference, made, with_energies=True, seed=0)
    assert (len(lessons.train), len(lessons.valid), len(lessons.held_out)) == (6 + 24, 2 + 3, 3)
    positions = [
        atoms.positions.tobytes()
        for part in (lessons.train, lessons.valid, lessons.held_out)
        for atoms in part.structures
    ]
    expected = [copper(seed).positions.tobytes() for seed in (*range(8), *range(20, 50))]
    assert sorted(positions) == sorted(expected)
    # Reference labels are kept as they are.
    assert np.array_equal(lessons.train.forces[: 4 * 6], reference.train.forces)
    assert np.array_equal(lessons.train.energy[:6], reference.train.energy)
    lessons.save(tmp_path)
    again = load_dataset(tmp_path / "train.safetensors")
    assert again.labels_fingerprint == lessons.train.labels_fingerprint


def test_without_energies_no_part_has_any(tmp_path):
    lessons = Lessons.of(Reference(of(range(4)), of(range(4, 6)), None), of(range(20, 30)), False, 0)
    assert lessons.train.energy is None
    assert lessons.valid.energy is None
    save_dataset(lessons.held_out, tmp_path / "held_out.safetensors")
    assert load_dataset(tmp_path / "held_out.safetensors").energy is None


def test_stresses_are_missing_where_they_are_not_known():
    labelled = of(range(2))
    without = Dataset(labelled.structures, labelled.forces, labelled.energy)
    with_stress = Dataset(labelled.structures, labelled.forces, labelled.energy, np.ones((2, 6)))
    found = joined([without, with_stress])
    assert np.isnan(found.stress[:2]).all()
    assert (found.stress[2:] == 1).all()
    assert joined([without, without]).stress is None


def test_chosen_structures_keep_their_own_labels(tmp_path):
    stack, structures = morse_stack(tmp_path), [copper(seed) for seed in range(4)]
    found = stack.predict(structures)
    made = made_dataset(structures, found, np.array([1, 3]), "made", None)
    assert made.weight is None
    assert np.array_equal(made.forces_of(1), found.forces_of(3))
    assert np.array_equal(made.structures[1].positions, structures[3].positions)


def test_made_structures_count_by_how_sure_the_stack_is(tmp_path):
    stack, structures = morse_stack(tmp_path), [copper(seed) for seed in range(4)]
    found = stack.predict(structures)
    std = np.repeat([0.0, 0.3, 0.1, 0.4], found.n_atoms)
    made = made_dataset(structures, replace(found, forces_std=std), np.array([0, 1, 3]), "made", 0.3)
    assert made.weight == pytest.approx([1.0, 0.5**0.5, 0.6])
    both = joined([of(range(2)), made])
    assert both.weight == pytest.approx([1.0, 1.0, 1.0, 0.5**0.5, 0.6])
    save_dataset(both, tmp_path / "both.safetensors")
    read = load_dataset(tmp_path / "both.safetensors")
    assert np.array_equal(read.weight, both.weight)
    assert read.labels_fingerprint == both.labels_fingerprint
    assert read.subset([4, 0]).weight == pytest.approx([0.6, 1.0])
    assert replace(both, weight=None).labels_fingerprint != both.labels_fingerprint


def test_a_stack_without_a_run_needs_data(tmp_path):
    stack = morse_stack(tmp_path)
    with pytest.raises(ConfigError, match="name them with --data"):
        read_reference(stack, tmp_path, None, LabelKeys())
