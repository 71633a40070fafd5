"""`elmlff serve` with a real i-PI: its numbers are those of ASE, and every end is a clean one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from elmlff_core import StackCalculator
from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.errors import ElmlffError
from elmlff_core.ipi import atomic_units
from elmlff_core.ipi.client import Address, serve
from elmlff_core.ipi.evaluation import Evaluation, UncertainError
from elmlff_core.simulation.guard import NO_GUARD, Guard
from elmlff_core.stack.frames import add_committee, predicted_frames
from elmlff_core.stack.stack import Stack, load_stack, make_meta
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from tests.cli.small_data import elmlff, environment
from tests.ipi.simulation import NPT, Simulation, extras, free_port
from tests.stack.copper import copper, morse_stack

COMMITTEE = ("committee_pot", "committee_force", "committee_virial")
UNCERTAINTY = ("forces_uncertainty", "energy_uncertainty", "outside")
WAIT = 60.0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stack and a structure of copper."""
    folder = tmp_path_factory.mktemp("ipi")
    stack, data = morse_stack(folder), dataset_from_structures([copper(seed) for seed in range(12)], "copper")
    features = stack.features(data.structures, data)
    domain = Domain.fit(features.subset(range(8)), features.subset(range(8, 12)))
    stack.uncertainty = Uncertainty.fit(features, stack.combine(features), stack.meta, domain)
    stack.save(folder / "stack")
    start().write(folder / "start.extxyz")
    return folder


@pytest.fixture(scope="module")
def stack(workplace: Path) -> Stack:
    return load_stack(workplace / "stack")


def start() -> Atoms:
    atoms = copper(20)
    atoms.calc = None
    return atoms


class Kept(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say


def served(
    stack: Stack, simulation: Simulation, template: Atoms, reporter: Reporter | None = None, guard: Guard = NO_GUARD
) -> int:
    """Serve `simulation` in this process until it ends."""
    evaluation = Evaluation(stack, template, "start.extxyz", reporter, guard)
    return serve(evaluation, Address(simulation.socket), WAIT, reporter)


@pytest.fixture(scope="module")
def nve(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """A simulation of 20 steps from rest that `elmlff serve` has served, with all extras."""
    folder, trajectories = tmp_path_factory.mktemp("nve"), extras(*COMMITTEE, *UNCERTAINTY, "raw")
    with Simulation(folder, workplace / "start.extxyz", trajectories=trajectories) as simulation:
        done = elmlff(workplace, "serve", "stack", "--structure", "start.extxyz", *simulation.options)
        assert "waiting up to 60 s for i-PI" in done.stdout or "connected to i-PI" in done.stdout
        assert done.stdout.endswith("i-PI has ended: 21 structures\n")
        assert simulation.ended() == 0
    return simulation


def test_energies_are_those_of_ase(nve: Simulation, stack: Stack) -> None:
    energies = nve.columns()["energy"]
    atoms = start()
    atoms.calc = StackCalculator(stack)
    found = [atoms.get_potential_energy() for _ in VelocityVerlet(atoms, 2 * units.fs).irun(20)]
    print(f"largest difference from ASE's velocity Verlet: {np.abs(energies - found).max():.1e} eV")
    assert np.allclose(energies, found, rtol=0, atol=1e-6)
    assert np.ptp(energies) > 1e-2  # it has moved
    frames = nve.frames()
    single_points = [stack.predict([frame]).energy[0] for frame in frames]
    print(f"largest difference from single points: {np.abs(energies - single_points).max():.1e} eV")
    assert np.allclose(energies, single_points, rtol=0, atol=1e-6)


def test_virials_are_those_of_ase(nve: Simulation, stack: Stack) -> None:
    frames = nve.frames()
    stresses = stack.predict(frames).stress
    assert np.allclose(nve.columns()["virial"], -stresses[:, [0, 1, 2, 5, 4, 3]], rtol=0, atol=1e-6)


def test_extras_are_those_of_predict(nve: Simulation, stack: Stack) -> None:
    frames = nve.frames()
    features = stack.features(frames)
    expected = list(predicted_frames(frames, stack.combine(features)))
    add_committee(expected, stack, features)
    energies = nve.extras("committee_pot")[:, 0] * atomic_units.HARTREE
    assert np.allclose(energies, [frame.info["energy_comm"] for frame in expected], rtol=0, atol=1e-6)
    forces = nve.extras("committee_force").reshape(len(frames), 2, -1, 3).transpose(0, 2, 1, 3) * atomic_units.FORCE
    for index, frame in enumerate(expected):
        assert np.allclose(forces[index].reshape(len(frame), 6), frame.arrays["forces_comm"], rtol=0, atol=1e-6)
    uncertainty = nve.extras("forces_uncertainty")[:, 0] * atomic_units.FORCE
    assert np.allclose(uncertainty, [frame.arrays["forces_uncertainty"] for frame in expected], rtol=1e-5)
    uncertainty = nve.extras("energy_uncertainty")[:, 0, 0] * atomic_units.HARTREE
    assert np.allclose(uncertainty, [frame.info["energy_uncertainty"] for frame in expected], rtol=1e-5)
    assert np.allclose(nve.extras("outside")[:, 0], [frame.arrays["outside"] for frame in expected], atol=1e-4)
    virials = nve.extras("committee_virial").mean(axis=1).reshape(-1, 3, 3) * atomic_units.HARTREE  # as of the mean
    volume = nve.columns()["volume"]
    assert np.allclose(virials[:, 0, 1] / volume, nve.columns()["virial"][:, 3], rtol=0, atol=1e-6)


def test_raw_extras_are_json(nve: Simulation) -> None:
    lines = [line for line in (nve.folder / "run.raw_0").read_text().splitlines() if not line.startswith(" #")]
    (text,) = ast.literal_eval(lines[0])["raw"]  # one text for each bead
    assert set(json.loads(text)) == {*COMMITTEE, *UNCERTAINTY}


def test_over_tcp_the_numbers_are_the_same(nve: Simulation, workplace: Path, tmp_path: Path) -> None:
    with Simulation(tmp_path, workplace / "start.extxyz", port=free_port()) as simulation:
        done = elmlff(workplace, "serve", "stack", "--structure", "start.extxyz", *simulation.options)
        assert f"127.0.0.1:{simulation.options[-1]}" in done.stdout
        assert done.stdout.endswith("i-PI has ended: 21 structures\n")
        assert simulation.ended() == 0
    for name, values in simulation.columns().items():
        assert np.array_equal(values, nve.columns()[name]), name


def test_the_guard_leaves_i_pi_with_the_structure(workplace: Path, tmp_path: Path, stack: Stack) -> None:
    at_rest = start()
    at_rest.set_scaled_positions(np.round(2 * at_rest.get_scaled_positions()) / 2)  # no forces: the base models agree
    at_rest.write(tmp_path / "lattice.extxyz")
    bound = 2 * stack.predict([at_rest]).forces_std.max()
    command = ("serve", "stack", "--structure", "start.extxyz", "--output", str(tmp_path / "kept.extxyz"))
    with Simulation(tmp_path, tmp_path / "lattice.extxyz", steps=5000, temperature=2000) as simulation:
        done = elmlff(workplace, *command, "--stop-above", str(bound), *simulation.options, code=3)
        assert "end it by a file EXIT in its folder" in done.stdout
        # i-PI goes on with another client, from the same structure.
        reporter = Kept()
        with simulation.then_ended():
            assert served(stack, simulation, at_rest, reporter, Guard(bound, "warn")) > 1
        assert simulation.ended() == 0
    frames = simulation.frames()
    largest = [stack.predict([frame]).forces_std.max() for frame in frames]
    number = next(index for index, value in enumerate(largest) if value > bound)
    assert number > 0
    assert f"note: stopped at structure {number}: the uncertainty of atom " in done.stdout
    assert f" is {largest[number]:.3f} eV/Å, above {bound:g}. " in done.stdout
    kept = ase.io.read(tmp_path / "kept.extxyz")
    assert np.allclose(frames[number].positions, kept.positions, atol=1e-6)
    assert kept.arrays["forces_uncertainty"].max() == pytest.approx(largest[number], rel=1e-5)
    assert np.allclose(kept.get_forces(), stack.predict([kept]).forces, atol=1e-6)
    (said,) = (text for text in reporter.said if "the uncertainty of atom" in text)
    assert said.startswith("structure 0: ")
    assert said.endswith("It is not said again")


def test_the_guard_names_the_structure_of_a_batch(stack: Stack) -> None:
    far = start()
    far.positions[2] += 0.8
    cell = start().cell.array.T / atomic_units.BOHR
    batch = [atoms.positions / atomic_units.BOHR for atoms in (start(), far)]
    bound = stack.predict([start()]).forces_std.max() * 1.01
    evaluation = Evaluation(stack, start(), "", guard=Guard(bound))
    evaluation([cell], batch[:1])
    with pytest.raises(UncertainError, match=r"^structure 2: the uncertainty of atom \d is") as stop:
        evaluation([cell, cell], batch)
    assert np.allclose(stop.value.frame.positions, far.positions)
    assert evaluation.n_answers == 1


def test_a_guard_needs_uncertainties(stack: Stack) -> None:
    without = replace(stack, uncertainty=None)
    with pytest.raises(ElmlffError, match="a guard needs a stack with calibrated uncertainties"):
        Evaluation(without, start(), "", guard=Guard(0.5))
    Evaluation(without, start(), "")


def test_the_pressure_is_controlled_and_the_energy_conserved(stack: Stack, workplace: Path, tmp_path: Path) -> None:
    values = {"mode": "npt", "dynamics": NPT, "steps": 30, "temperature": 300}
    with Simulation(tmp_path, workplace / "start.extxyz", **values) as simulation:
        assert served(stack, simulation, start()) > 30
        assert simulation.ended() == 0
    found = simulation.columns()
    assert np.ptp(found["volume"]) > 0.5
    assert np.ptp(found["conserved"]) < 0.02 * np.ptp(found["energy"])


def test_beads_come_in_batches(stack: Stack, workplace: Path, tmp_path: Path) -> None:
    values = {"beads": 3, "steps": 4, "temperature": 300, "socket": "<batch_size> 2 </batch_size>"}
    with Simulation(tmp_path, workplace / "start.extxyz", **values) as simulation:
        assert served(stack, simulation, start()) == 4 * 5  # two batches of two for three beads
        assert simulation.ended() == 0
    beads = [simulation.frames(bead) for bead in range(3)]
    means = np.mean([stack.predict(frames).energy for frames in beads], axis=0)
    assert np.allclose(simulation.columns()["energy"], means, rtol=0, atol=1e-6)
    assert not np.allclose(beads[0][-1].positions, beads[1][-1].positions, atol=1e-4)


def molecule() -> Atoms:
    """Make atoms that are not periodic, of which a stack has no stress."""
    return Atoms(start().numbers, start().positions + 5.0)


def test_without_stress_the_virial_is_not_a_number(stack: Stack, tmp_path: Path) -> None:
    boxed = molecule()
    boxed.set_cell([20, 20, 20])
    boxed.set_pbc(True)  # i-PI wants a cell
    boxed.write(tmp_path / "boxed.extxyz")
    with Simulation(tmp_path, tmp_path / "boxed.extxyz", steps=3) as simulation:
        assert served(stack, simulation, molecule()) == 4
        assert simulation.ended() == 0
    assert np.isnan(simulation.columns()["virial"]).all()
    assert np.isfinite(simulation.columns()["energy"]).all()
    with (
        Simulation(tmp_path, tmp_path / "boxed.extxyz", steps=3, mode="npt", dynamics=NPT) as simulation,
        pytest.raises(ElmlffError, match="the barostat needs a virial, and stress needs a structure that is periodic"),
    ):
        served(stack, simulation, molecule())


def test_i_pi_is_killed(workplace: Path, tmp_path: Path) -> None:
    with Simulation(tmp_path, workplace / "start.extxyz", steps=1_000_000) as simulation:

        def kill() -> None:
            simulation.wait_for_steps(5)
            simulation.process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        stderr = elmlff(workplace, "serve", "stack", "--structure", "start.extxyz", *simulation.options, code=1).stderr
        killer.join()
    assert "without saying that it ends: it was killed, or has crashed" in stderr
    assert len(stderr.strip().splitlines()) == 1


class Interrupted(Reporter):
    """Presses Ctrl-C after three structures."""

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        def update(progress: Progress) -> None:
            if progress.done == 3:
                raise KeyboardInterrupt

        yield update


# Killed with bytes that it has not read, a client stops i-PI 3.3.1: this one has read all, and is busy.
BUSY_CLIENT = """
import sys, time
import ase.io
from elmlff_core.ipi import client
from elmlff_core.ipi.evaluation import Evaluation
from elmlff_core.stack.stack import load_stack

class Busy(Evaluation):
    def __call__(self, cells, positions):
        if self.n_answers == 5:
            print("busy", flush=True)
            time.sleep(1000)
        return super().__call__(cells, positions)

client.ON_ITS_WAY = 100.0
client.serve(Busy(load_stack("stack"), ase.io.read("start.extxyz"), ""), client.Address(sys.argv[1]), 60.0)
"""


def test_another_client_takes_the_place_of_one_that_has_ended(workplace: Path, tmp_path: Path, stack: Stack) -> None:
    with Simulation(tmp_path, workplace / "start.extxyz", steps=1_000_000) as simulation:
        with pytest.raises(KeyboardInterrupt):
            served(stack, simulation, start(), Interrupted())
        client = subprocess.Popen(
            [sys.executable, "-c", BUSY_CLIENT, simulation.socket],
            cwd=workplace, env=environment(workplace), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.readline() == "busy\n"
        client.kill()
        client.communicate(timeout=60)  # what it has started would keep its output open
        with simulation.then_ended():
            assert served(stack, simulation, start()) >= 5
        assert simulation.ended() == 0
        assert simulation.said.count("died or got unresponsive") >= 2
    found = simulation.columns()
    assert np.array_equal(found["step"], np.arange(len(found["step"])))
    assert np.ptp(found["conserved"]) < 0.1 * np.ptp(found["energy"])


def test_another_number_of_atoms(workplace: Path, tmp_path: Path) -> None:
    (start() + start()[:1]).write(tmp_path / "five.extxyz")
    with Simulation(tmp_path, tmp_path / "five.extxyz") as simulation:
        stderr = elmlff(workplace, "serve", "stack", "--structure", "start.extxyz", *simulation.options, code=1).stderr
        simulation.wait_for("died or got unresponsive")
    assert "i-PI sends 5 atoms, but start.extxyz has 4" in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_atoms_in_another_order_are_noticed(stack: Stack, workplace: Path, tmp_path: Path) -> None:
    reporter = Kept()
    with Simulation(tmp_path, workplace / "start.extxyz", steps=1) as simulation:
        served(stack, simulation, start()[[0, 2, 1, 3]], reporter)
    assert any("2 of 4 atoms of the first structure from i-PI are more than 1 Å from" in text for text in reporter.said)


def test_a_stack_without_energies_is_refused(stack: Stack) -> None:
    blind = Stack(stack.base_models, "mean", {}, make_meta("mean", {}))  # it has seen no reference energies
    with pytest.raises(ElmlffError, match="this stack has no energy"):
        Evaluation(blind, start(), "start.extxyz")


def test_units_and_driver_are_those_of_i_pi(stack: Stack, workplace: Path) -> None:
    from ipi.pes import load_pes
    from ipi.utils.units import unit_to_user

    import elmlff_core.ipi.driver

    for kind, unit, size in (("length", "angstrom", "BOHR"), ("energy", "electronvolt", "HARTREE")):
        assert getattr(atomic_units, size) == pytest.approx(unit_to_user(kind, unit, 1.0), rel=1e-12)
    driver = load_pes("custom", elmlff_core.ipi.driver.__file__)(
        stack=str(workplace / "stack"), structure=str(workplace / "start.extxyz")
    )
    cell, positions = start().cell.array.T / atomic_units.BOHR, start().positions / atomic_units.BOHR
    potential, forces, virial, text = driver(cell, positions)
    (answer,) = Evaluation(stack, start(), "")([cell], [positions])
    assert (potential, text) == (answer.potential, answer.extras)
    assert np.array_equal(forces, answer.forces)
    assert np.array_equal(virial, answer.virial)
    assert len(driver([cell, cell], [positions, positions])) == 2


WRONG = {
    "no i-PI": (("--unix", "nobody-listens-here", "--wait", "0"), "no i-PI listens at /tmp/ipi_nobody-listens-here"),
    "no time": (("--unix", "nobody-listens-here", "--wait", "nan"), "no i-PI listens at"),
    "no port": (("--host", "localhost"), "name the socket of i-PI"),
    "both": (("--unix", "x", "--host", "localhost", "--port", "1"), "name the socket of i-PI"),
    "nothing": ((), "name the socket of i-PI"),
    "both bounds": (
        ("--unix", "x", "--stop-above", "1", "--warn-above", "1"),
        "--stop-above or --warn-above, not both",
    ),
    "nobody at the port": (("--host", "localhost", "--port", "1", "--wait", "0"), "no i-PI listens at localhost:1"),
    "no host": (("--host", "x" * 99, "--port", "1"), "no host is called 'xxx"),
    "a long name": (("--unix", "x" * 200), "AF_UNIX path too long"),
    "no such structure": (("--structure", "nothing.xyz", "--unix", "x"), "nothing.xyz"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, case: str) -> None:
    options, message = WRONG[case]
    stderr = elmlff(workplace, "serve", "stack", "--structure", "start.extxyz", *options, code=1).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
