"""`elmlff stack --descriptors`: the base models of the run say more, and the saved stack asks them for it too."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from elmlff_core import StackCalculator, load_stack
from elmlff_core.data.readers import read_dataset
from tests.commands.running import run_elmlff
from tests.methane_run import TINY, copy_base_models

OF_EGAT = ("meta.width=16", "meta.layers=2")
SETTINGS = [
    part
    for setting in TINY[1::2]
    if "dp1" not in setting
    for part in ("--set", setting.replace("meta.", "meta.egat.") if setting in OF_EGAT else setting)
]


@pytest.fixture(scope="module")
def folder(methane_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two base models, which were trained for another run, and descriptors."""
    here = tmp_path_factory.mktemp("descriptors")
    copy_base_models(methane_run, here)
    arguments = ("stack", "--models", "painn,nep", "--descriptors", "--meta", "linear,egat", *SETTINGS)
    result = run_elmlff((*arguments, "--output", "run"), here, ELMLFF_CACHE=str(here / "cache"))
    assert "nep: adapter nep, with descriptors, trained before" in result.stdout
    return here


def test_the_saved_stack_asks_for_them(folder: Path) -> None:
    stack = load_stack(folder / "run" / "stacks" / "egat")
    assert [model.config.descriptors for model in stack.base_models] == [True, True]
    frames = list(read_dataset("methane").structures[:3])
    features = stack.features(frames)
    assert {name: len(one) for name, one in features.descriptors.items()} == {"painn": 15, "nep": 15}
    atoms = frames[0].copy()
    atoms.calc = StackCalculator(stack)
    np.testing.assert_allclose(atoms.get_forces(), stack.predict(frames).forces[:5], rtol=0, atol=1e-5)


def test_the_command_predicts_what_the_stack_does(folder: Path) -> None:
    frames = list(read_dataset("methane").structures[:4])
    ase.io.write(folder / "frames.xyz", frames, format="extxyz")
    arguments = ("predict", "run/stacks/egat", "--data", "frames.xyz", "-o", "out.extxyz")
    run_elmlff(arguments, folder, ELMLFF_CACHE=str(folder / "cache"))
    found = [atoms.get_forces() for atoms in ase.io.read(folder / "out.extxyz", ":")]
    expected = load_stack(folder / "run" / "stacks" / "egat").predict(frames).forces
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-5)
