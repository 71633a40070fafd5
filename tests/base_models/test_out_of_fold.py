"""Out-of-fold features: each structure is predicted by a base model that was not trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel, resolve_model
from elmlff_core.base_models.out_of_fold import Retraining, make_folds, out_of_fold
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import TrainingRequest
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.errors import DataError
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.stack.workflow import build_stack
from tests.cli.small_data import write_small_data

TINY_NEP = {
    "adapter": "nep",
    "options": {"steps": 3, "neuron": 4, "n_max": [2, 2], "basis_size": [4, 4], "batch_size": 8},
}
N_FOLDS = 3


def settings(folder: Path, **more: Any) -> Config:
    """Return settings with the small dataset, a NEP that is trained, and Lennard-Jones, which is not."""
    values = {"base_models": ["lj", "tiny"], "models": {"tiny": TINY_NEP}, "meta": {"name": "linear"}, "folds": N_FOLDS}
    values["resources"] = {"workers": 1}  # in this process, where the tests watch the trainings
    return read_config(folder / "elmlff.toml", values | more)


@pytest.fixture(scope="module")
def seen() -> dict[Path, set[bytes]]:
    """The training structures of each directory; filled by `workplace`."""
    return {}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, seen: dict[Path, set[bytes]]) -> Path:
    """The folder of a finished run with folds."""
    pytest.importorskip("calorine", reason="adapter nep needs calorine")
    pytest.importorskip("neppo", reason="training of adapter nep needs neppo")
    from elmlff_plugins.nep.adapter import NEPTrainer

    folder = tmp_path_factory.mktemp("folds")
    write_small_data(folder)
    train = NEPTrainer.train

    def noting(trainer: NEPTrainer, request: TrainingRequest) -> Path:
        seen[request.directory] = {atoms.positions.tobytes() for atoms in request.train.structures}
        return train(trainer, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMLFF_CACHE", str(folder / "cache"))
        patch.setattr(NEPTrainer, "train", noting)
        build_stack(settings(folder), folder / "run", folder / "models")
    return folder


@pytest.fixture
def splits(workplace: Path) -> Splits:
    return read_splits(settings(workplace).data)


@pytest.fixture
def models(workplace: Path, splits: Splits) -> list[NamedModel]:
    """The base models of the run, with the checkpoint of the training on all training structures."""
    models = [resolve_model(settings(workplace), name) for name in ("lj", "tiny")]
    (record,) = (workplace / "models").glob("tiny-*/trained.json")
    models[1].checkpoint = record.parent / json.loads(record.read_text())["checkpoint"]
    return models


def forces_without(seen: dict[Path, set[bytes]], structures: list[Atoms]) -> np.ndarray:
    """Return forces on `structures` from calorine with the only checkpoint that was trained on none of them."""
    from calorine.calculators import CPUNEP

    keys = {atoms.positions.tobytes() for atoms in structures}
    (directory,) = (folder for folder, known in seen.items() if not known & keys)
    assert len(seen[directory]) + len(keys) == max(map(len, seen.values()))  # trained on all other structures
    checkpoint = directory / json.loads((directory / "trained.json").read_text())["checkpoint"]
    forces = []
    for atoms in structures:
        boxed = atoms.copy()
        boxed.center(vacuum=20.0)
        boxed.pbc = True
        boxed.calc = CPUNEP(str(checkpoint))
        forces.append(boxed.get_forces())
    return np.array(forces)


def test_each_structure_is_predicted_by_a_base_model_not_trained_on_it(
    workplace: Path,
    splits: Splits,
    models: list[NamedModel],
    seen: dict[Path, set[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compare with calorine itself and the checkpoint that was trained without the structure."""
    monkeypatch.setenv("ELMLFF_CACHE", str(workplace / "cache"))
    config = settings(workplace)
    cache, reporter = FeatureCache(), Reporter()
    in_sample = dataset_features(models, splits.train, cache, reporter)
    folds = make_folds(splits, config)
    retraining = Retraining(splits, config.seed, workplace / "models", cache, reporter)
    found = out_of_fold(models[1:], in_sample, folds, retraining)
    held_out = json.loads((workplace / "run" / "metrics.json").read_text())["folds"]
    assert sorted(index for fold in held_out for index in fold) == sorted(splits.train_index.tolist())
    position = {index: row for row, index in enumerate(splits.train_index.tolist())}
    for fold in held_out:
        expected = forces_without(seen, [splits.source.structures[index] for index in fold])
        for index, forces in zip(fold, expected, strict=True):
            rows = slice(5 * position[index], 5 * position[index] + 5)
            np.testing.assert_allclose(found.forces[1, rows], forces, atol=1e-5)
            assert np.abs(found.forces[1, rows] - in_sample.forces[1, rows]).max() > 1e-3
    assert np.array_equal(found.forces[0], in_sample.forces[0])  # Lennard-Jones stays as it is


def test_energies_of_a_fold_have_the_zero_of_the_base_model_trained_on_all(
    workplace: Path, splits: Splits, models: list[NamedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All structures are methane, so a constant per fold makes the mean difference of energies zero."""
    monkeypatch.setenv("ELMLFF_CACHE", str(workplace / "cache"))
    config = settings(workplace)
    cache, reporter = FeatureCache(), Reporter()
    in_sample = dataset_features(models, splits.train, cache, reporter)
    retraining = Retraining(splits, config.seed, workplace / "models", cache, reporter)
    folds = make_folds(splits, config)
    found = out_of_fold(models[1:], in_sample, folds, retraining)
    for fold in folds:
        raw = retraining.features(models[1], fold).energies["tiny"]
        shift = found.energies["tiny"][fold.index] - raw
        assert np.allclose(shift, shift[0], atol=1e-8)
        assert np.mean(found.energies["tiny"][fold.index] - in_sample.energies["tiny"][fold.index]) == pytest.approx(
            0, abs=1e-8
        )


def test_the_meta_model_learnt_from_out_of_fold_features(
    workplace: Path, splits: Splits, seen: dict[Path, set[bytes]]
) -> None:
    """The training error of a base model with folds is that of the checkpoints of its folds."""
    metrics = json.loads((workplace / "run" / "metrics.json").read_text())
    errors: list[float] = []
    for fold in metrics["folds"]:
        found = forces_without(seen, [splits.source.structures[index] for index in fold])
        expected = np.array([splits.source.forces_of(index) for index in fold])
        errors += np.sqrt(((found - expected) ** 2).mean(axis=(1, 2))).tolist()
    (row,) = (row for row in metrics["errors"] if row["name"] == "tiny")
    assert row["errors"]["train"]["rmse_per_frame"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_run_reports_which_features_are_out_of_fold(workplace: Path) -> None:
    notes = json.loads((workplace / "run" / "metrics.json").read_text())["notes"]
    assert notes[0] == "features of tiny on training structures are out-of-fold, from 3 folds"
    assert notes[1].startswith("lj cannot be retrained on folds, because elmlff does not train them")
    assert not any("sees smaller errors" in note for note in notes)


def test_another_run_finds_the_trainings_of_the_folds(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMLFF_CACHE", str(workplace / "cache"))
    before = {path: path.stat().st_mtime_ns for path in (workplace / "models").rglob("*") if path.suffix != ".lock"}
    cached = {path: path.stat().st_mtime_ns for path in (workplace / "cache").rglob("*.safetensors")}
    build_stack(settings(workplace, meta={"name": "mean"}), workplace / "other", workplace / "models")
    assert len(list((workplace / "models" / "folds").iterdir())) == N_FOLDS
    after = {path: path.stat().st_mtime_ns for path in before if path.is_file()}
    assert after == {path: time for path, time in before.items() if path.is_file()}
    assert {path: path.stat().st_mtime_ns for path in (workplace / "cache").rglob("*.safetensors")} == cached


def test_a_given_checkpoint_is_not_retrained(
    workplace: Path, models: list[NamedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELMLFF_CACHE", str(workplace / "cache"))
    given = {"tiny": {"adapter": "nep", "checkpoint": str(models[1].checkpoint)}}
    run = build_stack(settings(workplace, models=given), workplace / "given", workplace / "unused")
    assert not (workplace / "unused").exists()
    assert [note.partition(" cannot be retrained")[0] for note in run.notes if "fold" in note] == ["lj, tiny"]


def test_an_element_of_one_fold_alone_is_refused() -> None:
    dataset = read_dataset("methane").subset(range(6))
    odd = dataset.structures[3].copy()
    odd.symbols[0] = "Si"
    structures = [*dataset.structures[:3], odd, *dataset.structures[4:]]
    source = Dataset(structures, dataset.forces, dataset.energy)
    splits = Splits(source, None, np.arange(5), np.array([5]), np.array([5]))
    with pytest.raises(DataError, match=r"fold \d of 2 alone contains Si"):
        make_folds(splits, Config(folds=2))
