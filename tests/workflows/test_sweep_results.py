"""Shapley values, rank correlation, sizes and the Pareto front, against values calculated by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from elmlff_core.workflows.sweep.results import Choice, Sweep, agreement, pareto_front, spearman, summary
from elmlff_core.workflows.sweep.shapley import shapley_values
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import all_subsets

MODELS = ("a", "b", "c")


def test_additive_contributions_are_shapley_values():
    gains = {"a": 0.3, "b": 0.05, "c": -0.02}
    errors = {subset: 1.0 - sum(gains[name] for name in subset) for subset in all_subsets(MODELS)}
    found = shapley_values(errors, 1.0, MODELS)
    assert {name: value.value for name, value in found.items()} == pytest.approx(gains)
    # Each model is first in a third of the orders, and its contribution is the same in all orders.
    assert {name: value.alone for name, value in found.items()} == pytest.approx({k: v / 3 for k, v in gains.items()})


def test_shapley_values_are_means_over_orders_and_sum_to_the_total():
    models = ("a", "b", "c", "d")
    rng = np.random.default_rng(0)
    errors = {subset: float(rng.random()) for subset in all_subsets(models)}
    found = shapley_values(errors, 2.0, models)
    gains = {name: [] for name in models}
    for order in itertools.permutations(models):
        before = 2.0
        for place in range(4):
            after = errors[tuple(name for name in models if name in order[: place + 1])]
            gains[order[place]].append(before - after)
            before = after
    assert {name: value.value for name, value in found.items()} == pytest.approx(
        {name: np.mean(values) for name, values in gains.items()}
    )
    assert sum(value.value for value in found.values()) == pytest.approx(2.0 - errors[models])
    for value in found.values():
        assert value.value == pytest.approx(value.alone + value.joining)


def test_equal_models_share_their_value_and_a_useless_model_has_none():
    errors = {subset: 0.5 if {"a", "b"} & set(subset) else 1.0 for subset in all_subsets(MODELS)}
    found = shapley_values(errors, 1.0, MODELS)
    assert [found[name].value for name in MODELS] == pytest.approx([0.25, 0.25, 0.0])


def test_rank_correlation_agrees_with_scipy_or_is_none():
    rng = np.random.default_rng(1)
    first, second = rng.random(20), rng.random(20)
    second[3] = second[7]
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 2, 3], [1, 1, 1]) is None


def entry(subset: str, valid: float, test: float, method: str = "least-squares") -> SubsetErrors:
    return SubsetErrors(tuple(subset), method, {"train": valid, "valid": valid, "test": test}, 0.5)


def test_methods_are_compared_over_common_subsets():
    first = [entry("a", 4, 1), entry("b", 3, 2), entry("c", 2, 3), entry("ab", 1, 4)]
    second = [entry("c", 1, 3, "per-subset"), entry("a", 3, 2, "per-subset"), entry("b", 2, 1, "per-subset")]
    found = agreement(first, second)
    assert (found.methods, found.n_subsets) == (("least-squares", "per-subset"), 3)
    assert found.spearman["valid"] == pytest.approx(1.0)  # a > b > c in both
    assert found.spearman["test"] == pytest.approx(0.5)  # 1 2 3 against 2 1 3: 1 - 6 * 2 / 24


@pytest.fixture
def sweep() -> Sweep:
    entries = [
        entry("a", 0.30, 0.31), entry("b", 0.20, 0.26), entry("c", 0.25, 0.18),
        entry("ab", 0.10, 0.15), entry("ac", 0.22, 0.12), entry("bc", 0.16, 0.17), entry("abc", 0.11, 0.13),
    ]  # fmt: skip
    return Sweep(MODELS, "egat", entries, {"valid": 1.0, "test": 1.1}, {"a": 1.0, "b": 2.0, "c": 5.0})


def test_the_recommended_subset_is_best_on_validation(sweep):
    found = sweep.of_method("least-squares")
    assert found.recommended == Choice(("a", "b"), 0.10, 0.15, 3.0)
    assert found.lowest_test == Choice(("a", "c"), 0.22, 0.12, 6.0)
    assert found.all_models == Choice(MODELS, 0.11, 0.13, 8.0)
    assert found.seconds == pytest.approx(3.5)
    assert summary(sweep, "least-squares").startswith(
        "least-squares: a+b is best on validation (0.1000 eV/Å; test 0.1500)"
    )


def test_sizes_have_their_best_and_mean_errors(sweep):
    one, two, three = sweep.of_method("least-squares").sizes
    assert (one.best, one.valid, one.test, one.n_subsets) == (("b",), 0.20, 0.26, 3)
    assert (one.mean_valid, one.mean_test) == pytest.approx((0.25, 0.25))
    assert (two.best, two.mean_valid) == (("a", "b"), pytest.approx(0.16))
    assert three.best == MODELS
    assert sweep.of_method("least-squares").best_size == 2


def test_the_pareto_front(sweep):
    assert [choice.subset for choice in sweep.of_method("least-squares").pareto] == [("a",), ("b",), ("a", "b")]
    tie = [Choice(("x",), 0.2, 0, 1.0), Choice(("y",), 0.1, 0, 1.0), Choice(("z",), 0.1, 0, 2.0)]
    assert [choice.subset for choice in pareto_front(tie)] == [("y",)]


def test_shapley_values_need_every_subset(sweep):
    found = sweep.of_method("least-squares").shapley
    assert sum(value.value for value in found["test"].values()) == pytest.approx(1.1 - 0.13)
    some = Sweep(MODELS, "egat", sweep.entries[:6], sweep.empty, sweep.costs)
    assert some.of_method("least-squares").shapley == {}
