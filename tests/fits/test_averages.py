"""The average of fits with different seeds as a meta-model, and as the stack of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.data.readers import read_dataset
from elmlff_core.errors import ElmlffError
from elmlff_core.meta.mixture import Mixture
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.conservation import why_not_conserved
from elmlff_core.stack.stack import load_stack
from elmlff_core.workflows.stack.workflow import StackRun, build_stack, plan_stack
from tests.stack.copper import MORSE, copper

SEEDS = 2


def settings(folder: Path) -> Config:
    frames = folder / "copper.extxyz"
    if not frames.exists():
        ase.io.write(frames, [copper(seed) for seed in range(24)])
    models = {
        name: {"adapter": "ase", "options": MORSE | {"arguments": {"epsilon": epsilon, "r0": 2.6}}}
        for name, epsilon in (("soft", 0.3), ("hard", 0.5))
    }
    narrow = {"width": 8, "layers": 1, "heads": 2}
    overlay = {
        "models": models, "base_models": list(models), "data": {"train": str(frames)}, "geometry_only": True,
        "seeds": SEEDS, "average": True,
        "training": {"epochs": 10, "batch_size": 4, "learning_rate": 0.01, "device": "cpu"},
        "meta": {"name": "egat,conservative", "egat": {**narrow, "variance": True}, "conservative": narrow},
    }  # fmt: skip
    return read_config(None, overlay, [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StackRun:
    folder = tmp_path_factory.mktemp("averages")
    return build_stack(settings(folder), folder / "run", reporter=Reporter())


def test_it_errs_less_than_its_members_and_is_the_stack(run: StackRun) -> None:
    errors = {model.name: model for model in run.errors}
    for name in ("egat", "conservative"):
        for pattern in ("stack ({})", "{}, geometry only"):
            single = errors[pattern.format(name)]
            average = errors[pattern.format(f"{name}, mean of {SEEDS} seeds")]
            assert average.headline < single.headline
            assert average.averaged == SEEDS
            assert average.n_parameters == SEEDS * single.n_parameters
    (chosen,) = (model for model in run.errors if model.chosen)
    assert chosen.averaged >= SEEDS
    assert f"compared with {chosen.meta}, mean of {SEEDS} seeds, geometry only" in run.summary
    record = json.loads((run.folder / "metrics.json").read_text())
    assert record["meta"]["averaged"] == SEEDS
    assert sum(fit["averaged"] == SEEDS for fit in record["fits"]) == 8
    assert sum(fit["with_geometry_only"] for fit in record["fits"]) == 3


@pytest.mark.parametrize("name", ["egat", "conservative"])
def test_fits_on_geometry_only_can_be_among_them(run: StackRun, name: str) -> None:
    errors = {model.name: model for model in run.errors}
    mixed = errors[f"stack ({name}, mean of {SEEDS} seeds with and without base models)"]
    assert mixed.averaged == 2 * SEEDS
    alone = errors[f"stack ({name}, mean of {SEEDS} seeds)"]  # as the mixed one would be with a weight of zero
    assert mixed.errors["valid"]["rmse_per_frame"] <= alone.errors["valid"]["rmse_per_frame"] * (1 + 1e-9)
    stack = load_stack(run.folder / "stacks" / f"{name}-with-geometry-only-{SEEDS}seeds")
    features = stack.features(read_dataset(str(run.folder.parent / "copper.extxyz")).structures[:5])
    seen = [one.predict(features) for one in stack.meta.members]
    unseen = [one.predict(features.of_models(())) for one in stack.meta.on_geometry]
    assert len(seen) == len(unseen) == SEEDS
    found = stack.combine(features)
    share = stack.meta.geometry_share
    parts = [np.mean([one.forces for one in some], axis=0) for some in (seen, unseen)]
    assert np.allclose(found.forces, (1 - share) * parts[0] + share * parts[1], rtol=0, atol=1e-12)
    energy = np.mean([one.energy for one in seen], axis=0)
    if name == "conservative":  # the other one has no energy without base models
        energy = (1 - share) * energy + share * np.mean([one.energy for one in unseen], axis=0)
    assert np.allclose(found.energy, energy, rtol=0, atol=1e-9)
    if share:
        std = np.sqrt(sum(
            weight / SEEDS * ((one.forces - found.forces) ** 2).mean(axis=1)
            for weight, some in ((1 - share, seen), (share, unseen)) for one in some
        ))  # fmt: skip
        assert np.all(stack.meta.forces_std(features) >= std * (1 - 1e-9))


@pytest.mark.parametrize("name", ["egat", "conservative"])
def test_its_prediction_is_the_mean_of_those_of_its_members(run: StackRun, name: str) -> None:
    stack = load_stack(run.folder / "stacks" / f"{name}-{SEEDS}seeds")
    features = stack.features(read_dataset(str(run.folder.parent / "copper.extxyz")).structures[:5])
    found, members = stack.combine(features), [one.predict(features) for one in stack.meta.members]
    assert len(members) == SEEDS
    assert np.ptp([one.forces for one in members], axis=0).max() > 1e-3  # they differ
    assert np.allclose(found.forces, np.mean([one.forces for one in members], axis=0), rtol=0, atol=1e-12)
    assert np.allclose(found.energy, np.mean([one.energy for one in members], axis=0), rtol=0, atol=1e-9)
    assert stack.uncertainty.kind == "seeds"
    if name == "conservative":
        spread = np.sqrt(np.var([one.forces for one in members], axis=0).mean(axis=1))
        assert np.allclose(stack.meta.forces_std(features), spread, rtol=1e-9)
        assert np.allclose(found.stress, np.mean([one.stress for one in members], axis=0), rtol=0, atol=1e-12)
        return
    learnt = np.mean([one.forces_std(features) ** 2 for one in stack.meta.members], axis=0)
    spread = np.var([one.forces for one in members], axis=0).mean(axis=1)
    assert np.allclose(stack.meta.forces_std(features), np.sqrt(learnt + spread), rtol=1e-6)


def test_the_stack_of_one_seed_is_kept_too(run: StackRun) -> None:
    single = load_stack(run.folder / "stacks" / "egat")
    average = load_stack(run.folder / "stacks" / f"egat-{SEEDS}seeds")
    structures = [copper(50)]
    first = average.meta.members[0].predict(average.features(structures))
    assert np.array_equal(first.forces, single.predict(structures).forces)


def test_an_average_is_not_fitted(run: StackRun) -> None:
    with pytest.raises(ElmlffError, match="fit its meta-models, and average these fits"):
        load_stack(run.folder).meta.fit(None)


@pytest.mark.parametrize("metas", ["egat", "linear,egat"])
def test_one_seed_of_one_network_cannot_be_averaged(tmp_path: Path, metas: str) -> None:
    config = settings(tmp_path).model_copy(update={"seeds": 1, "geometry_only": False, "meta": {"name": metas}})
    with pytest.raises(ElmlffError, match="nothing to average with one seed of one network: take several seeds"):
        plan_stack(config)


@pytest.mark.parametrize("geometry", [False, True])
def test_the_mean_of_different_meta_models_is_a_stack_of_its_own(run: StackRun, geometry: bool) -> None:
    both = " with and without base models" if geometry else ""
    errors = {model.name: model for model in run.errors}
    mixed = errors[f"stack (mean of egat and conservative, of {SEEDS} seeds{both})"]
    assert mixed.averaged == 2 * SEEDS * (1 + geometry)
    parts = [errors[f"stack ({name}, mean of {SEEDS} seeds{both})"] for name in ("egat", "conservative")]
    assert mixed.n_parameters == sum(part.n_parameters for part in parts)
    best = min(part.errors["valid"]["rmse_per_frame"] for part in parts)
    assert mixed.errors["valid"]["rmse_per_frame"] <= best * (1 + 1e-9)  # a weight of zero leaves one out
    middle = "-with-geometry-only" if geometry else ""
    stack = load_stack(run.folder / "stacks" / f"egat+conservative{middle}-{SEEDS}seeds")
    for name in ("egat", "conservative"):
        assert stack.meta_options[name] == load_stack(run.folder / "stacks" / name).meta_options
    features = stack.features(read_dataset(str(run.folder.parent / "copper.extxyz")).structures[:5])
    found, members = stack.combine(features), [one.predict(features) for one in stack.meta.members]
    weights = stack.meta.weights
    assert sum(weights) == pytest.approx(1)
    assert np.allclose(found.forces, np.tensordot(weights, [one.forces for one in members], 1), rtol=0, atol=1e-12)
    # The one that learns an energy gives it, and the stress.
    one = members[1] if weights[1] else members[0]
    assert np.allclose(found.energy, one.energy, rtol=0, atol=1e-9)
    assert (found.stress is None) == (one.stress is None)
    variance = sum(
        weight * (part.forces_std(features) ** 2 + ((one.forces - found.forces) ** 2).mean(axis=1))
        for weight, part, one in zip(weights, stack.meta.members, members, strict=True)
    )
    assert np.allclose(stack.meta.forces_std(features), np.sqrt(variance), rtol=1e-9)
    assert "not conserved" in str(why_not_conserved(stack))


def test_weights_of_a_mixture_are_those_of_the_lowest_validation_error() -> None:
    data = dataset_from_structures([copper(seed) for seed in range(4)], "copper")
    features = Features.from_predictions(data.structures, {}, data)
    truth = features.reference_forces
    off = np.random.default_rng(0).normal(size=truth.shape)
    mixture = Mixture([Told(truth + 0.3 * off), Told(truth - 0.7 * off)], [False, False])
    mixture.weigh(features)
    assert mixture.weights == [0.7, 0.3]
    assert np.allclose(mixture.predict(features).forces, truth, atol=1e-12)
    # Of three the second is exact, and nothing that the others add makes it better.
    mixture = Mixture([Told(truth + off), Told(truth), Told(truth + 2 * off)], [False, True, False])
    mixture.weigh(features)
    assert mixture.weights == [0, 1, 0]


@dataclass
class Told(MetaModel):
    """A meta-model that was told the forces."""

    forces: np.ndarray

    def predict(self, features: Features) -> Prediction:
        return Prediction(features.n_atoms, self.forces)
