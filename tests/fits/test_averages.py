"""The average of fits with different seeds as a meta-model, and as the stack of a run."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from elmlff_core.fits.fit import Fit, Fitted, with_averages
from elmlff_core.fits.meta_models import NamedMeta, mixture_of, mixture_of_fits
from elmlff_core.graphs.network import Network, NetworkOutputs
from elmlff_core.meta.mixture import Mixture
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config, TrainingConfig
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.conservation import why_not_conserved
from elmlff_core.stack.stack import Stack, load_stack
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
        "meta": {"name": "egat,conservative", "egat": narrow, "conservative": {**narrow, "variance": False}},
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
    averages = [fit for fit in record["fits"] if fit["averaged"] == SEEDS and "+" not in fit["name"]]
    assert len(averages) == 6
    assert sum(fit["with_geometry_only"] for fit in averages) == 2


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


@pytest.mark.parametrize("name", ["egat", "egat-2seeds", "conservative-2seeds"])
def test_forces_and_their_uncertainty_take_one_evaluation(
    run: StackRun, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = load_stack(run.folder / "stacks" / name)
    evaluated: list[Network] = []
    usual = Network.predicted

    def counted(network: Network, *arguments: Any, **options: Any) -> NetworkOutputs:
        evaluated.append(network)
        return usual(network, *arguments, **options)

    monkeypatch.setattr(Network, "predicted", counted)
    for n in (1, 3):
        evaluated.clear()
        found = stack.predict([copper(seed) for seed in range(60, 60 + n)])
        assert found.forces_std is not None
        assert len(evaluated) == len(set(map(id, evaluated))) == (SEEDS if "seeds" in name else 1)
    found.forces[:] = 0  # what a caller does with its arrays changes no later prediction
    again = stack.predict([copper(seed) for seed in range(60, 63)])
    assert np.abs(again.forces).max() > 0.1


@pytest.mark.parametrize("name", ["egat", "egat-2seeds", "egat-with-geometry-only-2seeds"])
def test_a_calculator_that_has_predicted_can_be_pickled(run: StackRun, name: str) -> None:
    calculator = StackCalculator(str(run.folder / "stacks" / name))
    atoms = copper(70)
    forces = calculator.get_forces(atoms)
    assert np.array_equal(pickle.loads(pickle.dumps(calculator)).get_forces(atoms), forces)


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
    with pytest.raises(ElmlffError, match="nothing to average with one fit: take several seeds"):
        plan_stack(config)


def test_the_mean_of_different_meta_models_is_a_stack_of_its_own(run: StackRun, tmp_path: Path) -> None:
    names = ("egat", "conservative")
    parts = [load_stack(run.folder / "stacks" / f"{name}-{SEEDS}seeds") for name in names]
    mixture = mixture_of_fits("+".join(names), [part.meta for part in parts])
    options = {name: part.meta_options for name, part in zip(names, parts, strict=True)}
    Stack(parts[0].base_models, "+".join(names), options, mixture).save(tmp_path / "mixed")
    stack = load_stack(tmp_path / "mixed")
    assert str(stack.meta) == "0.5 egat + 0.5 conservative"
    features = stack.features(read_dataset(str(run.folder.parent / "copper.extxyz")).structures[:5])
    found, (egat, conservative) = stack.combine(features), [part.combine(features) for part in parts]
    assert np.allclose(found.forces, (egat.forces + conservative.forces) / 2, rtol=0, atol=1e-12)
    assert np.array_equal(found.energy, conservative.energy)  # it alone learns an energy
    assert np.array_equal(found.stress, conservative.stress)
    variance = np.mean([part.meta.forces_std(features) ** 2 for part in parts], axis=0)
    apart = ((egat.forces - conservative.forces) ** 2).mean(axis=1) / 4
    assert np.allclose(stack.meta.forces_std(features), np.sqrt(variance + apart), rtol=1e-9)
    assert stack.meta.n_parameters == sum(part.meta.n_parameters for part in parts)
    assert "not conserved" in str(why_not_conserved(stack))


@pytest.mark.parametrize("alike", [True, False])
def test_a_mixture_that_leaves_one_meta_model_is_no_stack(run: StackRun, alike: bool) -> None:
    def fitted(name: str, forces: np.ndarray) -> Fitted:
        meta = NamedMeta(name, registry().meta_model(name), {}, TrainingConfig())
        return Fitted(Fit(meta, 0), Told(forces), 1.0, None, run.folder)

    data = read_dataset(str(run.folder.parent / "copper.extxyz"))
    valid = Features.from_predictions(data.structures, {}, data)
    truth = valid.reference_forces
    fits = [fitted("egat", truth + 0.1), fitted("conservative", truth - (0.1 if alike else 0.0))]
    said: list[str] = []
    reporter = Reporter()
    reporter.say = said.append  # type: ignore[method-assign]
    assert with_averages(fits, read_config(None, {}, []), valid, reporter) == fits
    assert not said
    mixed = with_averages(fits, read_config(None, {"average": True}, []), valid, reporter)[2:]
    weights = "0.5 egat + 0.5 conservative" if alike else "1.0 conservative"
    assert said == [f"stack (mean of egat and conservative): {weights}, by validation error"]
    assert [one.fit.name for one in mixed] == (["egat+conservative"] if alike else [])


def test_all_parts_of_a_mixture_are_trained_longer() -> None:
    parts = [
        NamedMeta(name, registry().meta_model(name), {}, TrainingConfig(epochs=epochs))
        for name, epochs in (("egat", 10), ("conservative", 20))
    ]
    longer = mixture_of(parts).longer(3)
    fit = Fit(longer, 0, averaged=2)
    assert [(one.meta.name, one.seed, one.meta.training.epochs) for one in fit.members] == [
        ("egat", 0, 30), ("egat", 1, 30), ("conservative", 0, 60), ("conservative", 1, 60),
    ]  # fmt: skip
    assert mixture_of(parts).longer(0.01).parts[1].training.epochs == 1


def test_weights_of_a_mixture_are_those_of_the_lowest_validation_error() -> None:
    data = dataset_from_structures([copper(seed) for seed in range(4)], "copper")
    features = Features.from_predictions(data.structures, {}, data)
    truth = features.reference_forces
    off = np.random.default_rng(0).normal(size=truth.shape)
    mixture = Mixture("ab", [Told(truth + 0.3 * off), Told(truth - 0.7 * off)], [False, False])
    mixture.weigh(features)
    assert str(mixture) == "0.7 a + 0.3 b"
    assert mixture.weights == [0.7, 0.3]
    assert np.allclose(mixture.predict(features).forces, truth, atol=1e-12)
    # Of three the second is exact, and nothing that the others add makes it better.
    mixture = Mixture("abc", [Told(truth + off), Told(truth), Told(truth + 2 * off)], [False, True, False])
    mixture.weigh(features)
    assert mixture.weights == [0, 1, 0]


@dataclass
class Told(MetaModel):
    """A meta-model that was told the forces."""

    forces: np.ndarray

    def predict(self, features: Features) -> Prediction:
        return Prediction(features.n_atoms, self.forces)


@pytest.mark.parametrize("geometry_only", [False, True])
def test_a_mean_with_one_that_has_no_seed_loads_as_it_was_saved(tmp_path, monkeypatch, geometry_only):
    config = settings(tmp_path)
    meta = {"name": "ace,egat", "ace": {"functions": 20}, "egat": config.meta["egat"]}
    config = config.model_copy(update={"meta": meta, "geometry_only": geometry_only})
    # Whatever validation structures say: both count.
    monkeypatch.setattr(Mixture, "weigh", lambda mixture, _: setattr(mixture, "_weights", [0.4, 0.6]))
    found = build_stack(config, tmp_path / "run")
    both = "-with-geometry-only" if geometry_only else ""
    stack = load_stack(tmp_path / f"run/stacks/ace+egat{both}-{SEEDS}seeds", trust=True)
    alone, average = stack.meta.members
    assert [len(getattr(one, "all_members", [one])) for one in (alone, average)] == (
        [2, 2 * SEEDS] if geometry_only else [1, SEEDS]
    )
    title = f"stack (mean of ace and egat, of {SEEDS} seeds{' with and without base models' if geometry_only else ''})"
    (model,) = (one for one in found.errors if one.name == title)
    test = read_dataset(str(tmp_path / "copper.extxyz")).subset(
        json.loads((tmp_path / "run/metrics.json").read_text())["splits"]["test"]
    )
    forces = stack.predict(test.structures).forces
    errors = [
        np.sqrt(np.mean((forces[rows] - test.forces[rows]) ** 2))
        for rows in np.split(np.arange(len(forces)), np.cumsum(test.n_atoms)[:-1])
    ]
    assert np.mean(errors) == pytest.approx(model.errors["test"]["rmse_per_frame"], rel=1e-5)
