"""Adapter `ase`: calculators by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from pydantic import ValidationError

from elmlff_core.errors import ForceFieldError

Load = Callable[..., Any]


def test_lennard_jones_dimer(load: Load) -> None:
    model = load("ase", None, calculator="ase.calculators.lj:LennardJones", arguments={"sigma": 2.0, "rc": 50.0})
    prediction = model.predict([Atoms("Ar2", positions=[[0, 0, 0], [2.0, 0, 0]])])
    # At r = sigma the force is repulsive, 24 epsilon / sigma, and the energy is only the shift at the cutoff.
    np.testing.assert_allclose(prediction.forces, [[-12.0, 0, 0], [12.0, 0, 0]], rtol=1e-6)
    assert prediction.energy[0] == pytest.approx(0.0, abs=1e-7)
    assert model.elements is None
    assert model.cutoff is None


def test_constraints_do_not_hide_forces(load: Load) -> None:
    slab = fcc100("Cu", (2, 2, 2), vacuum=8.0)
    slab.rattle(0.1, seed=2)
    free = slab.copy()
    slab.set_constraint(FixAtoms(range(4)))
    free.calc = EMT()
    found = load("ase", None, calculator="ase.calculators.emt:EMT").predict([slab])
    np.testing.assert_allclose(found.forces, free.get_forces(), atol=1e-12)
    assert np.abs(found.forces[:4]).max() > 0.05


def test_stress_only_of_periodic_structures(load: Load) -> None:
    model = load("ase", None, calculator="ase.calculators.emt:EMT")
    copper = bulk("Cu", a=3.7, cubic=True)
    reference = copper.copy()
    reference.calc = EMT()
    found = model.predict([copper, copper])
    np.testing.assert_allclose(found.stress[1], reference.get_stress(), atol=1e-12)
    assert model.predict([copper, molecule("H2O")]).stress is None


def test_a_checkpoint_goes_to_the_named_argument(load: Load, tmp_path: Path) -> None:
    (tmp_path / "model.dat").write_text("one")
    calculator = {"calculator": "tests.adapters.calculators:FileCalculator"}
    model = load("ase", tmp_path / "model.dat", checkpoint_argument="path", **calculator)
    assert model.predict([Atoms("H")]).energy[0] == 3.0
    before = model.fingerprint
    (tmp_path / "model.dat").write_text("two!")
    assert load("ase", tmp_path / "model.dat", checkpoint_argument="path", **calculator).fingerprint != before
    with pytest.raises(ForceFieldError, match="checkpoint_argument"):
        load("ase", tmp_path / "model.dat", **calculator)


def test_fingerprints_follow_arguments(load: Load) -> None:
    lennard_jones = {"calculator": "ase.calculators.lj:LennardJones"}
    first, same, other = (load("ase", None, arguments={"sigma": s}, **lennard_jones) for s in (2.0, 2.0, 2.1))
    assert first.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("calculator", "message"),
    [
        ("no_such_package.calculators:Any", "there is no module 'no_such_package'"),
        ("ase.calculators.ljj:LennardJones", r"there is no module 'ase\.calculators\.ljj'"),
        ("ase.calculators.lj:LenardJones", "did you mean 'LennardJones'"),
        ("ase.calculators.lj:np.pi", "cannot be called"),
        ("tests.adapters.calculators:refuses", "cannot make .*: ValueError: not today"),
    ],
)
def test_errors_in_a_name_are_reported(load: Load, calculator: str, message: str) -> None:
    with pytest.raises(ForceFieldError, match=message):
        load("ase", None, "mine", calculator=calculator)


@pytest.mark.parametrize("options", [{"calculator": "ase.calculators.lj"}, {"calculator": "a:b", "elements": ["Xq"]}])
def test_malformed_options_are_refused(load: Load, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load("ase", None, **options)


def test_unknown_elements_and_failures_are_named(load: Load) -> None:
    model = load("ase", None, "emt", calculator="ase.calculators.emt:EMT", elements=["Cu"])
    with pytest.raises(ForceFieldError, match="structure 1 holds O, which model 'emt' does not know; it knows Cu"):
        model.predict([bulk("Cu"), Atoms("O")])
    anything = load("ase", None, "emt", calculator="ase.calculators.emt:EMT")
    with pytest.raises(ForceFieldError, match=r"'emt' \(adapter 'ase'\) cannot evaluate structure 1: NotImplemented"):
        anything.predict([bulk("Cu"), Atoms("U")])
