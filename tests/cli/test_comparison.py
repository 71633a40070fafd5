"""Several meta-models in one run, with seeds and geometry-only baselines: real commands on few structures."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elmlff_core import load_stack
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.stack import make_meta
from tests.cli.small_data import elmlff, kill_when, n_lines, write_small_data

COMPARE = ("stack", "--meta", "linear,gat", "--geometry-only", "--seeds", "3", "--output", "run")
GAT = {"channels": (8, 8), "averaged_layers": 1}


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def errors_of(folder: Path) -> dict[str, Any]:
    """All errors of a run by model and seed, without times."""
    errors = metrics_of(folder)["errors"]
    return {model["name"]: [model["errors"], [seed["errors"] for seed in model["per_seed"]]] for model in errors}


def per_frame(predicted: np.ndarray, dataset: Any) -> float:
    """Eq. 7 for methane: the mean over frames of the RMSE of 15 components."""
    error = predicted.reshape(len(dataset), 15) - dataset.forces.reshape(len(dataset), 15)
    return float(np.sqrt((error**2).mean(axis=1)).mean())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one run has compared two meta-models, with geometry only and three seeds."""
    folder = tmp_path_factory.mktemp("compare")
    write_small_data(folder)
    (folder / "stdout").write_text(elmlff(folder, *COMPARE).stdout)
    return folder


@pytest.fixture
def models(workplace: Path) -> dict[str, Any]:
    return {model["name"]: model for model in metrics_of(workplace / "run")["errors"]}


@pytest.fixture(scope="module")
def splits(workplace: Path) -> Splits:
    data = read_config(workplace / "elmlff.toml").data
    return read_splits(data)


def test_one_table_has_all_models(workplace: Path, models: dict[str, Any]) -> None:
    assert {name: model["kind"] for name, model in models.items()} == {
        "lj": "base model", "emt": "base model", "mean of the base models": "baseline",
        "gat, geometry only": "baseline", "stack (linear)": "stack", "stack (gat)": "stack",
    }  # fmt: skip
    stdout = (workplace / "stdout").read_text()
    assert "* chosen by its validation error" in stdout
    assert "± standard deviation over 3 seeds" in stdout
    line = next(line for line in stdout.splitlines() if "gat, geometry only" in line)
    for split in ("test", "valid", "train"):
        mean, std = (models["gat, geometry only"][key][split]["rmse_per_frame"] for key in ("errors", "seed_std"))
        assert f"{mean:.4f} ±{std:.4f}" in line
    assert f"{models['gat, geometry only']['n_parameters']:,}" in line


def test_the_stack_of_the_run_is_the_best_on_validation(workplace: Path, models: dict[str, Any]) -> None:
    errors = {name: models[f"stack ({name})"]["errors"]["valid"]["rmse_per_frame"] for name in ("linear", "gat")}
    best = min(errors, key=lambda name: errors[name])
    assert json.loads((workplace / "run" / "stack.json").read_text())["meta"]["name"] == best
    assert [model["name"] for model in models.values() if model["chosen"]] == [f"stack ({best})"]
    assert f"stack ({best}) *" in (workplace / "stdout").read_text()


@pytest.mark.parametrize("name", ["linear", "gat"])
def test_each_meta_model_is_saved_as_a_stack(
    workplace: Path, models: dict[str, Any], splits: Splits, name: str
) -> None:
    """The loaded stack has the errors of the table, of the first seed if there are several."""
    model = models[f"stack ({name})"]
    expected = (model["per_seed"][0] if model["per_seed"] else model)["errors"]["test"]["rmse_per_frame"]
    predicted = load_stack(workplace / "run" / "stacks" / name).predict(splits.test.structures)
    assert per_frame(predicted.forces, splits.test) == pytest.approx(expected, rel=1e-5)


def test_a_closed_form_has_no_seeds_and_no_geometry_only_fit(models: dict[str, Any]) -> None:
    assert models["stack (linear)"]["per_seed"] == []
    assert models["stack (linear)"]["seed_std"] == {}
    assert "linear, geometry only" not in models


@pytest.mark.parametrize("name", ["stack (gat)", "gat, geometry only"])
def test_mean_and_deviation_are_those_of_the_seeds(models: dict[str, Any], name: str) -> None:
    model = models[name]
    assert [fit["seed"] for fit in model["per_seed"]] == [0, 1, 2]
    for split in ("test", "valid", "train"):
        values = [fit["errors"][split]["rmse_per_frame"] for fit in model["per_seed"]]
        assert len(set(values)) == 3
        assert model["errors"][split]["rmse_per_frame"] == pytest.approx(statistics.mean(values))
        assert model["seed_std"][split]["rmse_per_frame"] == pytest.approx(statistics.stdev(values))


def test_another_seed_is_a_run_with_that_seed(workplace: Path, models: dict[str, Any]) -> None:
    elmlff(workplace, "stack", "--meta", "gat", "--seed", "2", "--output", "seed2")
    (alone,) = (model for model in metrics_of(workplace / "seed2")["errors"] if model["name"] == "stack (gat)")
    assert alone["errors"] == models["stack (gat)"]["per_seed"][2]["errors"]
    assert alone["seed_std"] == {}
    assert not (workplace / "seed2" / "stacks").exists()


def geometry_of(splits: Splits, split: str) -> Features:
    dataset = getattr(splits, split)
    return Features(dataset.structures, (), np.zeros((0, 5 * len(dataset), 3)), {}, dataset.labels)


def test_geometry_only_is_the_same_fit_without_base_models(
    workplace: Path, models: dict[str, Any], splits: Splits, tmp_path: Path
) -> None:
    """A fit on structures and labels alone has the errors of the table and the predictions of the saved fit."""
    train, valid, test = (geometry_of(splits, split) for split in ("train", "valid", "test"))
    training = TrainingConfig(epochs=3, batch_size=16, device="cpu").with_defaults({})
    meta = make_meta("gat", GAT)
    meta.fit(FitRequest(train, valid, training, tmp_path, 0, lambda _: None))
    expected = models["gat, geometry only"]["per_seed"][0]["errors"]["test"]["rmse_per_frame"]
    assert per_frame(meta.predict(test).forces, splits.test) == pytest.approx(expected, rel=1e-6)
    saved = make_meta("gat", GAT)
    saved.load(workplace / "run" / "fit" / "gat-geometry-only" / "meta")
    assert np.array_equal(saved.predict(test).forces, meta.predict(test).forces)


def test_the_summary_has_the_difference_to_geometry_only(workplace: Path) -> None:
    elmlff(workplace, "stack", "--meta", "gat", "--geometry-only", "--output", "both")
    metrics = metrics_of(workplace / "both")
    test = {model["name"]: model["errors"]["test"]["rmse_per_frame"] for model in metrics["errors"]}
    gain = test["gat, geometry only"] - test["stack (gat)"]
    assert gain > 0  # gat has no positions as input: without base models it cannot learn the forces
    assert f"The base models lower the error by {gain:.4f} eV/Å, compared with gat, geometry only" in metrics["summary"]


def test_fits_are_recorded_with_time_and_parameters(workplace: Path, models: dict[str, Any]) -> None:
    fits = {fit["name"]: fit for fit in metrics_of(workplace / "run")["fits"]}
    assert set(fits) == {
        "linear", "gat", "gat-seed1", "gat-seed2",
        "gat-geometry-only", "gat-geometry-only-seed1", "gat-geometry-only-seed2",
    }  # fmt: skip
    assert set(fits) == {path.name for path in (workplace / "run" / "fit").iterdir()}
    assert all(fit["epochs"] == 3 and fit["seconds"] > 0 for name, fit in fits.items() if name != "linear")
    assert fits["linear"]["n_parameters"] is None
    # Two layers of 4 heads, (n -> 8) x 4 and 32 -> 8 averaged, with attention, bias and residual; 40 outputs to 15.
    n_inputs = 3 * 3 + 2  # the linear combination, two deviations from it, and two elements
    first = n_inputs * 32 + 2 * 32 + 32 + n_inputs * 32 + 32
    second = 32 * 32 + 2 * 32 + 8 + 32 * 8 + 8
    assert fits["gat"]["n_parameters"] == first + second + 40 * 15 + 15
    assert fits["gat"]["n_parameters"] - fits["gat-geometry-only"]["n_parameters"] == 2 * 9 * 32
    assert models["stack (gat)"]["seconds"] == pytest.approx(
        statistics.mean(fits[name]["seconds"] for name in ("gat", "gat-seed1", "gat-seed2"))
    )


def test_a_killed_run_resumes(workplace: Path) -> None:
    """Finished fits are loaded, not repeated; the errors are those of a run that was not killed."""
    arguments = ("stack", "--meta", "gat", "--geometry-only", "--seeds", "2", "--set", "training.epochs=60")
    arguments += ("--workers", "1")  # one fit after the other: some are finished
    fit = workplace / "cut" / "fit"
    curve = fit / "gat-seed1" / "learning_curve.csv"
    kill_when(workplace, lambda: n_lines(curve) > 10, *arguments, "--output", "cut")
    assert not (fit / "gat-seed1" / "fitted.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in (fit / "gat").rglob("*")}
    epochs = len(curve.read_text().splitlines())
    again = elmlff(workplace, *arguments, "--output", "cut")
    assert {path: path.stat().st_mtime_ns for path in (fit / "gat").rglob("*")} == finished
    assert epochs <= len(curve.read_text().splitlines()) == 62  # the header, the initial state, and each epoch once
    elmlff(workplace, *arguments, "--output", "uncut")
    assert errors_of(workplace / "cut") == errors_of(workplace / "uncut")
    assert metrics_of(workplace / "cut")["summary"] in again.stdout


WRONG = {
    "one of several": (["--meta", "linear,gta"], "no meta-model is called 'gta'; did you mean 'gat'?"),
    "option of which meta-model": (["--meta", "linear,gat", "--set", "meta.rotate=false"], "'meta.gat.rotate'"),
    "no seed": (["--seeds", "0"], "--seeds"),
    "one fold": (["--folds", "1"], "--folds"),
    "more folds than structures": (["--folds", "500"], "cannot be cut into 500 folds"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, case: str) -> None:
    arguments, message = WRONG[case]
    stderr = elmlff(workplace, "stack", *arguments, code=1).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
