"""LAMMPS with a stack: the numbers of ASE, and errors that stop it."""

from __future__ import annotations

import _thread
import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT

from elmlff_core import StackCalculator
from elmlff_core.base_models.named import named_model
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.lammps import Coupling, couple, start_lammps
from elmlff_core.settings.config import ModelConfig
from elmlff_core.stack.stack import Stack, make_meta
from tests.stack.copper import morse_stack

BAR = units.bar
COPPER = """
units metal
lattice fcc 3.65
region box block 0 2 0 2 0 1
create_box 1 box
create_atoms 1 box
mass 1 63.546
displace_atoms all random 0.03 0.03 0.03 7
velocity all create 600 1
"""
SLAB = "boundary p p f\n" + COPPER.replace("0 2 0 1\n", "0 2 -1 2\nregion slab block 0 2 0 2 0 0.9\n").replace(
    "atoms 1 box", "atoms 1 region slab"
)
TILTED = COPPER.replace("block 0 2 0 2 0 1", "prism 0 2 0 2 0 1 0.04 0.02 -0.03")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return morse_stack(tmp_path_factory.mktemp("stack"))


@pytest.fixture
def lmp() -> Iterator[Any]:
    found = start_lammps(["-log", "none", "-screen", "none", "-nocite"])
    yield found
    found.close()


def coupled(lmp: Any, stack: Stack, text: str = COPPER, **arguments: Any) -> Coupling:
    lmp.commands_string(text)
    return couple(lmp, stack, **arguments)


def structure(lmp: Any, symbols: str) -> Atoms:
    """Return the structure of LAMMPS in the order of atom ids; `symbols` has one letter pair for each type."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    x, y, z = np.subtract(high, low)
    order = np.argsort(per_atom(lmp, "id"))
    elements = [symbols.split()[kind - 1] for kind in per_atom(lmp, "type")[order]]
    cell = [[x, 0, 0], [xy, y, 0], [xz, yz, z]]
    return Atoms(elements, per_atom(lmp, "x")[order], cell=cell, pbc=[bool(flag) for flag in periodic])


def per_atom(lmp: Any, name: str) -> np.ndarray:
    return np.array(lmp.numpy.extract_atom(name)[: lmp.get_natoms()])


def compare(lmp: Any, stack: Stack, symbols: str = "Cu", energy: float = 1.0) -> None:
    """Check energy, forces, uncertainties and pressure of LAMMPS by ASE's calculator; `energy` is LAMMPS' unit, eV."""
    atoms, order = structure(lmp, symbols), np.argsort(per_atom(lmp, "id"))
    atoms.calc = StackCalculator(stack)
    assert lmp.get_thermo("pe") * energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.allclose(per_atom(lmp, "f")[order] * energy, atoms.get_forces(), atol=1e-6)
    deviations = atoms.calc.results["forces_std"]
    assert np.allclose(per_atom(lmp, "d_forces_uncertainty")[order] * energy, deviations, atol=1e-6)
    assert lmp.extract_fix("elmlff", 0, 1, 0) * energy == pytest.approx(deviations.max(), abs=1e-6)


def compare_pressure(lmp: Any, stack: Stack) -> None:
    """Check all components, with the kinetic part from the velocities, by ASE's stress, to 1e-6 of its larger part."""
    atoms, order = structure(lmp, "Cu"), np.argsort(per_atom(lmp, "id"))
    atoms.calc = StackCalculator(stack)
    speeds = per_atom(lmp, "v")[order] * units.Ang / (1000 * units.fs)
    kinetic = np.einsum("ia,ib->ab", speeds, speeds) * 63.546 / atoms.get_volume()
    stress = atoms.get_stress(voigt=False)
    expected = (kinetic - stress) / BAR
    tolerance = 1e-6 * max(abs(kinetic).max(), abs(stress).max()) / BAR
    found = [[lmp.get_thermo("p" + "".join(sorted(a + b))) for b in "xyz"] for a in "xyz"]
    assert np.allclose(found, expected, rtol=0, atol=tolerance)
    assert lmp.get_thermo("press") == pytest.approx(np.trace(expected) / 3, abs=tolerance)


@pytest.mark.parametrize("text", [COPPER, TILTED], ids=["orthogonal", "tilted"])
def test_nve_has_the_numbers_of_ase_and_conserves_the_energy(lmp, stack, text):
    coupling = coupled(lmp, stack, text)
    lmp.commands_string("fix move all nve\nthermo 1\nrun 0")
    compare(lmp, stack)
    compare_pressure(lmp, stack)
    before = lmp.get_thermo("etotal")
    lmp.command("run 20")
    compare(lmp, stack)
    compare_pressure(lmp, stack)
    assert lmp.get_thermo("etotal") == pytest.approx(before, abs=5e-3)
    assert coupling.types == "type 1 is Cu (by mass)"
    assert coupling.calls == 22


def test_npt_changes_all_sides_and_angles_and_has_the_numbers_of_ase(lmp, stack):
    coupled(lmp, stack, TILTED)
    box = lmp.extract_box()
    lmp.commands_string("fix move all npt temp 600 600 0.1 tri 50000 50000 0.1\nthermo 1\nrun 20")
    compare(lmp, stack)
    compare_pressure(lmp, stack)
    for before, after in zip(np.hstack(box[1:5]), np.hstack(lmp.extract_box()[1:5]), strict=True):
        assert abs(after - before) > 1e-4


def test_minimize_follows_the_energy_and_relaxes_the_box(lmp, stack):
    coupled(lmp, stack, COPPER.replace("3.65", "3.6"))
    lmp.commands_string("fix box all box/relax iso 0 vmax 0.01 nreset 10\nminimize 0 1e-3 60 120")
    atoms = structure(lmp, "Cu")
    atoms.calc = StackCalculator(stack)
    assert np.abs(atoms.get_forces()).max() < 0.02
    assert abs(atoms.get_stress()[:3].mean()) / units.GPa < 0.05


def test_real_units(lmp, stack):
    coupled(lmp, stack, COPPER.replace("metal", "real"))
    lmp.commands_string("fix move all nve\nthermo 1\nrun 5")
    compare(lmp, stack, energy=units.kcal / units.mol)
    atoms = structure(lmp, "Cu")
    atoms.calc = StackCalculator(stack)
    lmp.commands_string("velocity all zero linear\nvelocity all set 0 0 0\nrun 0")
    atmosphere = 1.01325 * BAR
    assert lmp.get_thermo("press") * atmosphere == pytest.approx(-np.mean(atoms.get_stress()[:3]), rel=1e-6)


@pytest.fixture(scope="module")
def alloy_stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The mean of effective medium theory and a Morse potential, for copper with nickel: elements matter."""
    morse = {"calculator": "ase.calculators.morse:MorsePotential", "arguments": {"epsilon": 0.4, "r0": 2.6}}
    models = [
        named_model("emt", ModelConfig(adapter="ase", options={"calculator": "ase.calculators.emt:EMT"})),
        named_model("morse", ModelConfig(adapter="ase", options=morse)),
    ]
    labelled = [bulk("Cu", cubic=True) for _ in range(6)]
    for index, atoms in enumerate(labelled):
        atoms.symbols[: index % 4] = "Ni"
        atoms.rattle(0.1, seed=index)
        atoms.calc = EMT()
        atoms.get_forces()
    fitted, folder = Stack(models, "mean", {}, make_meta("mean", {})), tmp_path_factory.mktemp("alloy")
    data = dataset_from_structures(labelled, "alloy")
    features = fitted.features(data.structures, data)
    fitted.meta.fit(FitRequest(features, features, None, folder, 0, lambda _: None))
    return fitted


ALLOY = """
units metal
lattice fcc 3.6
region box block 0 2 0 1 0 1
create_box 2 box
"""
ATOMS = """
create_atoms 1 box
set atom 1*3 type 2
set atom 6 type 2
displace_atoms all random 0.03 0.03 0.03 7
velocity all create 300 1
"""
MASSES, LABELS = "mass 1 58.69\nmass 2 63.55", "labelmap atom 1 Ni 2 Cu\nmass * 1.0"


@pytest.mark.parametrize(
    ("text", "elements", "how"),
    [(MASSES, None, "by mass"), (LABELS, None, "by type label"), ("mass * 1.0", ["Ni", "Cu"], "as given")],
    ids=["mass", "label", "given"],
)
def test_types_are_elements_in_any_order_of_the_atoms(lmp, alloy_stack, text, elements, how):
    coupling = coupled(lmp, alloy_stack, ALLOY + text + ATOMS, elements=elements)
    lmp.commands_string("atom_modify sort 1 2.0\ncomm_modify cutoff 2.0\nfix move all nve\nrun 3")
    assert list(per_atom(lmp, "id")) != sorted(per_atom(lmp, "id"))  # sorted in space
    atoms, order = structure(lmp, "Ni Cu"), np.argsort(per_atom(lmp, "id"))
    atoms.calc = StackCalculator(alloy_stack)
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.allclose(per_atom(lmp, "f")[order], atoms.get_forces(), atol=1e-6)
    assert coupling.types == f"types 1 is Ni, 2 is Cu ({how})"


def test_a_cluster_has_the_virial_of_its_forces(lmp, stack):
    text = "boundary s s s\n" + COPPER.replace("velocity all create 600 1", "")
    coupled(lmp, stack, text)
    lmp.command("run 0")
    atoms = structure(lmp, "Cu")
    atoms.calc = StackCalculator(stack)
    virial = atoms.positions.T @ atoms.get_forces()
    assert lmp.get_thermo("pxz") * BAR == pytest.approx(virial[0, 2] / atoms.get_volume(), rel=1e-6)
    assert lmp.get_thermo("press") * BAR == pytest.approx(np.trace(virial) / 3 / atoms.get_volume(), rel=1e-6)


def test_a_pressure_without_stress_is_nan_and_cannot_be_controlled(lmp, stack):
    coupled(lmp, stack, SLAB)
    with pytest.warns(UserWarning, match=r"LAMMPS shows nan as pressure, .* periodic in all directions"):
        lmp.commands_string("fix move all nve\nrun 2")
    assert np.isnan(lmp.get_thermo("press"))
    assert np.isfinite(lmp.get_thermo("etotal"))
    lmp.commands_string("unfix move\nfix move all npt temp 300 300 0.1 x 0 0 1.0")
    with pytest.raises(Exception, match=r"not finite|on-numeric"):
        lmp.command("run 5")


class Watched(Stack):
    """A stack that does something when it is asked for forces, as many times as `after`."""

    def watch(self, after: int, what: Any) -> Any:
        self.left, self.what = after, what
        return self

    def features(self, *arguments: Any, **others: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.what()
        return super().features(*arguments, **others)


def watched(stack: Stack, after: int, what: Any) -> Stack:
    return Watched(**vars(stack)).watch(after, what)


def refuse() -> None:
    raise ElmlffError("the checkpoint has gone")


@pytest.mark.parametrize(
    ("after", "command"), [(1, "run 0"), (4, "run 20"), (1, "minimize 0 0 9 9"), (3, "minimize 0 0 9 9")]
)
def test_an_error_of_the_stack_stops_lammps_at_once(lmp, stack, after, command):
    coupling = coupled(lmp, watched(stack, after, refuse))
    lmp.commands_string("fix move all nve")
    with pytest.raises(ElmlffError, match="the checkpoint has gone"):
        lmp.command(command)
    assert coupling.calls == after
    assert np.abs(per_atom(lmp, "x")).max() < 20
    lmp.command("run 3")  # it goes on when the reason has gone
    assert coupling.calls == after + 4


def test_an_input_file_that_lammps_reads_ends_at_an_error_of_the_stack(lmp, stack, tmp_path):
    coupled(lmp, watched(stack, 2, refuse))
    (tmp_path / "in.lammps").write_text(f"fix move all nve\nrun 5\nwrite_data {tmp_path / 'end.data'}\n")
    with pytest.raises(ElmlffError, match="the checkpoint has gone"):
        lmp.file(str(tmp_path / "in.lammps"))
    assert not (tmp_path / "end.data").exists()


def test_ctrl_c_stops_lammps(lmp, stack):
    coupling = coupled(lmp, watched(stack, 3, lambda: threading.Thread(target=_thread.interrupt_main).start()))
    lmp.command("fix move all nve")
    with pytest.raises(KeyboardInterrupt):
        lmp.command("run 1000")
    assert coupling.calls < 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_predictions_stops_lammps(lmp, stack, number, monkeypatch):
    """Python would print and lose an exception that the handler raises in the code of ctypes around the callback."""

    def callback(self, *arguments):
        if self.calls == 3 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        predict(self, *arguments)

    predict, sent = Coupling._callback, []
    monkeypatch.setattr(Coupling, "_callback", callback)
    with ending_by(number):
        coupling = coupled(lmp, stack)
        lmp.command("fix move all nve")
        with pytest.raises(Ended):
            lmp.command("run 1000")
        assert coupling.calls == 3
        lmp.command("run 2")


def test_a_signal_after_the_last_prediction_is_not_lost(lmp, stack):
    coupled(lmp, stack)
    with ending_by(signal.SIGTERM), pytest.raises(Ended):
        lmp.command(f'shell "kill -TERM {os.getpid()}"')


class Ended(KeyboardInterrupt):
    """A signal of `ending_by` came."""


@contextlib.contextmanager
def ending_by(number: int) -> Iterator[None]:
    """Let a signal raise `Ended`."""

    def end(*_: Any) -> None:
        raise Ended

    before = signal.signal(number, end)
    try:
        yield
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)


def test_fix_halt_stops_at_an_uncertainty(lmp, stack):
    coupled(lmp, stack)
    lmp.commands_string("fix move all nve\nvariable worst equal f_elmlff[1]\nrun 0")
    bound = lmp.extract_variable("worst")
    lmp.command(f"fix guard all halt 1 v_worst > {bound / 2} error hard")
    with pytest.raises(Exception, match="Fix halt condition for fix-id guard met"):
        lmp.command("run 10")
    assert lmp.extract_global("ntimestep") == 1


def test_a_stack_without_uncertainty_has_none_in_lammps(lmp, alloy_stack):
    coupled(lmp, alloy_stack, ALLOY + MASSES + ATOMS)
    with pytest.raises(Exception, match="fix elmlff does not compute a vector"):
        lmp.command("thermo_style custom step f_elmlff[1]")


WRONG = {
    "no box": ("units metal", {}, "has no box yet"),
    "other units": (COPPER.replace("metal", "electron"), {}, "LAMMPS has `units electron`"),
    "no mass of an element": (COPPER.replace("63.546", "100.0"), {}, "mass 100 is no element: name the element"),
    "a mass of two elements": (COPPER.replace("63.546", "208.98"), {}, "may be Bi or Po"),
    "too many elements": (COPPER, {"elements": ["Cu", "Ni"]}, "2 elements are given (Cu, Ni), and the box has 1"),
    "no element": (COPPER, {"elements": ["Cuu"]}, "'Cuu' is no element"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused(lmp, stack, case):
    text, arguments, message = WRONG[case]
    with pytest.raises(ConfigError, match=re.escape(message)):  # noqa: PT012 - either may refuse it
        coupled(lmp, stack, text, **arguments)
        lmp.command("run 0")


def test_a_second_stack_is_refused(lmp, stack):
    coupled(lmp, stack)
    with pytest.raises(ConfigError, match="fix 'elmlff' already"):
        couple(lmp, stack)
