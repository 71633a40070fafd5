"""Labels by calculators of ASE: what is computed, what fails, and what an interrupted labelling goes on with."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from elmlff_core.data.readers import read_dataset, read_structures
from elmlff_core.data.writers import write_deepmd
from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.execution.placement import HERE, Placement
from elmlff_core.labelling.calculators import make_calculator
from elmlff_core.labelling.journal import MOST_BEGINNINGS, Journal, Known
from elmlff_core.labelling.labelling import JOURNALS, label
from elmlff_core.labelling.output import failed_file, write_labelling
from elmlff_core.labelling.settings import LabelSettings

BY_EMT = LabelSettings(calculator="ase.calculators.emt:EMT")


def copper(seed: int) -> Atoms:
    """Make a rattled cell of copper, in which an atom is fixed."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def test_labels_are_those_of_the_calculator_without_constraints(tmp_path: Path) -> None:
    frames = [copper(seed) for seed in range(6)]
    frames[0].arrays["REF_forces"], frames[0].info["energy"] = np.ones((4, 3)), 7.0  # of another level of theory
    found = label(frames, BY_EMT, tmp_path / "work", HERE)
    assert len(found.labelled) == 6
    assert not found.failed
    for given, atoms in zip(frames, found.labelled, strict=True):
        free = Atoms(given)
        free.set_constraint()
        free.calc = EMT()
        assert np.array_equal(atoms.calc.results["forces"], free.get_forces())
        assert atoms.calc.results["energy"] == free.get_potential_energy()
        assert np.array_equal(atoms.calc.results["stress"], free.get_stress())
    write_labelling(found, tmp_path / "labelled.extxyz")
    data = read_dataset(tmp_path / "labelled.extxyz")
    assert data.energy is not None
    assert np.allclose(data.forces_of(0), found.labelled[0].calc.results["forces"], atol=1e-7)
    write_labelling(found, tmp_path / "npy")
    other = read_dataset(tmp_path / "npy")
    for name in ("forces", "energy", "stress"):
        assert np.allclose(getattr(other, name), getattr(data, name), atol=1e-7)


def test_tight_binding_labels_molecules_and_workers_find_the_same(tmp_path: Path) -> None:
    tblite = pytest.importorskip("tblite.ase", reason="comes with the extra 'universal'")
    frames = list(read_dataset("methane").structures[0:1200:200])
    settings = LabelSettings(calculator="tblite.ase:TBLite", options={"method": "GFN2-xTB", "verbosity": 0})
    found = label(frames, settings, tmp_path / "here", HERE, batch=4)
    for atoms in found.labelled:
        alone = Atoms(atoms.numbers, atoms.positions)
        alone.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
        assert np.array_equal(atoms.calc.results["forces"], alone.get_forces())
        assert "stress" not in atoms.calc.results
    others = label(frames, settings, tmp_path / "there", Placement(workers=2), batch=3)
    for one, other in zip(found.labelled, others.labelled, strict=True):
        assert np.array_equal(one.calc.results["forces"], other.calc.results["forces"])


def test_a_failure_is_kept_apart_with_its_reason(tmp_path: Path) -> None:
    frames = [copper(0), molecule("SiH4"), copper(1)]  # this potential knows no silicon
    found = label(frames, BY_EMT, tmp_path / "work", HERE, batch=3)
    assert len(found.labelled) == 2
    assert list(found.reasons) == [1]
    assert "NotImplementedError" in found.reasons[1]
    write_labelling(found, tmp_path / "out.extxyz")
    (failed,) = ase.io.read(failed_file(tmp_path / "out.extxyz"), ":")
    assert "NotImplementedError" in failed.info["error"]
    assert failed.info["index"] == 1
    assert sorted(failed.symbols) == sorted(molecule("SiH4").symbols)
    write_labelling(label([copper(3)], BY_EMT, tmp_path / "other", HERE), tmp_path / "out.extxyz")
    assert not failed_file(tmp_path / "out.extxyz").exists()
    alone = label([molecule("SiH4")], BY_EMT, tmp_path / "alone", HERE)
    with pytest.raises(ElmlffError, match="no structure could be labelled: NotImplementedError"):
        write_labelling(alone, tmp_path / "none.extxyz")


COUNTING = """
from pathlib import Path
from ase.calculators.emt import EMT

class Counting(EMT):
    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        with open("calls", "a") as file:
            file.write(f"{self.atoms.positions[0, 0]:.6f}\\n")
        if Path("fails").exists():
            raise RuntimeError("no convergence")
"""


def test_only_what_is_left_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("counting_calculator.py").write_text(COUNTING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    settings = LabelSettings(calculator="counting_calculator:Counting")
    frames = [copper(seed) for seed in range(4)]
    first = label(frames, settings, Path("work"), HERE, batch=2)
    calls = Path("calls").read_text().splitlines()
    assert len(calls) == 4
    journal = Path("work") / JOURNALS / "0000002-0000003.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:40])  # as after a kill in the middle of a line
    again = label(frames, settings, Path("work"), HERE)
    assert Path("calls").read_text().splitlines() == [*calls, calls[3]]
    for one, other in zip(first.labelled, again.labelled, strict=True):
        assert np.array_equal(one.calc.results["forces"], other.calc.results["forces"])
    label(frames, settings, Path("work"), HERE)
    assert len(Path("calls").read_text().splitlines()) == 5
    with pytest.raises(ConfigError, match="holds another run"):
        label(frames[:3], settings, Path("work"), HERE)


def test_failures_are_tried_again_only_if_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("counting_calculator.py").write_text(COUNTING)
    Path("fails").touch()
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "counting_calculator", raising=False)
    settings, frames = LabelSettings(calculator="counting_calculator:Counting"), [copper(0), copper(1)]
    assert label(frames, settings, Path("work"), HERE).reasons == dict.fromkeys(
        range(2), "RuntimeError: no convergence"
    )
    Path("fails").unlink()
    assert len(label(frames, settings, Path("work"), HERE).failed) == 2
    assert len(label(frames, settings, Path("work"), HERE, retry=True).labelled) == 2
    assert len(label(frames, settings, Path("work"), HERE).labelled) == 2


def test_a_structure_that_ends_its_process_each_time_counts_as_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.journal")
    for times in range(MOST_BEGINNINGS):
        assert Known.read(tmp_path).failures == {}, times
        journal.begun(5)
    assert "each time its process was ended" in Known.read(tmp_path).failures[5]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("emt", {}, "write module:callable"),
        ("no_such_module:EMT", {}, "No module named 'no_such_module'"),
        ("ase.calculators.emt:EMTT", {}, "has no 'EMTT'; did you mean 'EMT'"),
        ("ase.calculators.emt:__name__", {}, "no class and no function"),
        ("ase.calculators.emt:EMT", {"asap_cutoff": 1, "label": 1, "atoms": 3}, "cannot be made"),
        ("ase.build:bulk", {"name": "Cu"}, "returned Atoms, which is no calculator"),
    ],
)
def test_what_is_no_calculator_is_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_calculator(LabelSettings(calculator=name, options=options))


def test_deepmd_folders_without_labels_and_of_several_compositions(tmp_path: Path) -> None:
    frames = [copper(0), molecule("H2O"), copper(1)]
    write_deepmd(frames, tmp_path / "npy")
    assert sorted(path.name for path in (tmp_path / "npy").iterdir()) == ["Cu4", "H2O"]
    found = read_structures(tmp_path / "npy")
    assert [len(atoms) for atoms in found] == [4, 4, 3]
    assert np.allclose(found[1].positions, frames[2].positions)
    assert found[2].symbols.get_chemical_formula() == "H2O"
    assert not found[2].pbc.any()
    with pytest.raises(ElmlffError, match="cannot write"):
        write_deepmd(frames, tmp_path / "npy")
