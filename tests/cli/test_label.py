"""The command `elmlff label`."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.data.readers import read_dataset
from tests.cli.small_data import elmlff, kill_when

SLOW = """
import time
from ase.calculators.emt import EMT

class Slow(EMT):
    def calculate(self, *arguments, **keywords):
        time.sleep(0.3)
        super().calculate(*arguments, **keywords)
"""
EMT = ("--calculator", "ase.calculators.emt:EMT")


def copper(seed: int) -> Atoms:
    """Make a rattled cell of copper."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with structures and a slow calculator."""
    folder = tmp_path_factory.mktemp("labelling")
    ase.io.write(folder / "frames.extxyz", [copper(seed) for seed in range(20)])
    ase.io.write(folder / "some.extxyz", [copper(0), molecule("SiH4"), copper(1)])
    (folder / "slow_calculator.py").write_text(SLOW)
    return folder


def computed(folder: Path) -> int:
    """Return how many structures the journals have."""
    return sum(path.read_text().count('"labels"') for path in folder.glob("*-work/journals/*.journal"))


def test_a_killed_labelling_computes_only_the_rest(workplace: Path) -> None:
    slow = ("label", "frames.extxyz", "--calculator", "slow_calculator:Slow", "--batch", "5", "--workers", "2")
    kill_when(workplace, lambda: computed(workplace) >= 4, *slow, "--output", "killed.extxyz")
    before = computed(workplace)
    assert 4 <= before < 20
    assert not (workplace / "killed.extxyz").exists()
    said = elmlff(workplace, *slow, "--output", "killed.extxyz").stdout
    assert f"going on: {before} of 20 structures were computed before" in said
    assert computed(workplace) == 20
    elmlff(workplace, "label", "frames.extxyz", *EMT, "--workers", "1", "--output", "whole.extxyz")
    assert (workplace / "killed.extxyz").read_bytes() == (workplace / "whole.extxyz").read_bytes()


def test_failures_are_said_and_have_a_file_and_an_exit_code(workplace: Path) -> None:
    arguments = ("label", "some.extxyz", *EMT, "--workers", "1", "--output", "some-labelled")
    said = elmlff(workplace, *arguments, code=3).stdout
    assert "2 structures labelled: some-labelled" in said
    assert "structure 1 failed: NotImplementedError" in said
    assert "1 structures failed: some-labelled-failed.extxyz" in said
    assert len(read_dataset(workplace / "some-labelled")) == 2  # deepmd/npy
    assert ase.io.read(workplace / "some-labelled-failed.extxyz").get_chemical_formula() == "H4Si"


WRONG = {
    "no frames": (("label", "nothing.extxyz", *EMT), "called 'nothing.extxyz'"),
    "no calculator": (("label", "some.extxyz"), "give FRAMES and --calculator, or --read-results"),
    "no such calculator": (("label", "some.extxyz", "--calculator", "ase.calculators.emt:EMI"), "did you mean 'EMT'"),
    "an option without a value": (("label", "some.extxyz", *EMT, "--options", "x"), "--options takes key.subkey=value"),
    "no folder": (("label", "some.extxyz", *EMT, "--output", "no/where.extxyz"), "there is no folder no"),
    "no results": (("label", "--read-results", "."), "holds no folders frame-"),
    "results and frames": (("label", "some.extxyz", "--read-results", "."), "takes no FRAMES"),
    "no inputs": (("label", "some.extxyz", *EMT, "--write-inputs", "in"), "writes no input files"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, case: str) -> None:
    arguments, message = WRONG[case]
    stderr = elmlff(workplace, *arguments, code=1).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
