"""Evaluations say which of their structures the fit has used, and score them apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.content import SEEN_FILE
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.splits import read_splits
from elmlff_core.errors import DataError, ForceFieldError
from elmlff_core.files import write_record
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.stack import load_stack
from elmlff_core.workflows.evaluate import evaluate_stack
from elmlff_core.workflows.stack.workflow import build_stack
from tests.cli.small_data import elmlff, write_small_data


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished stack of the 40 structures in few.extxyz: 29 training, 3 validation and 8 test."""
    folder = tmp_path_factory.mktemp("seen")
    write_small_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMLFF_CACHE", str(folder / "cache"))
        build_stack(read_config(folder / "elmlff.toml", {"meta": {"name": "linear"}}), folder / "run")
    return folder


def rmse_per_frame(predicted: list[np.ndarray], data: Dataset) -> float:
    errors = [forces - data.forces_of(index) for index, forces in enumerate(predicted)]
    return float(np.mean([np.sqrt((error**2).mean()) for error in errors]))


def test_each_group_of_structures_is_counted_and_scored(workplace: Path) -> None:
    stack, splits = load_stack(workplace / "run"), read_splits(read_config(workplace / "elmlff.toml").data)
    found = evaluate_stack(stack, splits.source, Reporter())
    assert found.counts == {"test": 8, "valid": 3, "train": 29}
    assert found.titles["train"] == "29 used in training"
    assert found.notes[0].startswith("of 40 structures, 29 were used in training and 3 in the validation of this stack")
    for split in ("test", "valid", "train"):
        part = getattr(splits, split)
        predicted = stack.predict(part.structures)
        expected = rmse_per_frame([predicted.forces_of(index) for index in range(len(part))], part)
        assert found.errors[-1].errors[split]["rmse_per_frame"] == pytest.approx(expected)


def test_unseen_structures_alone_have_one_column(workplace: Path) -> None:
    fresh = read_dataset("methane").subset(range(5, 100, 30))
    found = evaluate_stack(load_stack(workplace / "run"), fresh, Reporter())
    assert found.counts == {"test": 4, "valid": 0, "train": 0}
    assert list(found.errors[-1].errors) == ["test"]


def test_the_table_on_the_screen_heads_each_column(workplace: Path) -> None:
    stdout = elmlff(workplace, "evaluate", "run", "--data", "few.extxyz").stdout
    assert all(title in stdout for title in ("8 unseen", "3 used in", "29 used in"))
    assert "note: of 40 structures, 29 were used in training" in stdout
    # The same frames in another order and file, written again from the embedded data.
    dataset = read_dataset("methane").subset([0, 30, 1, 60])
    structures = list(dataset.structures)
    for index, atoms in enumerate(structures):
        atoms.arrays["forces"] = dataset.forces_of(index)
    ase.io.write(workplace / "again.extxyz", structures)
    record = json.loads(elmlff(workplace, "evaluate", "run", "--data", "again.extxyz", "--json").stdout)
    assert record["counts"]["test"] < 4
    assert sum(record["counts"].values()) == 4
    assert record["notes"]


def test_a_stack_without_a_record_says_that_it_cannot_be_known(workplace: Path) -> None:
    stack = replace(load_stack(workplace / "run"), seen=None)
    found = evaluate_stack(stack, read_dataset(workplace / "few.extxyz"), Reporter())
    assert found.counts == {"unknown": 40}
    assert list(found.errors[-1].errors) == ["unknown"]
    assert "it cannot be known how many of the 40 structures were used in the fit" in found.notes[0]


def test_an_older_stack_is_read(workplace: Path) -> None:
    path = workplace / "run" / "stack.json"
    kept, record = path.read_text(), json.loads(path.read_text())
    assert SEEN_FILE in record["files"]
    del record["files"][SEEN_FILE], record["sha256"]
    write_record(path, record)
    try:
        assert load_stack(workplace / "run").seen is None
    finally:
        path.write_text(kept)


def test_predictions_that_are_not_finite_are_refused(workplace: Path) -> None:
    dataset, stack = read_dataset(workplace / "few.extxyz"), load_stack(workplace / "run")

    class Broken:
        def predict(self, features):
            found = stack.meta.predict(features)
            found.forces[7, 1] = np.nan
            return found

    with pytest.raises(ForceFieldError, match=r"non-finite forces for atom 2 of structure 1"):
        evaluate_stack(replace(stack, meta=Broken()), dataset, Reporter())
    with pytest.raises(ForceFieldError, match="non-finite forces for atom 2 of structure 1"):
        replace(stack, meta=Broken()).predict(dataset.structures)


def test_labels_in_other_units_than_those_of_the_stack_are_refused(tmp_path: Path) -> None:
    """A stack of EMT on copper, and labels of EMT without energies in Hartree/Bohr."""
    structures = []
    for seed in range(30):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.arrays["REF_forces"], atoms.calc = atoms.get_forces(), None
        structures.append(atoms)
    ase.io.write(tmp_path / "copper.extxyz", structures)
    emt = {"adapter": "ase", "options": {"calculator": "ase.calculators.emt:EMT"}}
    config = {"models": {"emt": emt}, "meta": {"name": "mean"}, "data": {"train": str(tmp_path / "copper.extxyz")}}
    run = build_stack(Config.model_validate(config), tmp_path / "run")
    dataset = read_dataset(tmp_path / "copper.extxyz")
    evaluate_stack(load_stack(run.folder), dataset, Reporter())
    with pytest.raises(DataError, match=r"in Hartree/Bohr: what the stack predicts is 51.4 times as large"):
        evaluate_stack(load_stack(run.folder), replace(dataset, forces=dataset.forces / 51.42), Reporter())
