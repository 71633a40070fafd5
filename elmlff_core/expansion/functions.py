"""The functions of an atomic cluster expansion: which products of densities there are up to a degree.

A density is what neighbours of one element give to one radial function n = 1, 2, ... and one degree l of spherical
harmonics.  A function of order one is a density with l = 0, one of order two the scalar product of two densities with
the same l, one of order three the invariant product of three.  The degree of a function is the sum of its n + l.
Functions of odd l1 + l2 + l3 change their sign with a reflection, as an energy does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import torch

from elmlff_core.errors import ElmlffError
from elmlff_core.expansion.harmonics import Couplings

HIGHEST = 6  # degree l of spherical harmonics
MAX_ORDER = 3  # densities in a function, which then is of four bodies
LOWER = 2  # how much lower the degree of functions of the highest order is: they are many
DEGREES = range(3, 21)


@dataclass(frozen=True)
class Density:
    """What neighbours of one element give to one radial function and one degree of harmonics."""

    l: int  # noqa: E741, the field's name of the degree
    n: int
    element: int

    @property
    def degree(self) -> int:
        return self.n + self.l


@dataclass(frozen=True)
class Group:
    """Functions that are products of densities of the same degrees l.

    Attributes
    ----------
    degrees : l of each factor
    n, elements : (order, k) int64, radial function, from 0, and index of the element of each factor of the k functions
    coupling : invariant product of the three factors, float64; None for other orders
    roughness : (k,) float64, sum of the squares of n and l of the factors, by which a smooth energy has small
        coefficients
    """

    degrees: tuple[int, ...]
    n: torch.Tensor
    elements: torch.Tensor
    coupling: torch.Tensor | None
    roughness: torch.Tensor

    def __len__(self) -> int:
        return self.n.shape[1]

    def to(self, device: torch.device) -> Group:
        """Return the same functions with tensors on another device."""
        coupling = None if self.coupling is None else self.coupling.to(device)
        return replace(self, n=self.n.to(device), elements=self.elements.to(device), coupling=coupling)


@lru_cache(maxsize=4)
def groups_of_functions(n_elements: int, degree: int) -> tuple[Group, ...]:
    """Return all functions for neighbours of `n_elements` elements up to `degree`, one group after the other."""
    by_degrees: dict[tuple[int, ...], list[tuple[Density, ...]]] = {}
    for factors in _functions(n_elements, degree):
        by_degrees.setdefault(tuple(factor.l for factor in factors), []).append(factors)
    couplings = Couplings(HIGHEST)
    return tuple(
        Group(
            degrees,
            torch.tensor([[factor.n - 1 for factor in factors] for factors in functions]).T,
            torch.tensor([[factor.element for factor in factors] for factors in functions]).T,
            couplings.coupling(*degrees) if len(degrees) == MAX_ORDER else None,
            torch.tensor([float(sum(one.n**2 + one.l**2 for one in factors)) for factors in functions]).double(),
        )
        for degrees, functions in by_degrees.items()
    )


def largest_degree(n_elements: int, most: int, most_in_all: int) -> int:
    """Return the largest degree with at most `most` functions around each element, and `most_in_all` together.

    ElmlffError if there are too many elements for the lowest one.
    """
    most = min(most, most_in_all // n_elements)
    fitting = None
    for degree in DEGREES:
        if sum(1 for _ in islice(_functions(n_elements, degree), most + 1)) > most:
            break
        fitting = degree
    if fitting is None:
        raise ElmlffError(
            f"an atomic cluster expansion for {n_elements} elements has too many functions: take another meta-model"
        )
    return fitting


def _functions(n_elements: int, degree: int) -> Iterator[tuple[Density, ...]]:
    """Yield the factors of each function."""
    densities = sorted(
        (
            Density(l, n, element)
            for l in range(min(HIGHEST, degree) + 1)  # noqa: E741
            for n in range(1, degree - l + 1)
            for element in range(n_elements)
        ),
        key=lambda density: (density.l, density.n, density.element),
    )
    for order in range(1, MAX_ORDER + 1):
        yield from _products(densities, order, degree - (LOWER if order == MAX_ORDER else 0), (), 0)


def _products(
    densities: list[Density], order: int, left: int, factors: tuple[Density, ...], first: int
) -> Iterator[tuple[Density, ...]]:
    """Yield the products of `order` densities that begin with `factors`, in ascending order."""
    if len(factors) == order:
        if _is_invariant([factor.l for factor in factors]):
            yield factors
        return
    others = order - len(factors) - 1  # each has at least degree one
    for index in range(first, len(densities)):
        density = densities[index]
        if density.degree + others <= left:
            yield from _products(densities, order, left - density.degree, (*factors, density), index)


def _is_invariant(degrees: list[int]) -> bool:
    if len(degrees) == 1:
        return degrees[0] == 0
    if len(degrees) == 2:
        return degrees[0] == degrees[1]
    return sum(degrees) % 2 == 0 and degrees[2] <= degrees[0] + degrees[1]
