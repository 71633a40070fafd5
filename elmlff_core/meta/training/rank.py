"""Rank: which of the processes that share a training this one is, and how they add up what they have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed

from elmlff_core.graphs.batch import GraphDataset


@dataclass(frozen=True)
class Rank:
    """One of the `n` processes that share a training, each with a device of its own.

    Attributes
    ----------
    number : 0 for the process that was asked for the training; it alone writes files and reports progress
    n : number of processes; with several, their process group is open
    device : number of its GPU on its machine, if it has one
    """

    number: int = 0
    n: int = 1
    device: int = 0

    def part_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of this process, which may be none; the parts of all processes are `rows`."""
        return rows[self.number :: self.n]

    def range_of(self, graphs: GraphDataset) -> GraphDataset:
        """Return the consecutive structures of this process, with about as many atoms as those of the others."""
        ends = np.cumsum(graphs.n_atoms.numpy())
        bounds = np.searchsorted(ends, np.linspace(0, ends[-1], self.n + 1)[1:-1], side="right")
        start, stop = ([0, *bounds.tolist(), len(graphs)])[self.number : self.number + 2]
        return graphs if self.n == 1 else graphs.between(start, stop)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of `values` over all processes, in place; all of them must call this."""
        if self.n > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes, in one message."""
        if self.n == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        # A process without structures in this batch has no gradients.
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
        summed = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, gradient in zip(trained, summed.split([one.numel() for one in trained]), strict=True):
            parameter.grad = gradient.view_as(parameter)
