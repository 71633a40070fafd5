"""Random orientations are orthogonal, of both signs, and uniform in their first moments."""

import torch

from elmlff_core.graphs.orientation import random_orthogonal


def test_orthogonal_and_uniform():
    turns = random_orthogonal(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3).expand_as(turns), atol=1e-5)
    # Uniform over O(3): half are reflections, entries have mean 0 and mean square 1/3.
    assert abs(float((torch.linalg.det(turns) > 0).float().mean()) - 0.5) < 0.02
    assert turns.mean(dim=0).abs().max() < 0.02
    assert (turns.square().mean(dim=0) - 1 / 3).abs().max() < 0.02
