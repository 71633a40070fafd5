"""The atomic cluster expansion: invariants of the neighbours of each atom (Drautz, 2019), and their derivatives.

Shapes: n atoms with at most M neighbours, E edges, Z elements, R radial functions, C = Z R densities of each degree of
harmonics, Y harmonics of all degrees, K functions, of which the last J are those of a kernel, S sets of coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from elmlff_core.expansion.functions import HIGHEST, Group, groups_of_functions
from elmlff_core.expansion.harmonics import of_degree
from elmlff_core.expansion.kernel import EnvironmentKernel
from elmlff_core.expansion.neighbourhoods import Neighbourhoods, neighbourhoods_in_blocks
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.radial import RadialBasis


class ClusterExpansion(nn.Module):
    """The functions of an atomic cluster expansion, and of a kernel, as invariants of atoms.

    Parameters
    ----------
    n_elements : elements of neighbours
    degree : largest degree of a function, see `elmlff_core.expansion.functions`
    cutoff : Å
    n_environments : J, for atoms of each element; if there are any, they must be chosen before all else
    """

    def __init__(self, n_elements: int, degree: int, cutoff: float, n_environments: int = 0) -> None:
        super().__init__()
        self.n_elements = n_elements
        self.groups = groups_of_functions(n_elements, degree)
        self.basis = RadialBasis(degree, cutoff)
        self._moved: dict[torch.device, tuple[Group, ...]] = {}
        order = torch.cat([torch.full((len(group),), len(group.degrees)) for group in self.groups])
        self.n_products = len(order)
        first, last = int((order < 2).sum()), int((order < 3).sum())
        self.spectrum = slice(first, last)  # functions of order two, which are side by side
        self.kernel = EnvironmentKernel(n_elements, n_environments, self._roughness[self.spectrum])

    @property
    def _roughness(self) -> torch.Tensor:
        return torch.cat([group.roughness for group in self.groups])

    @property
    def roughness(self) -> torch.Tensor:
        """Of each function, by which its coefficient in a smooth energy is small: (K,) float64."""
        return torch.cat([self._roughness, torch.ones(self.kernel.n_environments, dtype=torch.float64)])

    def choose_environments(self, batch: GraphBatch, elements: torch.Tensor) -> None:
        """Choose the environments of the kernel among the atoms of `batch`, with (N,) indices of their elements."""
        if self.kernel.n_environments:
            found = [self._spectra(seen.densities) for _, _, seen in self._blocks(batch, elements, 1)]
            self.kernel.choose(torch.cat(found), elements)

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
        for atoms, edges, seen in self._blocks(batch, elements, coefficients.shape[2]):
            energies[atoms], by_density = self._weighted(seen.densities, elements[atoms], coefficients)
            gradients = seen.gradients(by_density)
            # A vector is source minus target, so the force on the target has the sign of the gradient.
            forces.index_add_(1, source[edges], -gradients).index_add_(1, target[edges], gradients)
            gradient[edges] = gradients[0]
        return energies, forces, gradient

    def _blocks(
        self, batch: GraphBatch, elements: torch.Tensor, n_sets: int
    ) -> Iterator[tuple[slice, slice, Neighbourhoods]]:
        """Yield what atoms see in blocks for `n_sets` sets of coefficients."""
        n_densities, n_harmonics = self.n_elements * len(self.basis.frequencies), (HIGHEST + 1) ** 2
        of_slot, of_atom = n_sets * (n_densities + n_harmonics), n_sets * n_densities * n_harmonics
        return neighbourhoods_in_blocks(batch, elements, self.basis, self.n_elements, of_slot, of_atom)

    def _weighted(
        self, densities: torch.Tensor, elements: torch.Tensor, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return sums of the functions of n atoms times `coefficients`, (n, S), and their derivatives, (n, S, C, Y)."""
        n, n_densities, n_harmonics = densities.shape
        weights = coefficients[elements, : self.n_products]
        slopes, total = weights, densities.new_zeros(n, weights.shape[2])
        if self.kernel.n_environments:
            of_kernel = coefficients[:, self.n_products :]
            total, by_spectra = self.kernel.energies(self._spectra(densities), elements, of_kernel)
            slopes = weights.clone()
            slopes[:, self.spectrum] += by_spectra
        by_density = densities.new_zeros(n_densities, n_harmonics, n, weights.shape[2])
        first = 0
        for group in self._groups_on(densities.device):
            chosen = slice(first, first + len(group))
            first += len(group)
            values, others = self._values_and_others(group, densities)
            total += torch.einsum("nk,nks->ns", values, weights[:, chosen])
            for place, (l, other) in enumerate(zip(group.degrees, others, strict=True)):  # noqa: E741
                parts = torch.einsum("nkm,nks->kmns", other, slopes[:, chosen])
                by_density[:, of_degree(l)].index_add_(0, self._channels(group, place), parts)
        return total, by_density.permute(2, 3, 0, 1)

    def _spectra(self, densities: torch.Tensor) -> torch.Tensor:
        """Return the functions of order two: (n, k)."""
        groups = [group for group in self._groups_on(densities.device) if len(group.degrees) == 2]
        return torch.cat([self._values_and_others(group, densities)[0] for group in groups], dim=1)

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
        blocks = neighbourhoods_in_blocks(batch, elements, self.basis, self.n_elements, 3 * n_functions, 0)
        for atoms, edges, seen in blocks:
            of_atom = elements[atoms]
            invariants, gradients = self._derivatives(seen, of_atom)
            values.index_add_(0, batch.structure_index[atoms] * self.n_elements + of_atom, invariants)
            # A vector is source minus target, so the force on the target has the sign of the gradient.
            of_target = of_atom[target[edges] - atoms.start]
            forces.index_add_(0, source[edges] * self.n_elements + of_target, -gradients)
            forces.index_add_(0, target[edges] * self.n_elements + of_target, gradients)
        rows = forces.view(n_atoms, self.n_elements, 3, n_functions).transpose(1, 2)
        return values.view(len(batch.n_atoms), -1), rows.reshape(3 * n_atoms, -1)

    def _derivatives(self, seen: Neighbourhoods, elements: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the functions of each target, (n, K), and their derivatives by the vectors of its edges, (E, 3 K)."""
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
        if self.kernel.n_environments:
            products, derivatives = torch.cat(values, dim=1), torch.cat(gradients, dim=3)
            spectra = products[:, self.spectrum], derivatives[..., self.spectrum]
            likeness, of_likeness = self.kernel.derivatives(*spectra, elements)
            values, gradients = [products, likeness], [derivatives, of_likeness]
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
