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
        """Return the radial functions (E, K) and the envelope (E,) at distances (E,) in Å."""
        x = (distances / self.cutoff).unsqueeze(-1)
        envelope = (1 - x**2).clamp(min=0) ** 4  # (E, 1)
        return torch.sin(self.frequencies * x) / x * envelope, envelope.squeeze(-1)


def radial_and_units(vectors: torch.Tensor, basis: RadialBasis) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return radial functions (E, K), envelope (E,) and unit vectors (E, 3) of edge vectors (E, 3)."""
    distances = vectors.norm(dim=-1).clamp(min=SMALLEST_DISTANCE)
    return *basis(distances), vectors / distances.unsqueeze(-1)
