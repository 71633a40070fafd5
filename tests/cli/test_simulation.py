"""The commands `elmlff md` and `elmlff relax`."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from tests.cli.small_data import elmlff, kill_when, n_lines, write_small_data

MD = ("md", "stack", "--structure", "few.extxyz", "--timestep", "0.5", "--seed", "3")
FILES = ("trajectory.extxyz", "log.csv", "model_devi.out")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stack of two base models."""
    folder = tmp_path_factory.mktemp("simulation")
    write_small_data(folder)
    elmlff(folder, "stack", "--meta", "mean", "--output", "stack")
    return folder


def test_a_killed_simulation_goes_on_to_the_same_end(workplace: Path) -> None:
    arguments = (*MD, "--steps", "800", "--ensemble", "nvt-bussi", "--write-every", "25")
    kill_when(workplace, lambda: n_lines(workplace / "cut" / "log.csv") > 5, *arguments, "--output", "cut")
    kept = n_lines(workplace / "cut" / "log.csv")
    assert kept < 33
    assert "going on after step" in elmlff(workplace, *arguments, "--output", "cut").stdout
    elmlff(workplace, *arguments, "--output", "whole")
    for name in FILES:
        assert (workplace / "cut" / name).read_bytes() == (workplace / "whole" / name).read_bytes()
    assert n_lines(workplace / "cut" / "log.csv") == 1 + 33


def test_the_guard_ends_it_with_its_own_exit_code(workplace: Path) -> None:
    done = elmlff(workplace, *MD, "--steps", "20", "--stop-above", "1e-6", "--output", "stopped", code=3)
    assert "note: stopped at step 0: the uncertainty of atom" in done.stdout
    assert len(ase.io.read(workplace / "stopped" / "trajectory.extxyz", ":")) == 1


def test_relax_says_whether_it_has_converged(workplace: Path) -> None:
    done = elmlff(workplace, "relax", "stack", "--structure", "few.extxyz", "--force", "0.05", "-o", "relaxed.extxyz")
    assert "converged after" in done.stdout
    forces = ase.io.read(workplace / "relaxed.extxyz").get_forces()
    assert np.linalg.norm(forces, axis=1).max() < 0.05
    stderr = elmlff(workplace, "relax", "stack", "--structure", "few.extxyz", "--steps", "1", code=1).stderr
    assert "not converged to 0.01 eV/Å after 1 steps" in stderr


def test_predict_writes_the_committee(workplace: Path) -> None:
    elmlff(workplace, "predict", "stack", "--data", "few.extxyz", "-o", "out.extxyz", "--committee")
    atoms = ase.io.read(workplace / "out.extxyz", "3")
    assert np.allclose(atoms.arrays["forces_comm"].reshape(-1, 2, 3).mean(axis=1), atoms.get_forces(), atol=1e-6)
    assert np.mean(atoms.info["energy_comm"]) == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.var(atoms.info["energy_comm"]) == pytest.approx(atoms.info["energy_var"], rel=1e-4)
    assert (atoms.arrays["forces_uncertainty"] > 0).all()


def test_frames_of_simulations_have_the_committee_that_predict_finds_for_them(workplace: Path) -> None:
    elmlff(workplace, *MD, "--steps", "10", "--committee", "--output", "committee")
    elmlff(
        workplace, "relax", "stack", "--structure", "few.extxyz", "--steps", "3", "--committee", "-o", "last.extxyz",
        "--trajectory", "steps.extxyz", code=1,
    )  # fmt: skip
    for name in ("committee/trajectory.extxyz", "last.extxyz", "steps.extxyz"):
        elmlff(workplace, "predict", "stack", "--data", name, "-o", "again.extxyz", "--committee")
        frames, again = (ase.io.read(workplace / path, ":") for path in (name, "again.extxyz"))
        assert len(frames) == len(again)
        for frame, expected in zip(frames, again, strict=True):
            assert frame.arrays["forces_comm"].shape == (len(frame), 6)
            # Files round positions to 1e-8 Å.
            assert np.allclose(frame.arrays["forces_comm"], expected.arrays["forces_comm"], atol=1e-5)
            assert np.allclose(frame.info["energy_comm"], expected.info["energy_comm"], atol=1e-6)
            assert frame.info["energy_var"] == pytest.approx(expected.info["energy_var"], rel=1e-5, abs=1e-9)


WRONG = {
    "no such structure": (("--structure", "nothing.xyz"), "nothing.xyz"),
    "both bounds": (("--stop-above", "1", "--warn-above", "2"), "not both"),
    "no driver": (("--driver", "ljj"), "did you mean 'lj'"),
    "no stress": (("--ensemble", "npt"), "stress needs a structure that is periodic in all directions"),
    "a ramp without a thermostat": (("--ensemble", "nve", "--final-temperature", "9"), "needs a thermostat"),
    "a timestep below zero": (("--timestep", "-1"), "--timestep: Input should be greater than 0"),
    "another format": (("--trajectory", "t.pdb"), "must end in one of .extxyz, .xyz, .traj"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, tmp_path: Path, case: str) -> None:
    options, message = WRONG[case]
    stderr = elmlff(workplace, *MD, "--steps", "2", *options, "--output", str(tmp_path / "run"), code=1).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
