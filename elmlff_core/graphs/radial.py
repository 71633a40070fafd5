"""Radial functions, envelope and directions of edges.

Shapes: E edges, K radial functions.
"""

from __future__ import annotations

import torch

# Below this distance directions are undefined; the limit keeps gradients finite if two atoms coincide.
SMALLEST_DISTANCE = 1e-6  # Å


class RadialBasis(torch.nn.Module):
    """Spherical Bessel functions of the distance times a polynomial envelope (Gasteiger et al., 2020).

    The envelope and its first three derivatives vanish at the cutoff.
    """

    def __init__(self, n_functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("frequencies", torch.pi * torch.arange(1, n_functions + 1))
        self.frequencies: torch.Tensor

    def forward(self, distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the radial functions (K, E) and the envelope (E,) at distances (E,) in Å."""
        x = distances / self.cutoff
        envelope = (1 - x.square()).clamp(min=0).square().square()
        return torch.sin(self.frequencies.unsqueeze(1) * x) * (envelope / x), envelope

    def derivatives(self, distances: torch.Tensor) -> torch.Tensor:
        """Return the derivatives of the radial functions by the distance: (K, E), 1/Å."""
        x = distances / self.cutoff
        inside = (1 - x.square()).clamp(min=0)
        factor = inside.square().square() / x
        of_factor = -inside.square() * inside * (8 + inside / x.square())
        waves = self.frequencies.unsqueeze(1) * x
        slopes = self.frequencies.unsqueeze(1) * waves.cos() * factor + waves.sin() * of_factor
        return slopes / self.cutoff


def radial_and_units(vectors: torch.Tensor, basis: RadialBasis) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return radial functions (K, E), envelope (E,) and unit vectors (3, E) of edge vectors (E, 3)."""
    vectors = vectors.T.contiguous()  # operations on long rows take a fraction of the time
    distances = vectors.square().sum(dim=0).clamp(min=SMALLEST_DISTANCE**2).sqrt()
    return *basis(distances), vectors / distances
