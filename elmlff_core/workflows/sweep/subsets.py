"""Subsets of the bases: all of them, those a user names, and a sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from elmlff_core.errors import ConfigError, did_you_mean

Subset = tuple[str, ...]
# 4095 subsets; beyond, tables and pictures say nothing to a reader.
MOST_MODELS = 12


def all_subsets(models: Sequence[str]) -> list[Subset]:
    """Every subset but the empty one, small ones first, in the order of `models`.

    ConfigError where there are more than `MOST_MODELS`.

    >>> all_subsets(["a", "b"])
    [('a',), ('b',), ('a', 'b')]
    """
    if len(models) > MOST_MODELS:
        raise ConfigError(
            f"{len(models)} models have {2 ** len(models) - 1} subsets: a sweep takes at most {MOST_MODELS} models"
        )
    return [subset for size in range(1, len(models) + 1) for subset in itertools.combinations(models, size)]


def subset_name(subset: Subset) -> str:
    """As a user types it: ``dp1+nep``."""
    return "+".join(subset)


def named_subsets(text: str, models: Sequence[str]) -> list[Subset]:
    """The subsets in ``dp1+nep,nep``, their models in the order of `models`; ConfigError where a name is unknown."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        names = {name.strip() for name in part.split("+")}
        if unknown := sorted(names - set(models)):
            raise ConfigError(
                f"the subset '{part}' names {', '.join(unknown)}, of which the sweep has none"
                f"{did_you_mean(unknown[0], models)}"
            )
        found.append(tuple(name for name in models if name in names))
    if not found:
        raise ConfigError(f"no subset is named in '{text}': write them as dp1+nep,nep")
    return sorted(set(found), key=lambda subset: (len(subset), [models.index(name) for name in subset]))


def sampled_subsets(subsets: Sequence[Subset], n_subsets: int, seed: int) -> list[Subset]:
    """A seeded sample without repetition, in the order of `subsets`; all of them where there are no more.

    The last, all bases, is always among them: it is what a reader compares the others with.
    """
    rng = np.random.default_rng(seed)
    others = rng.choice(len(subsets) - 1, size=min(n_subsets, len(subsets)) - 1, replace=False)
    return [*(subsets[index] for index in sorted(others)), subsets[-1]]


def membership(subsets: Sequence[Subset], models: Sequence[str]) -> np.ndarray:
    """Which models each subset has: (n_subsets, n_models) bool."""
    return np.array([[name in subset for name in models] for subset in subsets], dtype=bool)
