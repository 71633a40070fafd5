"""The atomic cluster expansion: invariants of the neighbours of each atom (Drautz, 2019), and their derivatives.

Shapes: n atoms with at most M neighbours, E edges, Z elements, R radial functions, C = Z R densities of each degree of
harmonics, Y harmonics of all degrees, K functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from elmlff_core.expansion.functions import HIGHEST, Group, groups_of_functions
from elmlff_core.expansion.harmonics import harmonics_and_derivatives, of_degree
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.edges import Edges
from elmlff_core.graphs.radial import SMALLEST_DISTANCE, RadialBasis, radial_and_units

# Numbers that the derivatives of one block of atoms may have: 100 MB.
BLOCK_NUMBERS = 12_500_000


class ClusterExpansion(nn.Module):
    """The functions of an atomic cluster expansion as invariants of atoms.

    Parameters
    ----------
    n_elements : elements of neighbours
    degree : largest degree of a function, see `elmlff_core.expansion.functions`
    cutoff : Å
    """

    def __init__(self, n_elements: int, degree: int, cutoff: float) -> None:
        super().__init__()
        self.n_elements = n_elements
        self.groups = groups_of_functions(n_elements, degree)
        self.basis = RadialBasis(degree, cutoff)
        self._moved: dict[torch.device, tuple[Group, ...]] = {}

    @property
    def roughness(self) -> torch.Tensor:
        """Of each function, by which its coefficient in a smooth energy is small: (K,) float64."""
        return torch.cat([group.roughness for group in self.groups])

    def energies(
        self, batch: GraphBatch, elements: torch.Tensor, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return energies of atoms with S sets of coefficients, and their derivatives.

        Parameters
        ----------
        batch : N atoms with vectors
        elements : (N,) int64, index of the element of each atom
        coefficients : (Z, K, S), of the functions around atoms of each element

        Returns
        -------
        energies : (N, S)
        forces : (S, N, 3), minus the derivatives of the sums over atoms by the positions
        gradient : (E, 3), the derivatives of the first sum by the vectors
        """
        assert batch.vectors is not None
        n_atoms, (source, target) = len(elements), batch.edges
        energies = batch.vectors.new_empty(n_atoms, coefficients.shape[2])
        forces = batch.vectors.new_zeros(coefficients.shape[2], n_atoms, 3)
        gradient = torch.empty_like(batch.vectors)
        n_sets, n_densities = coefficients.shape[2], self.n_elements * len(self.basis.frequencies)
        n_harmonics = (HIGHEST + 1) ** 2
        of_slot, of_atom = n_sets * (n_densities + n_harmonics), n_sets * n_densities * n_harmonics
        for atoms, edges in _blocks_of_targets(target, n_atoms, of_slot, of_atom):
            within = Edges(source[edges], target[edges] - atoms.start, atoms.stop - atoms.start, n_atoms)
            seen = _Seen(within, batch.vectors[edges], elements, self.basis, self.n_elements)
            energies[atoms], by_density = self._weighted(seen.densities, coefficients[elements[atoms]])
            gradients = seen.gradients(by_density)
            # A vector is source minus target, so the force on the target has the sign of the gradient.
            forces.index_add_(1, source[edges], -gradients).index_add_(1, target[edges], gradients)
            gradient[edges] = gradients[0]
        return energies, forces, gradient

    def _weighted(self, densities: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sums of the functions times `weights` (n, K, S), (n, S), and their derivatives, (n, S, C, Y)."""
        n, n_densities, n_harmonics = densities.shape
        total = densities.new_zeros(n, weights.shape[2])
        by_density = densities.new_zeros(n_densities, n_harmonics, n, weights.shape[2])
        first = 0
        for group in self._groups_on(densities.device):
            of_group = weights[:, first : first + len(group)]
            first += len(group)
            values, others = self._values_and_others(group, densities)
            total += torch.einsum("nk,nks->ns", values, of_group)
            for place, (l, other) in enumerate(zip(group.degrees, others, strict=True)):  # noqa: E741
                parts = torch.einsum("nkm,nks->kmns", other, of_group)
                by_density[:, of_degree(l)].index_add_(0, self._channels(group, place), parts)
        return total, by_density.permute(2, 3, 0, 1)

    def design(self, batch: GraphBatch, elements: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return by what the coefficients of the functions are multiplied in energies and forces.

        Coefficients are those of the functions around atoms of the first element, then around those of the second one,
        and so on.

        Parameters
        ----------
        batch : B structures of N atoms with vectors, on the CPU
        elements : (N,) int64, index of the element of each atom

        Returns
        -------
        of_energies : (B, Z K)
        of_forces : (3 N, Z K), 1/Å
        """
        assert batch.vectors is not None
        n_atoms, n_functions = len(elements), len(self.roughness)
        source, target = batch.edges
        values = batch.vectors.new_zeros(len(batch.n_atoms) * self.n_elements, n_functions)
        forces = batch.vectors.new_zeros(n_atoms * self.n_elements, 3 * n_functions)
        for atoms, edges in _blocks_of_targets(target, n_atoms, 3 * n_functions, 0):
            within = Edges(source[edges], target[edges] - atoms.start, atoms.stop - atoms.start, n_atoms)
            invariants, gradients = self._derivatives(within, batch.vectors[edges], elements)
            of_atom = elements[atoms]
            values.index_add_(0, batch.structure_index[atoms] * self.n_elements + of_atom, invariants)
            # A vector is source minus target, so the force on the target has the sign of the gradient.
            own = torch.arange(atoms.start, atoms.stop) * self.n_elements + of_atom
            of_target = within.target
            forces.index_add_(0, within.source * self.n_elements + of_atom[of_target], -gradients)
            forces.index_add_(0, own[of_target], gradients)
        rows = forces.view(n_atoms, self.n_elements, 3, n_functions).transpose(1, 2)
        return values.view(len(batch.n_atoms), -1), rows.reshape(3 * n_atoms, -1)

    def _derivatives(
        self, edges: Edges, vectors: torch.Tensor, elements: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the functions of each target, (n, K), and their derivatives by the vectors of its edges, (E, 3 K)."""
        seen = _Seen(edges, vectors, elements, self.basis, self.n_elements)
        values, gradients = [], []
        for group in self._groups_on(seen.densities.device):
            of_group, others = self._values_and_others(group, seen.densities)
            found = seen.radial.new_zeros(*seen.units.shape, len(group))
            for place, (l, other) in enumerate(zip(group.degrees, others, strict=True)):  # noqa: E741
                coefficients, n = other.transpose(1, 2), group.n[place]  # (n, 2 l + 1, k)
                shown = seen.is_element[:, :, group.elements[place]]
                change = (seen.harmonics[:, :, of_degree(l)] @ coefficients) * seen.along[:, :, n] * shown
                turn = (seen.turned[..., of_degree(l)].flatten(1, 2) @ coefficients).view_as(found)
                found.addcmul_(change.unsqueeze(2), seen.units.unsqueeze(3))
                found.addcmul_(turn, (seen.radial[:, :, n] * shown).unsqueeze(2))
            values.append(of_group)
            gradients.append(found)
        return torch.cat(values, dim=1), seen.slots.rows(torch.cat(gradients, dim=3)).flatten(1)

    def _groups_on(self, device: torch.device) -> tuple[Group, ...]:
        if device not in self._moved:
            self._moved[device] = tuple(group.to(device) for group in self.groups)
        return self._moved[device]

    def _channels(self, group: Group, place: int) -> torch.Tensor:
        """Return which of the C densities is at `place` in each function: (k,)."""
        return group.elements[place] * len(self.basis.frequencies) + group.n[place]

    def _values_and_others(self, group: Group, densities: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the functions of `group`, and their derivatives by each factor, the products of the other factors.

        The functions are (n, k), and the derivatives one (n, k, 2 l + 1) for each factor.
        """
        factors = [densities[:, self._channels(group, place), of_degree(l)] for place, l in enumerate(group.degrees)]  # noqa: E741
        if len(factors) == 1:
            return factors[0].squeeze(2), [torch.ones_like(factors[0])]
        if group.coupling is None:
            return (factors[0] * factors[1]).sum(dim=2), [factors[1], factors[0]]
        one, two, three = factors
        coupling = group.coupling.to(densities)
        left = (three @ coupling.flatten(0, 1).T).unflatten(2, coupling.shape[:2])  # (n, k, a, b)
        of_one = (left @ two.unsqueeze(3)).squeeze(3)
        of_two = (one.unsqueeze(2) @ left).squeeze(2)
        of_three = (one.unsqueeze(3) * two.unsqueeze(2)).flatten(2) @ coupling.flatten(0, 1)
        return (of_three * three).sum(dim=2), [of_one, of_two, of_three]


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


class _Seen:
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
