"""Work done ahead by worker processes: the numbers are those of one process, and large datasets are cut in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.out_of_fold import make_folds
from elmlff_core.data.readers import read_dataset
from elmlff_core.fits import tasks
from elmlff_core.fits.fit import fits_of
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows import ahead
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.stack.workflow import build_stack, trainings_of
from elmlff_core.workflows.sweep.workflow import SweepRequest, sweep
from tests.cli.small_data import write_small_data
from tests.trained_models import find_plugin

OPTIONS = {"steps": 20, "n_atom_basis": 8, "n_interactions": 1, "batch_size": 8, "cutoff": 4.0, "device": "cpu"}
TINY = {"adapter": "schnet", "options": OPTIONS}
WIDER = {"adapter": "schnet", "options": OPTIONS | {"n_atom_basis": 12}}
LOGS = {
    "training-tiny.log", "training-wider.log", "training-tiny-without-fold-1-of-2.log", "fitting-gat.log",
    "fitting-gat-seed1.log",
}  # fmt: skip


def settings(folder: Path, workers: int) -> Config:
    more = {
        "base_models": ["tiny", "wider", "lj"], "models": {"tiny": TINY, "wider": WIDER}, "meta": {"name": "gat"},
        "folds": 2, "seeds": 2, "resources": {"workers": workers},
    }  # fmt: skip
    return read_config(folder / "elmlff.toml", more)


def without_training(folder: Path, workers: int) -> Config:
    return read_config(folder / "elmlff.toml", {"meta": {"name": "linear"}, "resources": {"workers": workers}})


def errors(folder: Path) -> Any:
    return [(row["name"], row["errors"]) for row in json.loads((folder / "metrics.json").read_text())["errors"]]


def test_worker_processes_give_the_numbers_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_plugin("schnet")
    write_small_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(ahead, "TRAINING_WORTH_A_WORKER", 0)
    monkeypatch.setattr(tasks, "AMOUNT_WORTH_A_WORKER", 0)
    for workers in (1, 2):
        monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / f"cache{workers}"))
        build_stack(settings(tmp_path, workers), Path(f"run{workers}"), Path(f"models{workers}"))
    assert errors(tmp_path / "run1") == errors(tmp_path / "run2")
    assert not (tmp_path / "run1" / "tasks").exists()
    found = {path.name for path in (tmp_path / "run2" / "tasks").glob("*.log")}
    assert found >= LOGS


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few structures be a large dataset."""
    monkeypatch.setattr(ahead, "ATOMS_WORTH_A_WORKER", 50)
    monkeypatch.setattr("elmlff_core.base_models.prediction.CHUNK_ATOMS", 15)


def test_a_task_waits_for_what_it_needs_alone(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_plugin("schnet")
    write_small_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ahead, "TRAINING_WORTH_A_WORKER", 0)
    config = read_config(
        tmp_path / "elmlff.toml",
        {"base_models": ["tiny", "lj"], "models": {"tiny": TINY}, "meta": {"name": "gat"}, "folds": 2,
         "geometry_only": True, "resources": {"workers": 2}},
    )  # fmt: skip
    inputs = read_inputs(config)
    fits = trainings_of(fits_of(resolve_meta_models(config, inputs.splits), config), tmp_path, inputs, tmp_path)
    planned = ahead.Ahead(inputs, tmp_path, FeatureCache(), make_folds(inputs.splits, config), fits)
    of_lj, of_tiny = (
        {f"predicting structures {first} to {last} with {name}" for first, last in ((0, 20), (21, 39))}
        for name in ("lj", "tiny")
    )
    folds = {f"training tiny without fold {number} of 2" for number in (1, 2)}
    of_folds = {
        f"predicting structures of fold {fold}, 0 to {last} with tiny": f"training tiny without fold {fold}"
        for fold, last in (("1 of 2", 14), ("2 of 2", 13))  # a fold is small
    }
    assert {task.name: set(task.after) for task in planned.tasks()} == {
        **{name: set() for name in of_lj},
        "checking units": of_lj,
        "training tiny": {"checking units"},
        **{name: {"training tiny"} for name in of_tiny},
        **{name: {"checking units"} for name in folds},
        **{name: {training} for name, training in of_folds.items()},
        "fitting gat": {*of_lj, "training tiny", *of_tiny, *folds, *of_folds},
        "fitting gat-geometry-only": set(),
    }


SLOW = {"adapter": "schnet", "options": OPTIONS | {"steps": 500}}
PER_SUBSET = SweepRequest(("per-subset",), "tiny,tiny+slow")


def test_a_fit_begins_before_a_base_model_that_it_does_not_need_has_ended(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_plugin("schnet")
    write_small_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    base_models = {"base_models": ["tiny", "slow"], "models": {"tiny": TINY, "slow": SLOW}, "meta": {"name": "gat"}}
    runs = {}
    for executor in ("serial", "tests.workflows.two_workers:executor"):
        name = executor.rpartition(":")[2]
        monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / f"cache-{name}"))
        more = base_models | {"resources": {"executor": executor, "workers": 2}}
        config = read_config(tmp_path / "elmlff.toml", more)
        runs[name] = sweep(config, PER_SUBSET, Path(name), tmp_path / f"models-{name}")
    assert [one.errors for one in runs["executor"].sweep.entries] == [
        one.errors for one in runs["serial"].sweep.entries
    ]
    logs = tmp_path / "executor" / "tasks"
    (trained,) = (tmp_path / "models-executor").glob("slow-*/trained.json")
    began = json.loads((logs / "fitting-gat-with-tiny.status").read_text())["began"]
    assert began < trained.stat().st_mtime
    for name in ("tiny", "slow"):  # in parts, after the training
        assert len(list(logs.glob(f"predicting-structures-*-with-{name}.log"))) == 2


def test_parts_of_a_prediction_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("elmlff_core.base_models.prediction.CHUNK_ATOMS", 15)
    whole = build_stack(without_training(tmp_path, 1), Path("whole"))
    monkeypatch.setenv("ELMLFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ahead, "ATOMS_WORTH_A_WORKER", 50)
    parts = build_stack(without_training(tmp_path, 2), Path("parts"))
    assert errors(whole.folder) == errors(parts.folder)
    assert len(list((tmp_path / "parts" / "tasks").glob("predicting-structures-*-with-lj.log"))) == 2


def test_large_datasets_are_predicted_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_data(tmp_path)
    structures = read_dataset(str(tmp_path / "few.extxyz")).structures
    assert ahead.parts_of(structures, 8) == [range(0, 40, 204)]
    monkeypatch.setattr(ahead, "ATOMS_WORTH_A_WORKER", 50)
    monkeypatch.setattr("elmlff_core.base_models.prediction.CHUNK_ATOMS", 15)
    parts = ahead.parts_of(structures, 3)
    assert [index for part in parts for first in part for index in range(first, min(first + 3, part.stop))] == list(
        range(40)
    )
    assert len(parts) == 3
    assert all(part.start % part.step == 0 for part in parts)
