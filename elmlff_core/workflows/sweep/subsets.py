"""Subsets of the base models: all of them, those that a user names, and random samples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from elmlff_core.errors import ConfigError, did_you_mean

Subset = tuple[str, ...]
# 4095 subsets; tables and plots of more cannot be read.
MOST_MODELS = 12


def all_subsets(models: Sequence[str]) -> list[Subset]:
    """Return every subset except the empty one, small ones first, in the order of `models`.

    Raises ConfigError if there are more than `MOST_MODELS` models.

    >>> all_subsets(["a", "b"])
    [('a',), ('b',), ('a', 'b')]
    """
    if len(models) > MOST_MODELS:
        raise ConfigError(
            f"{len(models)} models have {2 ** len(models) - 1} subsets: a sweep takes at most {MOST_MODELS} models"
        )
    return [subset for size in range(1, len(models) + 1) for subset in itertools.combinations(models, size)]


def subset_name(subset: Subset) -> str:
    """Return the name of a subset on the command line: ``dp1+nep``."""
    return "+".join(subset)


def named_subsets(text: str, models: Sequence[str]) -> list[Subset]:
    """Return the subsets in a text such as ``dp1+nep,nep``, with their models in the order of `models`.

    Raises ConfigError if a name is unknown or the text names no subset.
    """
    found = []
    for written in filter(None, (item.strip() for item in text.split(","))):
        names = {name.strip() for name in written.split("+")}
        if unknown := sorted(names - set(models)):
            raise ConfigError(
                f"the subset '{written}' names {', '.join(unknown)}, not among the base models of the sweep"
                f"{did_you_mean(unknown[0], models)}"
            )
        found.append(tuple(name for name in models if name in names))
    if not found:
        raise ConfigError(f"'{text}' names no subset: write subsets as dp1+nep,nep")
    return sorted(set(found), key=lambda subset: (len(subset), [models.index(name) for name in subset]))


def sampled_subsets(subsets: Sequence[Subset], n_subsets: int, seed: int) -> list[Subset]:
    """Return a seeded random sample without repetition, in the order of `subsets`; all if there are no more.

    The last subset, all base models, is always included, because readers compare the others with it.
    """
    rng = np.random.default_rng(seed)
    others = rng.choice(len(subsets) - 1, size=min(n_subsets, len(subsets)) - 1, replace=False)
    return [*(subsets[index] for index in sorted(others)), subsets[-1]]


def membership(subsets: Sequence[Subset], models: Sequence[str]) -> np.ndarray:
    """Return which models each subset has, (n_subsets, n_models) bool."""
    return np.array([[name in subset for name in models] for subset in subsets], dtype=bool)
