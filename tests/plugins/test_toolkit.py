"""The toolkit of adapters: vacuum, neighbour lists and element energies; and the presets."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc100, molecule
from ase.neighborlist import neighbor_list

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.toolkit import (
    NeighbourFinder,
    by_atomic_number,
    element_energies,
    in_vacuum,
    summed_element_energies,
)

CELL = np.array([[4.0, 0, 0], [3.0, 4.0, 0], [1.0, 1.0, 7.0]])


def test_periodic_structures_are_not_changed() -> None:
    atoms = Atoms("H", cell=CELL, pbc=True)
    assert in_vacuum(atoms, 5.0) is atoms


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (True, False, False), (False, False, False)])
@pytest.mark.parametrize("cell", [CELL, np.zeros((3, 3))])
def test_no_pair_crosses_the_vacuum(pbc: tuple[bool, bool, bool], cell: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    if not cell.any():
        pbc = (False, False, False)
    atoms = Atoms("C6", positions=rng.uniform(-6, 6, (6, 3)), cell=cell, pbc=pbc)
    boxed = in_vacuum(atoms, 5.0)
    assert boxed.pbc.all()
    assert not atoms.pbc.all()
    np.testing.assert_array_equal(boxed.positions, atoms.positions)
    expected, found = (sorted(neighbor_list("d", one, 9.9)) for one in (atoms, boxed))
    assert len(found) >= len(expected)  # within two cutoffs there may be images, within one there are none
    np.testing.assert_allclose(*(sorted(neighbor_list("d", one, 5.0)) for one in (atoms, boxed)), atol=1e-9)


@pytest.mark.parametrize(
    ("pbc", "cell"),
    [
        ((True, True, True), CELL),
        ((True, True, False), np.diag([4.0, 5.0, 0.0])),
        ((True, False, False), np.diag([4.0, 0.0, 0.0])),
        ((False, False, False), CELL),
        ((False, False, False), np.zeros((3, 3))),
    ],
)
def test_pairs_agree_with_ase(pbc: tuple[bool, bool, bool], cell: np.ndarray) -> None:
    rng = np.random.default_rng(6)
    atoms = Atoms("C7", positions=rng.uniform(-5, 5, (7, 3)), cell=cell, pbc=pbc)
    centre, neighbour, offset = NeighbourFinder(5.0).pairs(atoms)
    vectors = atoms.positions[neighbour] - atoms.positions[centre] + offset
    first, second, expected = neighbor_list("ijD", atoms, 5.0)
    found_rows = sorted(map(tuple, np.round(np.column_stack([centre, neighbour, vectors]), 9)))
    expected_rows = sorted(map(tuple, np.round(np.column_stack([first, second, expected]), 9)))
    np.testing.assert_allclose(found_rows, expected_rows, atol=1e-8)


def test_element_energies_are_determined_by_varied_compositions() -> None:
    structures = [molecule(name) for name in ("CH4", "C2H4", "H2O", "CH3OH")]
    assigned = np.zeros(119)
    assigned[[1, 6, 8]] = [-13.6, -1030.0, -2041.0]
    energy = summed_element_energies(structures, assigned)
    dataset = Dataset(structures, np.zeros((sum(map(len, structures)), 3)), energy)
    np.testing.assert_allclose(element_energies(dataset), assigned, atol=1e-8)


def test_element_energies_of_one_composition_sum_to_the_mean_energy() -> None:
    structures = [molecule("CH4")] * 3
    dataset = Dataset(structures, np.zeros((15, 3)), np.array([-40.0, -41.0, -42.0]))
    np.testing.assert_allclose(summed_element_energies(structures, element_energies(dataset)), -41.0)


def test_symbols_follow_the_periodic_table() -> None:
    assert by_atomic_number({"Cu", "O", "H", "C"}) == ["H", "C", "O", "Cu"]


TRAINED = [name for name, (preset, _) in registry().presets.items() if preset.budgets]


@pytest.mark.parametrize("name", registry().presets)
def test_a_preset_is_trained_or_brings_its_weights(name: str) -> None:
    preset = registry().preset(name)
    record = registry().force_field(preset.adapter)
    record.options(**preset.options)
    assert (name in TRAINED) == (record.trainer is not None)
    assert (name in TRAINED) != bool(preset.level_of_theory)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("budget", ["quick", "long", "paper"])
def test_presets_have_valid_options_of_their_adapters(name: str, budget: str) -> None:
    preset = registry().preset(name)
    record = registry().force_field(preset.adapter)
    options = record.options(**{**preset.options, **preset.budgets[budget]})
    assert record.trainer is not None
    length = record.trainer.length(options, 1000)
    assert length.steps >= 1000
    assert set(preset.budgets) == {"quick", "long", "paper"}


def test_a_slab_keeps_its_periodic_cell_vectors() -> None:
    slab = fcc100("Cu", (2, 2, 3), vacuum=None)
    slab.pbc = (True, True, False)
    boxed = in_vacuum(slab, 6.0)
    np.testing.assert_allclose(boxed.cell.array[:2], slab.cell.array[:2])
    # Three layers of copper (a = 3.61 Å) have a thickness of a; the vacuum is two cutoffs.
    assert boxed.cell.array[2] == pytest.approx([0, 0, 3.61 + 12.0])
