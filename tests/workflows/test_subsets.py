"""Subsets: their number, order and names, and random samples."""

from __future__ import annotations

import pytest

from elmlff_core.errors import ConfigError
from elmlff_core.workflows.sweep.subsets import all_subsets, membership, named_subsets, sampled_subsets


def test_the_number_and_order_of_all_subsets():
    assert [len(all_subsets([f"m{i}" for i in range(n)])) for n in (1, 3, 8)] == [1, 7, 255]
    assert all_subsets(("b", "a", "c"))[3:] == [("b", "a"), ("b", "c"), ("a", "c"), ("b", "a", "c")]
    with pytest.raises(ConfigError, match="13 models have 8191 subsets"):
        all_subsets([f"m{i}" for i in range(13)])


def test_named_subsets_are_in_the_order_of_the_sweep():
    assert named_subsets("nep + dp1, nep,dp1+nep", ("dp1", "painn", "nep")) == [("nep",), ("dp1", "nep")]
    with pytest.raises(ConfigError, match=r"'dp1\+nap' names nap.*did you mean 'nep'"):
        named_subsets("dp1+nap", ("dp1", "nep"))
    with pytest.raises(ConfigError, match="names no subset"):
        named_subsets(" ,", ("dp1",))


def test_a_sample_depends_on_its_seed():
    subsets = all_subsets(range(6))
    sample = sampled_subsets(subsets, 10, seed=3)
    assert sample == sampled_subsets(subsets, 10, seed=3) != sampled_subsets(subsets, 10, seed=4)
    assert len(set(sample)) == 10
    assert sample == sorted(sample, key=subsets.index)
    assert sampled_subsets(subsets, 1000, seed=0) == subsets


def test_membership_by_hand():
    assert membership([("a",), ("a", "c")], ("a", "b", "c")).tolist() == [[True, False, False], [True, False, True]]
