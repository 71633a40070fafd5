"""Random orientations, including reflections."""

from __future__ import annotations

import torch


def random_orthogonal(n_matrices: int, generator: torch.Generator) -> torch.Tensor:
    """Draw orthogonal matrices, uniform over rotations and reflections: (n_matrices, 3, 3) float32.

    The factor Q of the QR decomposition of a Gaussian matrix is uniform after its columns are multiplied by the signs
    of the diagonal of R (Mezzadri, Notices of the AMS 54, 592, 2007).
    """
    # ortho_group of SciPy draws the matrices one by one, with a generator of NumPy.  Here thousands are drawn in one
    # call, with a generator of torch, whose state a resumed training restores exactly.
    q, r = torch.linalg.qr(torch.randn(n_matrices, 3, 3, generator=generator))
    return q * torch.sign(torch.diagonal(r, dim1=1, dim2=2)).unsqueeze(1)
