"""Base models in workers predict at the same time, and stacks can use them."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from elmlff_core import StackCalculator, load_stack
from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.concurrency import for_each_model, n_at_once
from elmlff_core.base_models.named import named_model
from elmlff_core.base_models.prediction import dataset_features, predict_checked
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.settings.config import ModelConfig
from elmlff_core.stack.stack import Stack, make_meta
from tests.worker.conftest import CALCULATORS, children, is_alive, spring, wait_until

N_CORES = len(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(N_CORES < 2, reason="needs two cores")


def model(name, calculator, python="self", threads=1, **arguments):
    options = {"calculator": f"{CALCULATORS}:{calculator}", "arguments": arguments}
    return named_model(name, ModelConfig(adapter="ase", python=python, threads=threads, options=options))


def dataset(n_structures):
    structures = spring(n_structures)
    return Dataset.from_lists(structures, [-atoms.positions for atoms in structures], source="springs")


class Recorder(Reporter):
    """Records the steps of progress under their titles."""

    def __init__(self):
        self.shown = {}

    def progress(self, title):
        from contextlib import nullcontext

        self.shown[title] = []
        return nullcontext(self.shown[title].append)


@two_cores
def test_two_workers_predict_at_the_same_time(tmp_path):
    logs = [tmp_path / "a", tmp_path / "b"]
    models = [model(log.name, "Stopwatch", log=str(log), seconds=0.2) for log in logs]
    for one in models:  # in a run, the check of elements loads them first
        _ = one.force_field
    reporter = Recorder()
    features = dataset_features(models, dataset(4), FeatureCache(tmp_path / "cache"), reporter)
    spans = [[float(time) for line in log.read_text().splitlines() for time in line.split()] for log in logs]
    assert max(min(span) for span in spans) < min(max(span) for span in spans) - 0.4
    assert features.models == ("a", "b")
    np.testing.assert_array_equal(features.forces[0], features.forces[1])
    ((title, steps),) = reporter.shown.items()
    assert title == "predicting with a, b"
    assert (steps[-1].done, steps[-1].total) == (8, 8)
    for one in models:
        one.close()


@two_cores
def test_a_base_model_here_and_one_in_a_worker_predict_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    logs = [tmp_path / "a", tmp_path / "b"]
    models = [
        model(log.name, "Stopwatch", python, log=str(log), seconds=0.2)
        for log, python in zip(logs, ("self", None), strict=True)
    ]
    _ = models[0].force_field
    for_each_model(models, lambda one: predict_checked(one, spring(3)))
    spans = [[float(time) for line in log.read_text().splitlines() for time in line.split()] for log in logs]
    assert max(min(span) for span in spans) < min(max(span) for span in spans) - 0.2
    models[0].close()


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(N_CORES))
    many = [model(name, "Spring", threads=None) for name in "abc"]
    assert n_at_once(many) == 1
    assert n_at_once([model(name, "Spring", threads=1) for name in "abc"]) == min(3, N_CORES)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert n_at_once(many) == min(3, N_CORES)
    assert n_at_once([model(name, "Spring", None) for name in "abc"]) == 1
    assert n_at_once([]) == 1


@two_cores
def test_the_failure_of_one_ends_the_others():
    before = children()
    models = [model("slow", "Stopwatch", log=os.devnull, seconds=30), model("bad", "Garbling")]
    for one in models:
        _ = one.force_field
    started = time.monotonic()
    with pytest.raises(ForceFieldError, match=r"model 'bad' .* sent an invalid answer"):
        for_each_model(models, lambda one: predict_checked(one, spring(2)))
    assert time.monotonic() - started < 10
    assert wait_until(lambda: not any(map(is_alive, children() - before)))


@pytest.fixture
def stacked(tmp_path):
    """Make and save a fitted stack of two base models in workers, both with exact forces."""
    models = [model("a", "Spring"), model("b", "Stopwatch", log=os.devnull, seconds=0)]
    data = dataset(12)
    features = dataset_features(models, data, FeatureCache(tmp_path / "cache"), Reporter())
    meta = make_meta("linear", {})
    meta.fit(FitRequest(features, features, None, tmp_path, 0, lambda _: None))
    stack = Stack(models, "linear", {}, meta)
    stack.save(tmp_path / "stack")
    yield stack, tmp_path / "stack"
    stack.close()


def test_a_stack_is_loaded_with_its_workers(stacked):
    stack, folder = stacked
    loaded = load_stack(folder)
    for one, other in zip(loaded.base_models, stack.base_models, strict=True):
        # A stack that was made here is trusted here.
        assert one.config.model_copy(update={"options": other.config.options, "trust": False}) == other.config
        assert one.options == other.options
    structures = spring(3)
    found = loaded.predict(structures)
    np.testing.assert_array_equal(found.forces, stack.predict(structures).forces)
    np.testing.assert_allclose(found.forces, -np.concatenate([atoms.positions for atoms in structures]), atol=1e-8)
    loaded.close()


def test_the_calculator_of_a_stack_with_workers(stacked):
    _, folder = stacked
    calculator: Calculator = StackCalculator(folder)
    atoms = spring(1)[0]
    atoms.calc = calculator
    for _, scale in zip(range(3), itertools.count(1), strict=False):
        atoms.positions = spring(1)[0].positions * scale
        np.testing.assert_allclose(atoms.get_forces(), -atoms.positions, atol=1e-8)
    calculator.stack.close()


def test_a_relative_path_of_an_interpreter_is_saved_as_absolute(tmp_path, monkeypatch):
    import sys

    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    stack = Stack([model("a", "Spring", "./python")], "mean", {}, make_meta("mean", {}))
    stack.save(tmp_path / "stack")
    monkeypatch.chdir("/")
    assert load_stack(tmp_path / "stack").base_models[0].config.python == str(tmp_path / "python")
