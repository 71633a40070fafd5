"""Plain mistakes that once ended in "unexpected ..." or never: each is said in one line that names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from tests.fuzz.cases import Judge

Change = Callable[[Path], None]
NEW = ("stack", "--output", "new")
EGAT = (*NEW, "--meta", "egat")
NPY = (*NEW, "--data", "npy")


def nothing(folder: Path) -> None:
    pass


def label(pattern: str, new: str) -> Change:
    """Replace the first label that fits `pattern` in ``few.extxyz``."""

    def change(folder: Path) -> None:
        path = folder / "few.extxyz"
        contents = path.read_text()
        changed = re.sub(pattern, new, contents, count=1)
        assert changed != contents
        path.write_text(changed)

    return change


def structures(edit: Callable[[Atoms], None]) -> Change:
    """Change every structure of ``few.extxyz``."""

    def change(folder: Path) -> None:
        found = ase.io.read(folder / "few.extxyz", ":")
        for atoms in found:
            edit(atoms)
        ase.io.write(folder / "few.extxyz", found)

    return change


def arrays(*names: str, n: int) -> Change:
    """Keep only the first `n` frames of some arrays of ``npy``."""

    def change(folder: Path) -> None:
        for name in names:
            path = folder / "npy" / "set.000" / f"{name}.npy"
            np.save(path, np.load(path)[:n])

    return change


def shrunk(atoms: Atoms) -> None:
    atoms.set_cell([0.01, 0.01, 0.01], scale_atoms=False)


def skewed(atoms: Atoms) -> None:
    atoms.set_cell([[7.0, 0, 0], [7.2, 0.2, 0], [0, 0, 8.0]], scale_atoms=False)


def type_map(folder: Path) -> None:
    (folder / "npy" / "type_map.raw").write_text("H\nQq\n")


def words(folder: Path) -> None:
    path = folder / "npy" / "set.000" / "virial.npy"
    np.save(path, np.load(path).astype("S8"))


ALL = ("coord", "box", "force", "energy", "virial")
MISTAKES: dict[str, tuple[Change, tuple[str, ...], str]] = {
    "no GPU": (nothing, (*EGAT, "--set", "training.device=cuda"), "'training.device' is cuda, but torch finds no CUDA"),
    "more devices than structures": (
        nothing, (*EGAT, "--set", "training.devices=9"), "'training.devices' is 9, but a batch has only 8 structures"
    ),
    "more devices than cores": (
        nothing, (*EGAT, "--set", "training.devices=9999", "--set", "training.batch_size=9999"), "take at most [0-9]+$"
    ),
    "conservative in bfloat16": (
        nothing, (*NEW, "--meta", "conservative", "--set", "training.precision=bfloat16"),
        "'training.precision' is bfloat16, with which 'conservative' cannot be trained: take float32",
    ),
    "seeds beyond the last": (nothing, (*EGAT, "--seed", str(2**32 - 1), "--seeds", "2"), "take a lower seed"),
    "a seed beyond the last": (nothing, (*EGAT, "--seed", str(2**32)), "'seed' .* less than 4294967296"),
    "a folder below a file": (nothing, (*NEW[:2], "few.extxyz/a"), "cannot use few.extxyz/a: Not a directory"),
    "a name that is too long": (nothing, (*NEW[:2], "a" * 300), "cannot use a+: File name too long"),
    "models below a file": (nothing, ("train", "fresh", "--models-dir", "few.extxyz"), "cannot use few.extxyz/fresh-"),
    "an energy that is a word": (label(r"REF_energy=\S+", "REF_energy=abc"), NEW, "structure 0 of few.extxyz .*'abc'"),
    "an energy of two numbers": (label(r"REF_energy=\S+", 'REF_energy="1 2"'), NEW, "2 numbers as its energy label"),
    "an energy that is true": (label(r"REF_energy=\S+", "REF_energy=T"), NEW, "energy label 'True', expected numbers"),
    "an energy out of this world": (label(r"REF_energy=\S+", "REF_energy=1e99"), NEW, "energy label 1e.99, more"),
    "a stress of three numbers": (
        label(r'REF_stress="[^"]*"', 'REF_stress="1 2 3"'), NEW, r"stress label of shape \(3,\), expected 6 or 3 x 3"
    ),
    "arrays without frames": (arrays(*ALL, n=0), NPY, "cannot read the deepmd/npy system npy: .* one row per frame"),
    "positions without frames": (arrays("coord", n=0), NPY, r"coords of shape \(24, 0, 3\), expected \(24, 5, 3\)"),
    "words as virials": (words, NPY, "the deepmd/npy system npy has virials of type .S8, expected numbers"),
    "an element that there is not": (type_map, NPY, "type_map.raw of npy has 'Qq', which is not a chemical symbol"),
    "a cell of 0.01 Å": (structures(shrunk), NEW, r"images of an atom are 0\.01 Å apart, less than 0\.5 Å"),
    "a cell of 0.01 Å, to predict": (
        structures(shrunk), ("predict", "linear", "--data", "few.extxyz", "-o", "out.extxyz"), "images .* Å apart"
    ),
    "a skewed cell": (structures(skewed), NEW, r"images of an atom are 0\.283 Å apart"),
    "an endless cutoff": (nothing, (*EGAT, "--set", "meta.egat.cutoff=1e9"), "'cutoff' .* less than or equal to 100"),
    "an infinite cutoff": (nothing, (*EGAT, "--set", "meta.egat.cutoff=inf"), "'cutoff' .* finite number"),
    "a cutoff of nothing": (nothing, (*EGAT, "--set", "meta.egat.cutoff=1e-9"), "'cutoff' .* greater than or"),
    "an endless cutoff of a base model": (
        nothing, ("train", "fresh", "--set", "models.fresh.options.radial_cutoff=1e9"), "'radial_cutoff' .* to 100"
    ),
    "heads that do not divide": (nothing, (*EGAT, "--set", "meta.egat.heads=7"), "heads is 7, which does not divide"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_plain_mistake_is_said_in_one_line(name: str, judge: Judge) -> None:
    change, arguments, message = MISTAKES[name]
    change(judge.workplace.folder)
    ending = judge.workplace.run(*arguments)
    judge.workplace.restore()
    assert ending.kind == "clean error", ending
    assert len(ending.stderr.strip().splitlines()) == 1
    assert re.search(message, ending.stderr), ending.stderr


def zero_forces(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][:] = 0.0


def test_forces_that_are_all_zero_are_learnt_to_the_end(judge: Judge) -> None:
    """The linear combination has no error then, of which nothing is a per cent."""
    structures(zero_forces)(judge.workplace.folder)
    ending = judge.workplace.run(*EGAT)
    judge.workplace.restore()
    assert ending.kind == "success", ending
    assert "best baseline (linear combination, 0.0000)" in ending.stdout


@pytest.mark.parametrize("name", ["[/red]", "$\\frac{$"])
def test_names_with_signs_of_markup_and_formulae(name: str, judge: Judge) -> None:
    path = judge.workplace.folder / f"{name}.extxyz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((judge.workplace.pristine / "few.extxyz").read_bytes())
    ending = judge.workplace.run("stack", "--data", f"{name}.extxyz", "--output", name)
    judge.workplace.restore()
    assert ending.kind == "success", ending
    assert f"data: {name}.extxyz" in ending.stdout
    assert f"stack: {name}" in ending.stdout
