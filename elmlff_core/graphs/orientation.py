"""Random orientations, reflections included."""

from __future__ import annotations

import torch


def random_orthogonal(n_matrices: int, generator: torch.Generator) -> torch.Tensor:
    """Orthogonal matrices uniform over rotations and reflections: (n_matrices, 3, 3) float32.

    The Q of a Gaussian matrix's QR decomposition is uniform once the signs of R's diagonal are taken into it
    (Mezzadri, Notices of the AMS 54, 592, 2007).
    """
    # SciPy's ortho_group draws one matrix after the other, from NumPy's generator.  A batch of thousands is one call
    # here, on torch's generator, whose state a resumed training restores exactly.
    q, r = torch.linalg.qr(torch.randn(n_matrices, 3, 3, generator=generator))
    return q * torch.sign(torch.diagonal(r, dim1=1, dim2=2)).unsqueeze(1)
