"""Made structures: how many, how far displaced, and what a strain changes."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from elmlff_core.distillation.made import Source, displaced, sources_of, strain
from elmlff_core.distillation.settings import DistillationSettings, distillation_settings
from elmlff_core.errors import ConfigError


def test_the_numbers_add_up_and_molecules_are_not_strained():
    settings = DistillationSettings(made=101)
    of_crystals = sources_of(settings, [bulk("Cu")])
    assert sum(source.n_wanted for source in of_crystals) == 101
    assert sum(source.n_wanted for source in of_crystals if source.kind == "dynamics") == 50
    assert [source.name for source in of_crystals if source.kind == "strain"] == ["strains of 1 %", "strains of 3 %"]
    of_molecules = sources_of(settings, [molecule("CH4")])
    assert sum(source.n_wanted for source in of_molecules) == 101
    assert {source.kind for source in of_molecules} == {"rattle", "dynamics"}


def test_without_temperatures_all_are_displaced_and_without_sizes_all_are_simulated():
    cold = sources_of(DistillationSettings(made=30, temperatures=()), [molecule("CH4")])
    assert {source.kind for source in cold} == {"rattle"}
    assert sum(source.n_wanted for source in cold) == 30
    hot = sources_of(DistillationSettings(made=30, rattles=()), [molecule("CH4")])
    assert [(source.kind, source.n_wanted) for source in hot] == [("dynamics", 15), ("dynamics", 15)]


@pytest.mark.parametrize(("n_train", "expected"), [(5, 200), (45, 450), (3000, 2000)])
def test_there_are_ten_for_each_label_within_bounds(n_train, expected):
    assert DistillationSettings().n_made(n_train) == expected
    assert DistillationSettings(made=7).n_made(n_train) == 7


def test_rattles_have_their_size_and_the_same_seed_the_same_structures():
    start = bulk("Cu", cubic=True).repeat(3)
    source = Source("rattle", 0.05, 20, "")
    made = displaced(source, [start], 0.01, seed=3)
    moved = np.concatenate([atoms.positions - start.positions for atoms in made])
    # 6,480 displacements: the standard error of their deviation is 0.9 %.
    assert moved.std() == pytest.approx(0.05, rel=0.05)
    again = displaced(source, [start], 0.01, seed=3)
    assert np.array_equal(made.positions, again.positions)
    assert not np.array_equal(made.positions, displaced(source, [start], 0.01, seed=4).positions)


def test_a_strain_moves_atoms_with_the_cell():
    atoms = bulk("Cu", cubic=True).repeat(2)
    before, fractions = atoms.cell.array.copy(), atoms.get_scaled_positions()
    strain(atoms, 0.05, np.random.default_rng(0))
    change = np.linalg.solve(before, atoms.cell.array)
    assert np.allclose(change, change.T)  # no rotation
    assert 0.005 < np.abs(change - np.eye(3)).max() < 0.2
    assert np.allclose(atoms.get_scaled_positions(), fractions)


def test_a_slab_keeps_what_is_not_periodic():
    slab = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    slab.pbc = (True, True, False)
    normal, n_atoms = slab.cell[2].copy(), len(slab)
    strain(slab, 0.03, np.random.default_rng(1))
    assert np.array_equal(slab.cell[2], normal)
    assert len(slab) == n_atoms
    assert not np.allclose(slab.cell[0], fcc111("Cu", (2, 2, 3), vacuum=6.0).cell[0])


def test_only_periodic_structures_are_strained():
    made = displaced(Source("strain", 0.02, 6, ""), [molecule("CH4"), bulk("Cu", cubic=True)], 0.01, seed=0)
    assert all(isinstance(atoms, Atoms) and atoms.pbc.all() for atoms in made)


@pytest.mark.parametrize(
    ("values", "message"), [({"timestep": -1.0}, "--timestep"), ({"rattles": (0.0,)}, "--rattles")]
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        distillation_settings(values)
