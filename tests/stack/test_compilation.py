"""Compiled networks: they predict the same, are found again, and are left alone where they do not fit."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import write

from elmlff_core.base_models.named import named_model
from elmlff_core.cli.main import main
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.errors import ElmlffError
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.graphs.compiled import CompiledNetworks
from elmlff_core.meta.average import FitAverage
from elmlff_core.meta.neural import NeuralMeta
from elmlff_core.settings.config import ModelConfig, TrainingConfig
from elmlff_core.stack.compilation import compile_stack
from elmlff_core.stack.stack import Stack, load_stack
from tests.stack.copper import MORSE, copper

pytestmark = pytest.mark.skipif(
    not (os.environ.get("CXX") or shutil.which("g++")), reason="there is no C++ compiler: install g++"
)
OPTIONS = {"width": 8, "heads": 2, "layers": 2, "cutoff": 4.0}
# The first has more edges than PyTorch computes without compiled loops, the last has fewer.
STRUCTURES = {
    "a larger cell": bulk("Cu", cubic=True).repeat((3, 3, 2)),
    "two atoms": Atoms("Cu2", [(0, 0, 0), (0, 0, 2.5)], cell=(9, 9, 9), pbc=True),
    "one atom": Atoms("Cu", [(0, 0, 0)], cell=(9, 9, 9), pbc=True),
    "one atom and its images": bulk("Cu"),
}


def made(folder: Path, meta: str, seed: int = 0) -> Path:
    """Make a stack of two Morse potentials in `folder`, whose network has random weights."""
    models = [
        named_model(name, ModelConfig(adapter="ase", options=MORSE | {"arguments": {"epsilon": epsilon, "r0": 2.6}}))
        for name, epsilon in (("soft", 0.3), ("hard", 0.5))
    ]
    options = OPTIONS if meta in ("egat", "conservative") else {}
    stack = Stack(models, meta, options, make_meta(meta, options))
    data = dataset_from_structures([copper(number) for number in range(6)], "copper")
    features = stack.features(data.structures, data)
    training = TrainingConfig(epochs=0, device="cpu").with_defaults({"batch_size": 2})
    (folder / "fit").mkdir(parents=True)
    stack.meta.fit(FitRequest(features, features, training, folder / "fit", seed, lambda _: None))
    if isinstance(stack.meta, NeuralMeta):  # at the start its last layer is zero
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in stack.meta.network.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    stack.save(folder / "stack")
    return folder / "stack"


@pytest.fixture(scope="module", params=["egat", "conservative"])
def compiled(request, tmp_path_factory) -> tuple[Path, Path]:
    """Return the folder of a stack, and the cache in which the command has put its compiled network."""
    folder = tmp_path_factory.mktemp(request.param)
    stack, cache = made(folder, request.param), folder / "cache"
    # With as many atoms as neighbours and base models, which the traced network must not take for the same number.
    write(folder / "cell.extxyz", STRUCTURES["two atoms"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMLFF_CACHE", str(cache))
        main(["compile", str(stack), "--structure", str(folder / "cell.extxyz"), "--trust"])
    return stack, cache


def with_and_without(compiled: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Stack, Stack]:
    """Return the stack with its compiled network, and without."""
    stack, cache = compiled
    without = load_stack(stack, trust=True, device="cpu")
    monkeypatch.setenv("ELMLFF_CACHE", str(cache))
    return load_stack(stack, trust=True, device="cpu"), without


def uses_the_library(stack: Stack, atoms: Atoms) -> bool:
    graphs = stack.meta._graphs_to_predict(stack.features([atoms]))
    return stack.meta.network.compiled.outputs(graphs.batch([0])) is not None


@pytest.mark.parametrize("name", STRUCTURES)
def test_it_predicts_the_same_for_other_numbers_of_atoms(compiled, name, monkeypatch):
    fast, plain = with_and_without(compiled, monkeypatch)
    atoms = STRUCTURES[name].copy()
    atoms.rattle(0.05, seed=1)
    assert not uses_the_library(plain, atoms)
    assert uses_the_library(fast, atoms) == (len(atoms) > 1)
    found, expected = fast.predict([atoms]), plain.predict([atoms])
    largest = max(1.0, np.abs(expected.forces).max())
    assert np.allclose(found.forces, expected.forces, rtol=0, atol=1e-5 * largest)
    assert np.allclose(found.energy, expected.energy, rtol=0, atol=1e-6 * len(atoms))
    if expected.stress is not None:
        assert np.allclose(found.stress, expected.stress, rtol=0, atol=1e-6)


def test_several_structures_at_once_go_through_the_network_itself(compiled, monkeypatch):
    fast, plain = with_and_without(compiled, monkeypatch)
    several = [copper(60), copper(61)]
    assert np.array_equal(fast.predict(several).forces, plain.predict(several).forces)


def test_a_copy_loads_it_too(compiled, monkeypatch):
    fast, _ = with_and_without(compiled, monkeypatch)
    forces = fast.predict([copper(62)]).forces
    other = copy.deepcopy(fast)
    assert uses_the_library(other, copper(62))
    assert np.array_equal(other.predict([copper(62)]).forces, forces)


def test_other_weights_or_another_processor_do_not_find_it(compiled, monkeypatch, tmp_path):
    stack, cache = compiled
    meta = load_stack(stack, trust=True).meta_name
    other = made(tmp_path, meta, seed=1)
    monkeypatch.setenv("ELMLFF_CACHE", str(cache))
    assert not uses_the_library(load_stack(other, trust=True, device="cpu"), copper(63))
    assert uses_the_library(load_stack(stack, trust=True, device="cpu"), copper(63))
    monkeypatch.setattr("elmlff_core.graphs.compiled._processor", lambda: "another one")
    assert not uses_the_library(load_stack(stack, trust=True, device="cpu"), copper(63))


def test_a_damaged_one_is_left_alone_and_said(compiled, monkeypatch, tmp_path):
    stack, cache = compiled
    shutil.copytree(cache, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "compiled").glob("*/*.pt2")
    path.write_bytes(path.read_bytes()[:1000])
    expected = load_stack(stack, trust=True, device="cpu").predict([copper(64)])
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "cache"))
    damaged = load_stack(stack, trust=True, device="cpu")
    with pytest.warns(UserWarning, match="cannot be loaded.*elmlff compile"):
        found = damaged.predict([copper(64)])
    assert np.array_equal(found.forces, expected.forces)


def test_one_that_fails_is_left_alone_and_said(compiled, monkeypatch):
    fast, plain = with_and_without(compiled, monkeypatch)
    fast.predict([copper(65)])
    (library,) = fast.meta.network.compiled._libraries.values()

    def fail(_: list) -> None:
        raise RuntimeError("run_func_ API call failed")

    monkeypatch.setattr(library, "_run", fail)
    with pytest.warns(UserWarning, match="fails .run_func_ API call failed.*elmlff compile"):
        found = fast.predict([copper(65)])
    assert np.array_equal(found.forces, plain.predict([copper(65)]).forces)
    fast.predict([copper(66)])  # says nothing any more: warnings are errors in the tests


def test_changed_code_does_not_find_it(compiled, monkeypatch):
    stack, cache = compiled
    monkeypatch.setenv("ELMLFF_CACHE", str(cache))
    monkeypatch.setattr("elmlff_core.graphs.compiled.source_digest", lambda folder: f"other code of {folder}")
    assert not uses_the_library(load_stack(stack, trust=True, device="cpu"), copper(63))


def test_compiled_again_it_is_compared_with_the_network_itself(compiled, monkeypatch):
    fast, _ = with_and_without(compiled, monkeypatch)
    fast.meta.leave_compiled()
    assert fast.meta.network.compiled is None
    monkeypatch.setattr(fast.meta._compiled, "compile", lambda *_: None)  # it is there; another takes half a minute
    found = compile_stack(fast, copper(67), Reporter())
    assert 0 < found.difference < 1e-4, "both forms predict, with other rounding"
    assert uses_the_library(fast, copper(67))


def test_the_mean_of_several_fits_is_predicted_each_time(compiled, monkeypatch):
    fast, other = with_and_without(compiled, monkeypatch)[0], load_stack(compiled[0], trust=True, device="cpu")
    monkeypatch.setattr(CompiledNetworks, "compile", lambda *_: None)
    averaged = replace(fast, meta=FitAverage([fast.meta, other.meta]))
    found = compile_stack(averaged, copper(68), Reporter())
    assert 0 < found.difference < 1e-4, "both forms predict, with other rounding"
    assert uses_the_library(fast, copper(68))


def test_one_that_predicts_something_else_is_not_kept(compiled, monkeypatch, tmp_path):
    stack, cache = compiled
    (path,) = (cache / "compiled").glob("*/*.pt2")
    other = load_stack(made(tmp_path, load_stack(stack, trust=True).meta_name, seed=2), trust=True, device="cpu")
    monkeypatch.setattr("elmlff_core.graphs.compiled._compile", lambda network, batch, to: shutil.copy(path, to))
    with pytest.raises(ElmlffError, match="was not kept: its forces differs by"):
        compile_stack(other, STRUCTURES["two atoms"], Reporter())
    assert not list(Path(os.environ["ELMLFF_CACHE"]).glob("compiled/*/*.pt2"))


def test_without_a_compiler_the_error_says_so(tmp_path):
    stack = made(tmp_path, "egat")
    write(tmp_path / "cell.extxyz", copper(50))
    arguments = ["compile", str(stack), "--structure", str(tmp_path / "cell.extxyz"), "--trust"]
    ended = subprocess.run(
        [sys.executable, "-m", "elmlff_core", *arguments], capture_output=True, text=True, check=False,
        env=os.environ | {"CXX": str(tmp_path / "no-compiler")},
    )  # fmt: skip
    assert ended.returncode == 1
    assert "It needs a C++ compiler" in ended.stderr
    assert not list(Path(os.environ["ELMLFF_CACHE"]).glob("compiled/*/*.pt2"))


@pytest.mark.parametrize("meta", ["linear", "mean"])
def test_meta_models_without_a_network_are_refused(meta, tmp_path):
    with pytest.raises(ElmlffError, match="no network"):
        compile_stack(load_stack(made(tmp_path, meta), trust=True), copper(50), Reporter())


def test_so_is_a_structure_without_neighbours(tmp_path):
    loaded = load_stack(made(tmp_path, "egat"), trust=True, device="cpu")
    with pytest.raises(ElmlffError, match="atoms that have neighbours"):
        compile_stack(loaded, STRUCTURES["one atom"], Reporter())
