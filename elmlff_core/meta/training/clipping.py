"""Clipping of gradients: a step with a gradient that is a hundred times the usual one must not spoil a training.

Adam divides by the root mean square of the last thousand gradients, so that after such a step the network hardly moves
for some thousand others.  After one that is not finite it would never be finite again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from elmlff_core.meta.equivariant import StdHead

N_USUAL = 100  # steps


class Clipping:
    """Scales gradients down whose norm is above `limit` times the usual one, which is a mean over the last steps.

    A learnt standard deviation has a norm of its own: its gradient has nothing to do with the others.  The limit is not
    the same norm for all trainings, because the size of gradients differs much between them.
    """

    def __init__(self, network: nn.Module, limit: float) -> None:
        self.limit = limit
        self.n_steps = 0
        self.usual = [0.0, 0.0]
        heads = [module for module in network.modules() if isinstance(module, StdHead)]
        apart = [parameter for head in heads for parameter in head.parameters()]
        numbers = set(map(id, apart))
        self._parts = apart, [parameter for parameter in network.parameters() if id(parameter) not in numbers]

    def clip(self) -> None:
        """Clip the gradients of the network; those of a part that are not finite are left out."""
        self.n_steps += 1
        self.usual = [self._clip(*part) for part in zip(self._parts, self.usual, strict=True)]

    def state(self) -> dict[str, Any]:
        """Return what a training that is resumed has to know, as plain data."""
        return {"n_steps": self.n_steps, "usual": self.usual}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.n_steps, self.usual = state["n_steps"], state["usual"]

    def _clip(self, parameters: Sequence[nn.Parameter], usual: float) -> float:
        """Clip the gradients of `parameters`; return the new usual norm."""
        largest = self.limit * usual if usual > 0 else math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, largest))
        if not math.isfinite(norm):
            for parameter in parameters:
                parameter.grad = None
            return usual
        return usual + (min(norm, largest) - usual) / min(self.n_steps, N_USUAL)
