"""The command `elmlff select`."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest

from elmlff_core.data.readers import read_dataset
from tests.cli.small_data import elmlff, kill_when, write_small_data

pytest.importorskip("dscribe", reason="comes with the extra 'select'")
# Stacks of two potentials that know nothing of methane err by several eV/Å.
SELECT = ("select", "stack", "pool.extxyz", "--low", "1.5", "-n", "5")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of `elmlff stack`, a simulation, and a trajectory without labels."""
    folder = tmp_path_factory.mktemp("selection")
    write_small_data(folder)
    elmlff(folder, "stack", "--meta", "mean", "--output", "stack")
    md = ("md", "stack", "--structure", "few.extxyz", "--timestep", "0.5", "--steps", "30", "--write-every", "2")
    elmlff(folder, *md, "--output", "md")
    pool = list(read_dataset("methane").structures[7:1200:10])
    ase.io.write(folder / "pool.extxyz", pool)
    return folder


def test_it_says_what_is_in_the_window_and_what_is_labelled(workplace: Path) -> None:
    said = elmlff(workplace, *SELECT, "--output", "chosen").stdout
    assert "above 1.5 eV/Å (given), and the upper end of their 90 % interval below" in said
    assert "times the usual force of the training structures" in said
    assert "120 structures:" in said
    assert "labelled already: the 32 training and validation structures of the stack, of " in said
    assert "5 structures chosen of the 5 that were asked for" in said
    assert len(ase.io.read(workplace / "chosen" / "selected.extxyz", ":")) == 5
    named = elmlff(workplace, *SELECT, "--labelled", "few.extxyz", "--output", "named").stdout
    assert "labelled already: 40 structures of few.extxyz" in named


def test_it_reads_the_folder_of_a_simulation(workplace: Path) -> None:
    said = elmlff(workplace, "select", "stack", "md", "pool.extxyz", "--low", "0", "--output", "both").stdout
    assert "136 structures:" in said
    sources = {line.split(",")[1] for line in (workplace / "both" / "frames.csv").read_text().splitlines()[1:]}
    assert sources == {"md", "pool.extxyz"}


def test_a_killed_selection_goes_on_to_the_same_files(workplace: Path) -> None:
    arguments = ("select", "../stack", "../pool.extxyz", "--low", "1.5", "-n", "5")
    killed, whole = workplace / "killed", workplace / "whole"
    for folder in (killed, whole):  # each has a cache of its own
        folder.mkdir()
    kill_when(killed, (killed / "cache" / "features").exists, *arguments)
    assert not (killed / "elmlff-select" / "frames.csv").exists()
    assert "the 32 training and validation structures" in elmlff(killed, *arguments).stdout
    elmlff(whole, *arguments)
    for name in ("frames.csv", "selected.extxyz", "model_devi.out"):
        assert (killed / "elmlff-select" / name).read_bytes() == (whole / "elmlff-select" / name).read_bytes()


WRONG = {
    "no such trajectory": (("select", "stack", "nothing.traj"), "called 'nothing.traj'"),
    "no such stack": (("select", "few.extxyz", "pool.extxyz"), "contains no stack"),
    "an empty window": ((*SELECT, "--high", "0.1"), "low (1.5) must be below high (0.1)"),
    "no number": ((*SELECT, "-n", "0"), "--number: Input should be greater than or equal to 1"),
    "no descriptors": ((*SELECT, "--descriptors", "sope"), "did you mean 'soap'"),
    "no labelled file": ((*SELECT, "--labelled", "none.extxyz"), "called 'none.extxyz'"),
    "another selection": ((*SELECT, "--output", "md"), "md holds another run"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, case: str) -> None:
    arguments, message = WRONG[case]
    output = () if "--output" in arguments else ("--output", f"wrong-{case.replace(' ', '-')}")
    stderr = elmlff(workplace, *arguments, *output, code=1).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
