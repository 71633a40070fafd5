"""A sparse kernel: how alike the environment of an atom is to environments in training structures.

A spectrum is the functions of order two around an atom (the power spectrum of Bartók et al., 2013), each divided by
the root of its roughness.  A one is put behind it, so that it changes smoothly where the last neighbour leaves, and it
is divided by its norm.  The likeness of two environments is the fourth power of the product of these unit vectors.  So
it has products of up to eight densities, which no linear expansion of this size has.

Shapes: n atoms, Z elements, K functions of order two, J environments of each element, S sets of coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

POWER = 4
SAME = 1e-10  # one minus the product of two unit vectors that are the same but for rounding


class EnvironmentKernel(nn.Module):
    """The likeness of atoms to J environments of atoms of their element, less that of an atom without neighbours.

    Parameters
    ----------
    n_elements : elements of atoms
    n_environments : J
    roughness : (K,) of the functions of a spectrum
    """

    environments: torch.Tensor
    scale: torch.Tensor
    smoothness: torch.Tensor

    def __init__(self, n_elements: int, n_environments: int, roughness: torch.Tensor) -> None:
        super().__init__()
        self.n_environments = n_environments
        # Unit vectors, and by what a spectrum is divided: the root mean square of its norm in training structures.
        # Without any, nothing is saved, as by versions without a kernel.
        kept = n_environments > 0
        self.register_buffer("environments", torch.zeros(n_elements, n_environments, len(roughness) + 1), kept)
        self.register_buffer("scale", torch.ones(n_elements), kept)
        self.register_buffer("smoothness", roughness.rsqrt(), persistent=False)

    def choose(self, spectra: torch.Tensor, elements: torch.Tensor) -> None:
        """Choose the environments among `spectra` (n, K) of atoms, each as far as possible from those before it.

        If there are fewer different ones than J, the others stay zero, and nothing is like them.
        """
        for element in range(len(self.scale)):
            of_element = spectra[elements == element]
            if not len(of_element):
                continue
            self.scale[element] = (of_element * self.smoothness).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
            units = self._seen(of_element, element).units
            nearest = 1 - units @ units[0]
            chosen = [0]
            while len(chosen) < self.n_environments and nearest.max() > SAME:
                chosen.append(int(nearest.argmax()))
                nearest = torch.minimum(nearest, 1 - units @ units[chosen[-1]])
            self.environments[element, : len(chosen)] = units[chosen]

    def energies(
        self, spectra: torch.Tensor, elements: torch.Tensor, coefficients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return sums of the likenesses times `coefficients` (Z, J, S), and their derivatives by the spectra.

        They are (n, S) and (n, K, S).
        """
        total = spectra.new_empty(len(spectra), coefficients.shape[2])
        by_spectra = spectra.new_empty(*spectra.shape, coefficients.shape[2])
        for element in range(len(self.scale)):
            chosen = (elements == element).nonzero().squeeze(1)
            seen, of_element = self._seen(spectra[chosen], element), coefficients[element]
            total[chosen] = seen.likeness @ of_element
            weights = seen.slopes.unsqueeze(2) * of_element  # (n, J, S)
            found = torch.einsum("jk,njs->nks", self.environments[element, :, :-1], weights)
            along = (seen.cosines.unsqueeze(2) * weights).sum(dim=1)  # (n, S)
            across = found - seen.units[:, :-1].unsqueeze(2) * along.unsqueeze(1)
            by_spectra[chosen] = across * seen.stretch.unsqueeze(2)
        return total, by_spectra

    def derivatives(
        self, spectra: torch.Tensor, gradients: torch.Tensor, elements: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the likenesses of atoms, (n, J), and their derivatives, (n, M, 3, J).

        `gradients` (n, M, 3, K) are those of `spectra` (n, K) by M vectors of each atom.
        """
        likeness = spectra.new_empty(len(spectra), self.n_environments)
        found = gradients.new_empty(*gradients.shape[:3], self.n_environments)
        for element in range(len(self.scale)):
            chosen = (elements == element).nonzero().squeeze(1)
            seen = self._seen(spectra[chosen], element)
            likeness[chosen] = seen.likeness
            stretched = gradients[chosen] * seen.stretch[:, None, None]
            along = stretched @ seen.units[:, None, :-1, None]  # (n, M, 3, 1)
            across = stretched @ self.environments[element, :, :-1].T - along * seen.cosines[:, None, None]
            found[chosen] = across * seen.slopes[:, None, None]
        return likeness, found

    def _seen(self, spectra: torch.Tensor, element: int) -> _Seen:
        stretch = self.smoothness / self.scale[element]
        with_one = torch.cat([spectra * stretch, spectra.new_ones(len(spectra), 1)], dim=1)
        norms = with_one.norm(dim=1, keepdim=True)
        units, environments = with_one / norms, self.environments[element]
        cosines = units @ environments.T
        likeness = cosines**POWER - environments[:, -1] ** POWER
        return _Seen(units, stretch / norms, cosines, likeness, POWER * cosines ** (POWER - 1))


@dataclass(frozen=True)
class _Seen:
    """What the kernel sees of n atoms of one element.

    Attributes
    ----------
    units : (n, K + 1)
    stretch : (n, K), by which a change of a spectrum is multiplied in that of the unit vector
    cosines, likeness, slopes : (n, J); slopes are the derivatives of the likeness by the cosine
    """

    units: torch.Tensor
    stretch: torch.Tensor
    cosines: torch.Tensor
    likeness: torch.Tensor
    slopes: torch.Tensor
