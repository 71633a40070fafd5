"""Training: exact resume after a kill, the schedule of Eq. 8, and the metric of Eq. 7."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.metrics import force_metrics, rmse_of_frames
from elmlff_core.meta.gat import GATMeta
from elmlff_core.meta.options import GATOptions
from elmlff_core.meta.training.budget import with_budget
from elmlff_core.meta.training.schedule import warmup_cosine
from elmlff_core.settings.config import TrainingConfig
from tests.conftest import synthetic_features

OPTIONS = GATOptions(channels=(4, 4, 4), heads=2, averaged_layers=1)


def fit(folder, progress=lambda _: None, **settings):
    features, valid = synthetic_features(seed=0), synthetic_features(seed=1)
    training = TrainingConfig(**{"epochs": 12, "batch_size": 8, "device": "cpu"} | settings)
    meta = GATMeta(OPTIONS)
    meta.fit(FitRequest(features, valid, training, folder, 7, progress))
    return meta.predict(valid).forces


def _fit_and_die(folder):
    def die(step):
        if step.done == 8:
            os.kill(os.getpid(), signal.SIGKILL)

    fit(folder, die)


def rows_without_seconds(folder):
    return [line.rsplit(",", 1)[0] for line in (folder / "learning_curve.csv").read_text().splitlines()]


def test_a_killed_training_resumes_with_the_same_results(tmp_path):
    whole = fit(tmp_path / "whole")
    process = multiprocessing.get_context("spawn").Process(target=_fit_and_die, args=(tmp_path / "killed",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "killed" / "last.ckpt").exists()
    seen = []
    resumed = fit(tmp_path / "killed", lambda step: seen.append(step.done))
    assert seen[0] > 1  # it did not start again
    assert np.array_equal(resumed, whole)
    assert rows_without_seconds(tmp_path / "killed") == rows_without_seconds(tmp_path / "whole")


def test_ctrl_c_ends_as_a_keyboard_interrupt_and_resumes(tmp_path):
    def interrupt(step):
        if step.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert np.array_equal(fit(tmp_path / "cut"), fit(tmp_path / "whole"))


def test_the_same_seed_gives_the_same_results(tmp_path):
    assert np.array_equal(fit(tmp_path / "a"), fit(tmp_path / "b"))


def test_no_pickles_are_left(tmp_path):
    fit(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["learning_curve.csv"]


def test_patience_stops_early(tmp_path):
    seen = []
    fit(tmp_path, lambda step: seen.append(step.done), epochs=50, patience=2, learning_rate=10.0)
    assert max(seen) < 50


def test_schedule_rises_then_falls_as_a_cosine():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == pytest.approx(1)
    assert factors[10] == pytest.approx(1)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)


def test_metric_of_the_paper_by_hand():
    """For two frames of one and two atoms, Eq. 7 is the mean of the RMSEs of the frames, not the RMSE of all atoms."""
    reference = np.zeros((3, 3))
    predicted = np.array([[3.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    n_atoms = np.array([1, 2])
    assert rmse_of_frames(predicted, reference, n_atoms) == pytest.approx([np.sqrt(3), np.sqrt(2 / 6)])
    found = force_metrics(predicted, reference, n_atoms)
    assert found.rmse_per_frame == pytest.approx((np.sqrt(3) + np.sqrt(1 / 3)) / 2)
    assert found.rmse == pytest.approx(np.sqrt(11 / 9))
    assert found.mae == pytest.approx(5 / 9)


def test_budgets():
    training = TrainingConfig()
    assert with_budget(training, "paper", 5000, 5).epochs == 1500
    assert with_budget(training, "paper", 3000, 54).epochs == 300
    assert with_budget(training, "quick", 1200, 5).epochs == 240  # 5 steps an epoch, 1200 steps
    assert with_budget(training, "quick", 200, 5).epochs == 600
    assert with_budget(training, "long", 1200, 5).epochs == 3 * 240
    assert with_budget(training, "quick", 100_000, 5).epochs == 40
    assert with_budget(TrainingConfig(epochs=7), "paper", 5000, 5).epochs == 7
