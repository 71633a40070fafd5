"""Generations: a later run keeps the test structures, the validation structures and the settings of an earlier one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from elmlff_core.cli.options import refuse_code_of_others
from elmlff_core.data.content import are_among, signatures
from elmlff_core.data.earlier import EarlierSplits
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.files import write_record
from elmlff_core.settings.config import Config, DataConfig
from elmlff_core.settings.inheritance import given_settings
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.stack.workflow import StackRun, build_stack, plan_stack
from tests.cli.small_data import elmlff
from tests.stack.copper import MORSE, copper

MODELS = {
    name: {"adapter": "ase", "options": MORSE | {"arguments": {"epsilon": epsilon, "r0": 2.6}}}
    for name, epsilon in (("soft", 0.3), ("hard", 0.5))
}
FIRST, LATER = range(30), range(100, 120)
SETTINGS = {"base_models": ["soft", "hard"], "models": MODELS, "meta": {"name": "linear,mean"}, "seed": 3}


def write(path: Path, seeds: Sequence[int]) -> str:
    """Write labelled structures of copper, one for each seed, and return the path."""
    structures = []
    for seed in seeds:
        atoms = copper(seed)
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        structures.append(atoms)
    ase.io.write(path, structures)
    return str(path)


def built(folder: Path, name: str, data: str, earlier: Path | None = None, test: str | None = None) -> StackRun:
    """Build a stack in `folder`; a later one is given no settings but its data."""
    values = {"data": {"train": data, "test": test, "earlier_run": None if earlier is None else str(earlier)}}
    config = read_config(None, values if earlier is not None else SETTINGS | values)
    return build_stack(config, folder / name)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chain of three runs: ``first`` of 30 structures, ``second`` of 50 and ``third`` of 54."""
    folder = tmp_path_factory.mktemp("generations")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ELMLFF_CACHE", str(folder / "cache"))
        patch.setenv("ELMLFF_TRUST_STORE", str(folder / "trust.json"))
        built(folder, "first", write(folder / "few.extxyz", FIRST))
        # The earlier structures stand behind the new ones, in another order.
        built(folder, "second", write(folder / "more.extxyz", [*LATER, *reversed(FIRST)]), folder / "first")
        most = write(folder / "most.extxyz", [*FIRST, *LATER, *range(200, 204)])
        built(folder, "third", most, folder / "second")
    return folder


@pytest.fixture(autouse=True)
def _in_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("ELMLFF_CACHE", str(workplace / "cache"))
    monkeypatch.setenv("ELMLFF_TRUST_STORE", str(workplace / "trust.json"))


def splits_of(run: Path) -> Splits:
    return read_splits(read_config(run / "config.toml").data)


def within(some: Sequence[Atoms], others: Sequence[Atoms]) -> np.ndarray:
    return are_among(signatures(some), signatures(others))


def test_structures_stay_what_they_were(workplace: Path) -> None:
    first, second, third = (splits_of(workplace / name) for name in ("first", "second", "third"))
    assert [len(one.test) for one in (first, second, third)] == [6, 6, 6]
    assert [len(one.valid) for one in (first, second, third)] == [2, 4, 5]  # a tenth of 24, 44 and 48
    assert [one.n_new for one in (first, second, third)] == [None, 20, 4]
    for earlier, later in ((first, second), (second, third)):
        for split in ("train", "valid", "test"):
            assert within(getattr(earlier, split).structures, getattr(later, split).structures).all()
        for split in ("train", "valid"):
            assert not within(getattr(later, split).structures, earlier.test.structures).any()
    indices = np.concatenate([third.train_index, third.valid_index, third.test_index])
    assert sorted(indices) == list(range(54))


def test_settings_are_those_of_the_earlier_run(workplace: Path) -> None:
    given = Config.model_validate(SETTINGS)
    found = read_config(None, {"data": {"train": "more.extxyz", "earlier_run": "second"}})
    assert (found.base_models, found.models, found.seed) == (given.base_models, given.models, 3)
    assert found.meta == given.meta
    assert found.data.train == "more.extxyz"
    other = read_config(None, {"data": {"earlier_run": "first"}, "meta": {"name": "egat"}, "base_models": ["soft"]})
    assert other.meta == {"name": "egat"}
    assert other.base_models == ("soft",)


def test_what_budgets_fill_in_is_not_inherited(workplace: Path) -> None:
    """The number of epochs of a budget depends on the number of structures."""
    record = json.loads((workplace / "first" / "generation.json").read_text())
    assert set(record["settings"]) == {"base_models", "models", "meta", "seed", "data"}
    assert record["settings"]["data"] == {}
    given = given_settings(read_config(None, {"training": {"learning_rate": 0.01}, "base_models": ["soft"]}))
    assert given == {"training": {"learning_rate": 0.01}, "base_models": ["soft"]}


def test_the_errors_of_all_generations_are_in_each_run(workplace: Path) -> None:
    runs = [json.loads((workplace / name / "metrics.json").read_text()) for name in ("first", "second", "third")]
    assert [len(run["generations"]) for run in runs] == [1, 2, 3]
    for run, generation in zip(runs, runs[2]["generations"], strict=True):
        errors = {model["name"]: model["errors"]["test"]["rmse_per_frame"] for model in run["errors"]}
        assert generation["base_models"] == {name: errors[name] for name in ("soft", "hard")}
        assert generation["linear"] == errors["stack (linear)"]
        assert generation["stack"] == next(
            model["errors"]["test"]["rmse_per_frame"] for model in run["errors"] if model["chosen"]
        )
        assert generation["n_train"] == len(run["splits"]["train"])
    # Base models that are not trained have the same errors on the same structures.
    errors = [generation["base_models"]["soft"] for generation in runs[2]["generations"]]
    assert errors == pytest.approx([errors[0]] * 3, rel=1e-9)
    rows = list(csv.DictReader((workplace / "third" / "generations.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == ["first"] * 4 + ["second"] * 4 + ["third"] * 4
    page = (workplace / "third" / "report.html").read_text()
    assert "Force errors on test structures over the generations" in page
    assert not (workplace / "first" / "generations.csv").exists()


def test_the_chain_outlives_its_first_folder(workplace: Path, tmp_path: Path) -> None:
    shutil.move("first", tmp_path / "first")
    try:
        run = built(tmp_path, "again", "most.extxyz", workplace / "second")
        assert [one.run for one in run.generations] == ["first", "second", "again"]
    finally:
        shutil.move(tmp_path / "first", "first")


def test_missing_test_structures_are_an_error(workplace: Path, tmp_path: Path) -> None:
    tested = splits_of(workplace / "first").test_index
    seeds = [seed for seed in FIRST if seed not in tested[:2]]
    data = DataConfig(train=write(tmp_path / "some.extxyz", [*seeds, *LATER]), earlier_run="first")
    with pytest.raises(DataError, match=r"2 of the 6 test structures of first are not in .*some.extxyz.*--test"):
        read_splits(data)


def test_copies_of_test_structures_are_not_learnt_from(workplace: Path, tmp_path: Path) -> None:
    tested = splits_of(workplace / "first").test_index.tolist()
    found = read_splits(
        DataConfig(train=write(tmp_path / "twice.extxyz", [*FIRST, *tested, *LATER]), earlier_run="first")
    )
    assert found.test_index.tolist() == tested
    assert len(found.train) + len(found.valid) + len(found.test) == 50
    assert not within(found.train.structures, found.test.structures).any()


def test_test_structures_of_its_own_stay_the_test_set(workplace: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.extxyz", range(300, 308))
    run = built(tmp_path, "two", "more.extxyz", workplace / "first", test)
    assert any("test structures are not those of" in note for note in run.notes)
    assert [one.run for one in run.generations] == ["two"]
    found = splits_of(run.folder)
    assert len(found.test) == 8
    assert len(found.train) + len(found.valid) == 50
    # From there on the file is inherited.
    last = built(tmp_path, "three", "most.extxyz", run.folder)
    assert [one.run for one in last.generations] == ["two", "three"]
    assert EarlierSplits.load(last.folder).same_test(read_dataset(test).structures)


@pytest.mark.parametrize("missing", ["generation.json", "metrics.json", "splits.safetensors"])
def test_a_folder_without_a_finished_run_is_refused(missing: str, workplace: Path, tmp_path: Path) -> None:
    shutil.copytree("first", tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(ElmlffError, match="run the command of that run again"):
        plan_stack(read_config(None, {"data": {"train": "more.extxyz", "earlier_run": str(tmp_path / "run")}}))


def test_a_run_of_an_earlier_elmlff_is_completed_by_its_command(workplace: Path, tmp_path: Path) -> None:
    shutil.copytree("first", tmp_path / "first")
    for name in ("generation.json", "splits.safetensors"):
        (tmp_path / "first" / name).unlink()
    built(tmp_path, "first", str(workplace / "few.extxyz"))
    for name in ("generation.json", "splits.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (workplace / "first" / name).read_bytes()


def test_code_of_a_run_from_elsewhere_is_refused(workplace: Path, tmp_path: Path) -> None:
    shutil.copytree("first", tmp_path / "first")
    record = json.loads((tmp_path / "first" / "generation.json").read_text())
    record["settings"]["models"]["soft"]["options"]["calculator"] = "theirs:Calculator"
    write_record(tmp_path / "first" / "generation.json", record)
    config = read_config(None, {"data": {"train": "more.extxyz", "earlier_run": str(tmp_path / "first")}})
    with pytest.raises(ElmlffError, match="first is not trusted: its base model 'soft' runs"):
        refuse_code_of_others(config, None, False, None)
    refuse_code_of_others(config, None, True, None)
    refuse_code_of_others(read_config(None, {"data": {"earlier_run": "first"}}), None, False, None)


def test_the_command_prints_the_generations(workplace: Path) -> None:
    found = elmlff(
        workplace, "stack", "--from", "second", "--data", str(workplace / "most.extxyz"), "--output", "third"
    )
    assert "third is complete" in found.stdout
    rows = [line.split() for line in found.stdout.splitlines() if line.startswith("│")]
    assert [row[1] for row in rows if row[1] in ("first", "second", "third")] == ["first", "second", "third"]
