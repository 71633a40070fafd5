"""Predictions of many structures that workers share: the numbers of one process, in order, and nothing is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from click.testing import CliRunner

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.cli.main import cli
from elmlff_core.stack.stack import Stack
from elmlff_core.workflows import ahead
from elmlff_core.workflows.predict import ManyStructures, name_in_cache
from tests.stack.copper import morse_stack


def write_labelled(path: Path) -> None:
    """Write 30 cells of copper of 256 and 108 atoms, labelled by effective medium theory, to a file."""
    structures = []
    for seed in range(30):
        atoms = bulk("Cu", cubic=True).repeat(4 if seed % 2 else 3)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        structures.append(atoms)
    ase.io.write(path, structures)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    found = morse_stack(tmp_path)
    found.save(tmp_path / "stack")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(ahead, "ATOMS_WORTH_A_WORKER", 2000)  # of 5460
    return found


def run(*arguments: str) -> str:
    found = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert found.exit_code == 0
    return found.output


def test_workers_that_share_a_prediction_give_the_numbers_of_one_process(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labelled(tmp_path / "copper.extxyz")
    structures, found = ase.io.read(tmp_path / "copper.extxyz", ":"), dict[str, Any]()
    for workers in ("1", "2"):
        cache = tmp_path / f"cache{workers}"
        monkeypatch.setenv("ELMLFF_CACHE", str(cache))
        data = ("stack", "--data", "copper.extxyz", "--workers", workers)
        run("predict", *data, "-o", f"{workers}.extxyz", "--committee")
        assert len(list(cache.glob("features/*/*.safetensors"))) > 4
        assert not list(cache.glob("predictions/*/"))
        found[workers] = json.loads(run("evaluate", *data, "--json"))
        assert (cache / "predictions").exists() == (workers == "2")
    assert (tmp_path / "1.extxyz").read_text() == (tmp_path / "2.extxyz").read_text()
    assert found["1"] == found["2"]
    predicted = ase.io.read(tmp_path / "2.extxyz", ":")
    assert np.array_equal(
        np.concatenate([atoms.positions for atoms in predicted]),
        np.concatenate([atoms.positions for atoms in structures]),
    )
    expected = stack.predict(structures).forces
    assert np.allclose(np.concatenate([atoms.get_forces() for atoms in predicted]), expected, rtol=0, atol=2e-8)


def test_the_cache_tells_structures_apart_by_all_that_a_force_field_reads() -> None:
    plain, charged, described = (bulk("Cu") for _ in range(3))
    charged.set_initial_charges([1.0])
    described.info["charge"] = 1
    names = {name_in_cache([atoms]) for atoms in (plain, charged, described)}
    assert len(names) == 3
    assert name_in_cache([plain, charged]) == name_in_cache([plain.copy(), charged.copy()])


def test_parts_of_a_cached_prediction(tmp_path: Path, stack: Stack) -> None:
    structures = [bulk("Cu", cubic=True).repeat(2) for _ in range(70)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    cache, (model, _) = FeatureCache(), stack.base_models
    many = ManyStructures(stack, structures, name_in_cache(structures), cache)
    whole = cache.compute(
        model.fingerprint, many.fingerprint, structures, model.force_field.predict, 32, lambda _: None
    )
    cached = cache.whole(model.fingerprint, many.fingerprint, 70)
    assert cached is not None
    for first, stop in ((0, 1), (31, 33), (32, 64), (5, 70), (69, 70)):
        part, expected = cached.part(first, stop), whole.subset(range(first, stop))
        assert np.array_equal(part.forces, expected.forces)
        assert np.array_equal(part.energy, expected.energy)
    assert cache.whole(model.fingerprint, many.fingerprint, 71) is None
