"""Clipping of gradients: a step with a gradient that is a hundred times the usual one must not spoil a training.

Adam divides by the root mean square of the last thousand gradients, so that after such a step the network hardly moves
for some thousand others.  After one that is not finite it would never be finite again.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from elmlff_core.meta.equivariant import StdHead

# In trainings of `egat` the gradient of the likelihood has norms of 3 to 50, that of all else has norms of 1 to 10.
LIKELIHOOD = 10.0


def clip_gradients(network: nn.Module, limit: float) -> None:
    """Scale gradients down whose norm is above `limit`; that of a learnt standard deviation has ten times this limit.

    The two have nothing to do with each other, and norms of their own.  Of what is not finite no step is made.
    """
    heads = [module for module in network.modules() if isinstance(module, StdHead)]
    apart = [parameter for head in heads for parameter in head.parameters()]
    numbers = set(map(id, apart))
    _clip(apart, LIKELIHOOD * limit)
    _clip([one for one in network.parameters() if id(one) not in numbers], limit)


def _clip(parameters: Sequence[nn.Parameter], limit: float) -> None:
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if not norm.isfinite():
        for parameter in parameters:
            parameter.grad = None
