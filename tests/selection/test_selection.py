"""From trajectories to structures: window, broken structures, descriptors, what is labelled, and the files."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.base_models.named import named_model
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.structures import Structures
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.data.readers import read_structures
from elmlff_core.data.writers import write_deepmd
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.selection.candidates import Candidates, closest_contact
from elmlff_core.selection.descriptors import describe_by
from elmlff_core.selection.labelled import Labelled
from elmlff_core.selection.output import write_selection
from elmlff_core.selection.selection import Selection, select
from elmlff_core.selection.settings import SelectionSettings
from elmlff_core.selection.window import Window
from elmlff_core.settings.config import ModelConfig
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from tests.stack.copper import copper, morse_stack

WIDE = SelectionSettings(number=6, low=0.0, high=1e9, descriptors="surroundings")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack of copper with a domain."""
    folder = tmp_path_factory.mktemp("stack")
    found = morse_stack(folder)
    data = dataset_from_structures([copper(seed) for seed in range(30)], "copper")
    features = found.features(data.structures, data)
    domain = Domain.fit(features.subset(range(20)), features.subset(range(20, 30)))
    found.uncertainty = Uncertainty.fit(features, found.meta.predict(features), found.meta, domain)
    found.save(folder / "stack")
    return found


def rattled(seed: int, size: float) -> Atoms:
    """Make copper without labels."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(size, seed=seed)
    return atoms


def candidates(folder: Path, frames: list[Atoms]) -> Candidates:
    """Write a trajectory, and read it."""
    ase.io.write(folder / "frames.extxyz", frames)
    return Candidates.read([str(folder / "frames.extxyz")])


def labelled(frames: list[Atoms]) -> Labelled:
    """Return structures as labelled ones."""
    return Labelled(Structures.of(frames), "a few")


def test_the_window_has_what_is_neither_known_nor_broken(stack: Stack, tmp_path: Path) -> None:
    frames = [rattled(seed, 0.02 + 0.004 * seed) for seed in range(40)]
    crushed, exploded = rattled(0, 0.1), rattled(1, 0.1)
    crushed.positions[1] = crushed.positions[0] + 0.4
    exploded.positions[2, 0] = np.nan
    settings = WIDE.model_copy(update={"low": None, "high": None, "number": 4})
    found = select(stack, candidates(tmp_path, [*frames, crushed, exploded]), labelled([]), settings)
    assert found.verdicts[40] == "too close"
    assert found.verdicts[41] == "broken"
    assert np.isnan(found.errors.deviations[40:]).all()
    sound = np.flatnonzero(found.verdicts[:40] != "too close")
    predicted = stack.predict([found.candidates.structures[index] for index in sound])
    assert predicted.forces_std is not None
    expected = predicted.forces_std.reshape(-1, 4).max(axis=1)
    assert np.allclose(found.errors.largest[sound], expected, rtol=1e-9)
    below, above = expected <= found.window.low, found.window.factor * expected > found.window.high
    assert below.any()
    assert above.any()
    assert np.array_equal(found.verdicts[sound] == "below", below)
    assert np.array_equal(found.verdicts[sound] == "above", above)
    assert len(found.chosen) == 4
    assert set(found.verdicts[found.chosen]) == {"selected"}
    assert stack.uncertainty is not None
    assert found.window.low == pytest.approx(max(stack.uncertainty.force.element_scales.values()))


@pytest.mark.parametrize("descriptors", ["surroundings", "soap"])
def test_near_duplicates_of_what_is_labelled_are_left_out(stack: Stack, tmp_path: Path, descriptors: str) -> None:
    if descriptors == "soap":
        pytest.importorskip("dscribe", reason="comes with the extra 'select'")
    known = [rattled(seed, 0.1) for seed in range(10)]
    moved = [atoms.copy() for atoms in known[:5]]
    for atoms in moved:
        atoms.rotate(30, "z", rotate_cell=True)
        atoms.positions += 0.7
        atoms.rattle(1e-4, seed=9)
    new = [rattled(100 + seed, 0.1) for seed in range(8)]
    settings = WIDE.model_copy(update={"descriptors": descriptors, "number": 5})
    found = select(stack, candidates(tmp_path, [*moved, *new, *new[:2]]), labelled(known), settings)
    assert found.verdicts[:5].tolist() == ["near-duplicate"] * 5
    assert found.like[:5].tolist() == [0, 1, 2, 3, 4]
    assert len(found.chosen) == 5
    assert min(found.chosen) >= 5
    as_many_as_there_are = settings.model_copy(update={"number": 10, "smallest_distance": 0.0})
    everything = select(stack, candidates(tmp_path, [*new, *new[:2]]), labelled(known), as_many_as_there_are)
    assert sorted(everything.chosen) == list(range(8))  # each once
    again = select(stack, candidates(tmp_path, [*moved, *new, *new[:2]]), labelled(known), settings)
    assert again.chosen == found.chosen
    assert np.array_equal(again.distances, found.distances, equal_nan=True)


def test_the_files_have_the_structures_without_labels(stack: Stack, tmp_path: Path) -> None:
    frames = [copper(200 + seed) for seed in range(12)]  # with forces that must not become labels
    found = select(stack, candidates(tmp_path, frames), labelled([]), WIDE)
    write_selection(found, tmp_path, Reporter())
    written = list(ase.io.read(tmp_path / "selected.extxyz", ":"))
    assert [atoms.info["frame"] for atoms in written] == found.chosen
    assert all(atoms.calc is None and set(atoms.arrays) == {"numbers", "positions"} for atoms in written)
    for other in (read_structures(tmp_path / "selected.extxyz"), read_structures(tmp_path / "selected")):
        for atoms, index in zip(other, found.chosen, strict=True):
            assert np.allclose(atoms.positions, frames[index].positions, atol=1e-7)
            assert np.allclose(atoms.cell, frames[index].cell)
            assert atoms.pbc.all()
    deviations = np.loadtxt(tmp_path / "model_devi.out")
    assert deviations.shape == (12, 8)
    assert np.allclose(deviations[:, 1:], found.errors.deviations, rtol=1e-5)
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    ordered = sorted((int(row["order"]), int(row["frame"])) for row in rows if row["order"])
    assert [frame for _, frame in ordered] == found.chosen
    assert [float(row["expected_error_eV_A"]) for row in rows] == pytest.approx(found.errors.largest.tolist(), rel=1e-4)


def test_without_anything_in_the_window_the_files_are_there_and_empty(stack: Stack, tmp_path: Path) -> None:
    found = select(stack, candidates(tmp_path, [copper(1)]), labelled([]), WIDE.model_copy(update={"low": 1e6}))
    assert isinstance(found, Selection)
    assert found.chosen == []
    write_selection(found, tmp_path, Reporter())
    assert (tmp_path / "selected.extxyz").read_text() == ""
    assert not (tmp_path / "selected").exists()


def test_a_stack_without_uncertainties_is_refused(stack: Stack, tmp_path: Path) -> None:
    without = replace(stack, uncertainty=None)
    with pytest.raises(ConfigError, match="the stack has no calibrated uncertainties"):
        select(without, candidates(tmp_path, [copper(1)]), labelled([]), WIDE)


def test_descriptors_are_named_or_refused(stack: Stack) -> None:
    with pytest.raises(ConfigError, match="no descriptors are called 'soup'; did you mean 'soap'"):
        describe_by("soup", stack, np.array([29]))
    with pytest.raises(ConfigError, match="'soft' has no descriptors that elmlff can read; there are: soap, surround"):
        describe_by("soft", stack, np.array([29]))


def test_a_base_model_describes_atoms(shared: Path) -> None:
    pytest.importorskip("calorine", reason="adapter nep needs calorine")
    settings = ModelConfig(adapter="nep", checkpoint=shared / "models" / "methanol-cu100" / "nep.txt")
    nep, structures = named_model("nep", settings), [molecule(name, vacuum=8.0) for name in ("CH3OH", "H2O")]
    found = describe_by("nep", Stack([nep], "linear", {}, make_meta("linear", {})), np.array([1, 6, 8]))(structures)
    expected = nep.with_descriptors(True).force_field.predict(structures).descriptors
    assert len(found) == sum(map(len, structures))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["surroundings", "soap"])
def test_descriptors_do_not_change_with_rotations(stack: Stack, name: str) -> None:
    if name == "soap":
        pytest.importorskip("dscribe", reason="comes with the extra 'select'")
    describe, atoms = describe_by(name, stack, np.array([29])), rattled(3, 0.1)
    before = describe([atoms])
    atoms.rotate(41, (1, 2, 3), rotate_cell=True)
    assert before.shape[0] == 4
    assert np.allclose(describe([atoms]), before, rtol=1e-4, atol=1e-4 * np.abs(before).max())


def test_contacts_are_measured_through_the_boundary() -> None:
    atoms = Atoms("H2", [(0.1, 5, 5), (9.8, 5, 5)], cell=[10, 10, 10], pbc=True)
    assert closest_contact(atoms, 0.6) == pytest.approx(0.3 / 0.62)
    atoms.pbc = False
    assert closest_contact(atoms, 0.6) == np.inf
    assert closest_contact(atoms, 0.0) == np.inf


def test_where_disagreement_tells_nothing_the_farthest_points_choose(tmp_path: Path) -> None:
    """Expected errors in the domain are then all the same: the typical one would leave out each structure."""
    stack = morse_stack(tmp_path)
    assert stack.uncertainty is not None
    flat = replace(stack.uncertainty, force=replace(stack.uncertainty.force, exponent=0.0))
    assert Window.of(flat, None, None).low == 0.0
    assert Window.of(flat, 0.1, None).low == 0.1
    known = Labelled(Structures.of([copper(seed) for seed in range(4)]), "four")
    trajectory = tmp_path / "new.extxyz"
    ase.io.write(trajectory, [copper(seed) for seed in range(20, 30)])
    settings = SelectionSettings(number=3, descriptors="surroundings", smallest_distance=0.0)
    found = select(replace(stack, uncertainty=flat), Candidates.read([str(trajectory)]), known, settings)
    assert found.n_in_window == 10
    assert len(found.chosen) == 3


def test_the_upper_bound_is_compared_with_the_end_of_the_interval(stack: Stack) -> None:
    assert stack.uncertainty is not None
    window = Window.of(stack.uncertainty, None, None)
    assert window.factor == stack.uncertainty.force.factor(0.9)
    assert stack.uncertainty.domain is not None
    assert window.high == pytest.approx(10 * stack.uncertainty.domain.usual)
    few = replace(stack.uncertainty, force=replace(stack.uncertainty.force, n_structures=3))
    assert few.force.factor(0.9) == np.inf
    assert Window.of(few, None, None).factor == 2.5
    with pytest.raises(ConfigError, match="the window is empty"):
        Window.of(stack.uncertainty, 1e5, None)


def test_trajectories_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", copper(1))
    with pytest.raises(DataError, match="no file, folder"):
        Candidates.read([str(tmp_path / "nothing.traj")])
    with pytest.raises(ConfigError, match="named twice"):
        Candidates.read([str(tmp_path / "a.extxyz")] * 2)


def test_several_formats_in_one_selection(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", [copper(1), copper(2)])
    ase.io.write(tmp_path / "b.traj", [copper(3), copper(4)])
    write_deepmd([rattled(5, 0.1)], tmp_path / "c")
    found = Candidates.read([str(tmp_path / name) for name in ("a.extxyz", "b.traj", "c")])
    assert found.files.tolist() == [0, 0, 1, 1, 2]
    assert found.frames.tolist() == [0, 1, 0, 1, 0]
    assert np.allclose(found.structures[3].positions, copper(4).positions)
    assert np.allclose(found.structures[4].positions, rattled(5, 0.1).positions)
