"""What atoms see of their neighbours: the densities of a cluster expansion, and how these change with each neighbour.

Shapes: n atoms with at most M neighbours, E edges, Z elements, R radial functions, C = Z R densities of each degree of
harmonics, Y harmonics of all degrees, S sets of coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from elmlff_core.expansion.functions import HIGHEST
from elmlff_core.expansion.harmonics import harmonics_and_derivatives
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.radial import SMALLEST_DISTANCE, RadialBasis, radial_and_units

# Numbers that the derivatives of one block of atoms may have: 100 MB.
BLOCK_NUMBERS = 12_500_000


def neighbourhoods_in_blocks(
    batch: GraphBatch, elements: torch.Tensor, basis: RadialBasis, n_elements: int, of_slot: int, of_atom: int
) -> Iterator[tuple[slice, slice, Neighbourhoods]]:
    """Yield blocks of atoms that fit into memory, their edges, and what they see.

    Parameters
    ----------
    batch : N atoms with vectors
    elements : (N,) int64, index of the element of each atom
    basis : radial functions
    n_elements : Z
    of_slot : numbers for each slot of an edge; each target has as many slots as that with the most edges in its block
    of_atom : numbers for each target beside these
    """
    assert batch.vectors is not None
    n_atoms, (source, target) = len(elements), batch.edges
    for atoms, edges in _blocks_of_targets(target, n_atoms, of_slot, of_atom):
        within = Edges(source[edges], target[edges] - atoms.start, atoms.stop - atoms.start, n_atoms)
        yield atoms, edges, Neighbourhoods(within, batch.vectors[edges], elements, basis, n_elements)


class _Slots:
    """The edges of each target side by side, and empty slots behind those of targets with fewer edges than others."""

    def __init__(self, edges: Edges) -> None:
        first = edges.first.long()
        self.n_targets = edges.n_targets
        self.most = int((first[1:] - first[:-1]).max()) if len(edges) else 1
        numbers = torch.arange(len(edges), device=edges.target.device)
        self.of_edge = edges.target * self.most + numbers - first[edges.target]

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of edges (E, ...) as (n, M, ...), zero in empty slots."""
        empty = values.new_zeros(self.n_targets * self.most, *values.shape[1:])
        return empty.index_copy(0, self.of_edge, values).unflatten(0, (self.n_targets, self.most))

    def rows(self, padded: torch.Tensor) -> torch.Tensor:
        """Return values of edges (E, ...) from (n, M, ...)."""
        return padded.flatten(0, 1).index_select(0, self.of_edge)


class Neighbourhoods:
    """What n targets see: the functions of their edges, with derivatives, and the densities that these add up to.

    Attributes
    ----------
    slots : where each edge is in arrays (n, M, ...)
    units : (n, M, 3)
    is_element : (n, M, Z), one for the element of the neighbour
    radial, along : (n, M, R), radial functions and their derivatives by the distance
    harmonics : (n, M, Y)
    turned : (n, M, 3, Y), derivatives of the harmonics by the components of the vector
    weights : (n, M, C), radial functions of the element of the neighbour, zero for other elements
    densities : (n, C, Y)
    """

    def __init__(
        self, edges: Edges, vectors: torch.Tensor, elements: torch.Tensor, basis: RadialBasis, n_elements: int
    ) -> None:
        slots = self.slots = _Slots(edges)
        radial, _, units = radial_and_units(vectors, basis)  # (R, E), (3, E)
        distances = (vectors.T * units).sum(dim=0).clamp(min=SMALLEST_DISTANCE)
        along = basis.derivatives(distances)
        harmonics, by_units = harmonics_and_derivatives(units, HIGHEST)
        # The direction changes with the part of the vector's change that is across it.
        across = by_units - units.unsqueeze(1) * (by_units * units.unsqueeze(1)).sum(dim=0)
        self.units = slots.padded(units.T)
        self.is_element = slots.padded(nn.functional.one_hot(elements[edges.source], n_elements).to(vectors.dtype))
        self.radial, self.along = slots.padded(radial.T), slots.padded(along.T)
        self.harmonics = slots.padded(harmonics.T)
        self.turned = slots.padded((across / distances).permute(2, 0, 1))
        self.weights = self._of_elements(self.radial)
        self.densities = self.weights.transpose(1, 2) @ self.harmonics

    def _of_elements(self, radial: torch.Tensor) -> torch.Tensor:
        """(n, M, R) -> (n, M, C)."""
        return (self.is_element.unsqueeze(3) * radial.unsqueeze(2)).flatten(2)

    def gradients(self, by_density: torch.Tensor) -> torch.Tensor:
        """Return derivatives by the vectors of the edges, (S, E, 3), from those by the densities, (n, S, C, Y)."""
        n, most, n_densities = self.weights.shape
        sets = by_density.shape[1]
        # The densities of an edge with its harmonics, and then with its radial functions.
        shape = (n, most, sets, -1)
        of_radial = (self.harmonics @ by_density.flatten(1, 2).transpose(1, 2)).view(*shape[:3], n_densities)
        change = of_radial @ self._of_elements(self.along).unsqueeze(3)  # (n, M, S, 1)
        of_harmonics = (self.weights @ by_density.transpose(1, 2).flatten(2)).view(shape)  # (n, M, S, Y)
        found = change * self.units.unsqueeze(2) + of_harmonics @ self.turned.transpose(2, 3)  # (n, M, S, 3)
        return self.slots.rows(found).transpose(0, 1)


def _blocks_of_targets(target: torch.Tensor, n_atoms: int, of_slot: int, of_atom: int) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of targets, with their edges, that fit into memory.

    Parameters
    ----------
    target : (E,) int64, ascending
    n_atoms : number of targets
    of_slot : numbers for each slot of an edge; each target has as many slots as that with the most edges in its block
    of_atom : numbers for each target beside these
    """
    n_edges = torch.bincount(target, minlength=n_atoms).tolist()
    start, first, last, most = 0, 0, 0, 1
    for atom, of_this in enumerate(n_edges):
        larger = max(most, of_this)
        if atom > start and (atom + 1 - start) * (larger * of_slot + of_atom) > BLOCK_NUMBERS:
            yield slice(start, atom), slice(first, last)
            start, first, larger = atom, last, max(1, of_this)
        last, most = last + of_this, larger
    if n_atoms:
        yield slice(start, n_atoms), slice(first, last)
