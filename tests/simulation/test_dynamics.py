"""Molecular dynamics with a stack: the numbers of ASE, and the same numbers after an interruption."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from elmlff_core import StackCalculator
from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.errors import ElmlffError
from elmlff_core.simulation.guard import Guard
from elmlff_core.simulation.molecular_dynamics import DynamicsResult, run_dynamics
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.stack import Stack, make_meta
from tests.stack.copper import morse_stack

ENSEMBLES = ("nve", "nvt-langevin", "nvt-bussi", "npt")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return morse_stack(tmp_path_factory.mktemp("stack"))


class InterruptedAt(Reporter):
    """Presses Ctrl-C after a step, and keeps what was said."""

    def __init__(self, step: int | None = None) -> None:
        self.step, self.said = step, []

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        def update(progress: Progress) -> None:
            if progress.done == self.step:
                raise KeyboardInterrupt

        yield update


def start() -> Atoms:
    return bulk("Cu", cubic=True, a=3.7)


def run(stack: Stack, folder: Path, **values) -> DynamicsResult:
    others = {name: values.pop(name) for name in ("guard", "reporter", "trajectory_name") if name in values}
    settings = DynamicsSettings(**{"steps": 30, "write_every": 6, "observe_every": 4, "timestep": 2.0} | values)
    return run_dynamics(stack, start(), settings, folder, "key", **others)


def velocities(rng: np.random.Generator) -> Atoms:
    atoms = start()
    thermalize_momenta(atoms, temperature_K=300, rng=rng)
    Stationary(atoms)
    return atoms


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_an_interrupted_simulation_ends_as_a_whole_one(stack, tmp_path, ensemble):
    values = {"ensemble": ensemble, "committee": True}
    whole = run(stack, tmp_path / "whole", **values)
    with pytest.raises(KeyboardInterrupt):
        run(stack, tmp_path / "cut", **values, reporter=InterruptedAt(16))
    log = tmp_path / "cut" / "log.csv"
    log.write_text(log.read_text() + "18,half a r")
    reporter = InterruptedAt()
    cut = run(stack, tmp_path / "cut", **values, reporter=reporter)
    assert reporter.said == ["going on after step 12"]
    assert np.array_equal(cut.atoms.positions, whole.atoms.positions)
    assert np.array_equal(cut.atoms.get_momenta(), whole.atoms.get_momenta())
    assert np.array_equal(cut.atoms.cell, whole.atoms.cell)
    for name in ("trajectory.extxyz", "log.csv", "model_devi.out"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_simulation_can_be_made_longer(stack, tmp_path):
    whole = run(stack, tmp_path / "whole", steps=24)
    run(stack, tmp_path / "parts", steps=12)
    parts = run(stack, tmp_path / "parts", steps=24)
    assert np.array_equal(parts.atoms.positions, whole.atoms.positions)


def test_nve_is_that_of_ase_and_conserves_the_energy(stack, tmp_path):
    found = run(stack, tmp_path / "run", ensemble="nve", steps=200)
    atoms = velocities(np.random.default_rng(0))
    atoms.calc = StackCalculator(stack)
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 2 * units.fs).run(200)
    assert np.allclose(found.atoms.positions, atoms.positions, atol=1e-12)
    assert float(rows(tmp_path / "run")[-1]["total_energy_eV"]) == pytest.approx(atoms.get_total_energy(), abs=1e-9)
    assert atoms.get_total_energy() == pytest.approx(before, abs=1e-3)


@pytest.mark.filterwarnings("ignore:Using heuristic P_mass")
def test_npt_is_that_of_ase(stack, tmp_path):
    found = run(stack, tmp_path / "run", ensemble="npt", pressure=2.0)
    rng = np.random.default_rng(0)
    atoms = velocities(rng)
    atoms.calc = StackCalculator(stack)
    LangevinBAOAB(
        atoms, 2 * units.fs, temperature_K=300, externalstress=-2 * units.GPa, hydrostatic=True, T_tau=100 * units.fs,
        P_tau=1000 * units.fs, rng=rng,
    ).run(30)  # fmt: skip
    assert np.allclose(found.atoms.positions, atoms.positions, atol=1e-12)
    assert not np.allclose(atoms.cell, start().cell, atol=1e-4)
    assert float(rows(tmp_path / "run")[-1]["volume_A3"]) == pytest.approx(atoms.get_volume())


def test_the_thermostat_follows_the_ramp(stack, tmp_path):
    hot = {"temperature": 300.0, "final_temperature": 900.0, "thermostat_time": 5.0, "steps": 300, "write_every": 1}
    run(stack, tmp_path / "run", ensemble="nvt-langevin", **hot)
    temperatures = [float(row["temperature_K"]) for row in rows(tmp_path / "run")]
    assert np.mean(temperatures[-60:]) > 1.4 * np.mean(temperatures[:60])


@pytest.mark.parametrize("name", ["trajectory.extxyz", "frames.traj"])
def test_frames_have_forces_energies_velocities_and_uncertainties(stack, tmp_path, name):
    values = {"trajectory_name": name, "committee": True}
    run(stack, tmp_path / "run", **values, steps=12)
    with pytest.raises(KeyboardInterrupt):
        run(stack, tmp_path / "run", **values, reporter=InterruptedAt(20))
    found = run(stack, tmp_path / "run", **values)
    frames = ase.io.read(tmp_path / "run" / name, ":")
    assert [frame.info["step"] for frame in frames] == [0, 6, 12, 18, 24, 30]
    expected = StackCalculator(stack)
    last = frames[-1]
    assert np.allclose(last.positions, found.atoms.positions, atol=1e-7)
    assert np.allclose(last.get_momenta(), found.atoms.get_momenta(), atol=1e-7)
    assert last.get_potential_energy() == pytest.approx(expected.get_potential_energy(found.atoms))
    assert np.allclose(last.get_forces(), expected.get_forces(found.atoms), atol=1e-7)
    written = {**last.info, **last.arrays}
    assert np.allclose(written["forces_uncertainty"], expected.get_property("forces_std", found.atoms), atol=1e-7)
    committee = written["forces_comm"].reshape(-1, 2, 3)
    for index, epsilon in enumerate((0.3, 0.5)):
        found.atoms.calc = MorsePotential(epsilon=epsilon, r0=2.6)
        assert np.allclose(committee[:, index], found.atoms.get_forces(), atol=1e-7)
    assert np.mean(written["energy_comm"]) == pytest.approx(last.get_potential_energy())
    assert written["energy_var"] == pytest.approx(np.var(written["energy_comm"]))


def test_the_guard_stops_keeps_the_frame_and_lets_go_with_a_higher_bound(stack, tmp_path):
    whole = run(stack, tmp_path / "whole", temperature=600.0, write_every=1)
    largest = [float(row["largest_forces_uncertainty_eV_A"]) for row in rows(tmp_path / "whole")]
    bound = 0.9 * max(largest)
    at = next(step for step, value in enumerate(largest) if value > bound)
    assert 0 < at < 30
    found = run(stack, tmp_path / "run", temperature=600.0, write_every=50, guard=Guard(bound))
    assert found.step == at
    assert f"above {bound:g}" in found.stopped
    assert ase.io.read(tmp_path / "run" / "trajectory.extxyz").info["step"] == at
    assert run(stack, tmp_path / "run", temperature=600.0, write_every=50, guard=Guard(bound)).stopped == found.stopped
    reporter = InterruptedAt()
    warned = run(
        stack, tmp_path / "run", temperature=600.0, write_every=50, guard=Guard(bound, "warn"), reporter=reporter
    )
    assert np.array_equal(warned.atoms.positions, whole.atoms.positions)
    assert sum("above" in line for line in reporter.said) == 1


def test_a_base_model_drives_and_the_stack_looks_on(stack, tmp_path):
    found = run(stack, tmp_path / "run", driver="hard", ensemble="nve", write_every=10, observe_every=10)
    atoms = velocities(np.random.default_rng(0))
    atoms.calc = MorsePotential(epsilon=0.5, r0=2.6)
    VelocityVerlet(atoms, 2 * units.fs).run(30)
    assert np.allclose(found.atoms.positions, atoms.positions, atol=1e-10)
    last = ase.io.read(tmp_path / "run" / "trajectory.extxyz")
    assert np.allclose(last.get_forces(), StackCalculator(stack).get_forces(found.atoms), atol=1e-7)
    assert len((tmp_path / "run" / "model_devi.out").read_text().splitlines()) == 1 + 4


def test_what_cannot_be_is_said(stack, tmp_path):
    with pytest.raises(ElmlffError, match="the stack has no base model 'hart'; did you mean 'hard'"):
        run(stack, tmp_path / "a", driver="hart")
    with pytest.raises(ElmlffError, match="must end in one of"):
        run(stack, tmp_path / "b", trajectory_name="frames.pdb")
    run(stack, tmp_path / "c")
    with pytest.raises(ElmlffError, match="holds another run"):
        run_dynamics(stack, start(), DynamicsSettings(), tmp_path / "c", "other")
    (tmp_path / "c" / "restart.npz").write_bytes(b"PK")
    with pytest.raises(ElmlffError, match=r"restart\.npz is damaged: remove the folder"):
        run(stack, tmp_path / "c")
    molecule = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    with pytest.raises(ElmlffError, match="stress needs a structure that is periodic in all directions"):
        run_dynamics(stack, molecule, DynamicsSettings(ensemble="npt"), tmp_path / "d", "key")
    without = Stack(stack.base_models, "median", {}, make_meta("median", {}))
    with pytest.raises(ElmlffError, match="'median' of this stack gives no stress; these do: 'mean', 'linear'"):
        run_dynamics(without, start(), DynamicsSettings(ensemble="npt"), tmp_path / "e", "key")


@pytest.mark.parametrize(("meta", "said"), [("mean", 0), ("median", 1)])
def test_nve_says_where_the_energy_is_not_conserved(stack, tmp_path, meta, said):
    other = Stack(stack.base_models, meta, {}, make_meta(meta, {}), stack.uncertainty)
    reporter = InterruptedAt()
    run(other, tmp_path / "run", ensemble="nve", steps=2, reporter=reporter)
    lines = [line for line in reporter.said if "the energy is not conserved" in line]
    assert len(lines) == said
    assert all(f"'{meta}'" in line and "these: 'mean', 'ace', 'conservative'" in line for line in lines)
    for values in ({"ensemble": "nvt-bussi"}, {"ensemble": "nve", "driver": "hard"}):
        reporter = InterruptedAt()
        run(other, tmp_path / "-".join(values.values()), **values, steps=2, reporter=reporter)
        assert not any("conserved" in line for line in reporter.said)


def test_a_guard_needs_uncertainties(stack, tmp_path):
    without = Stack(stack.base_models, "mean", {}, stack.meta)
    with pytest.raises(ElmlffError, match="a guard needs a stack with calibrated uncertainties"):
        run(without, tmp_path / "run", guard=Guard(0.5))
