"""Edges: neighbour pairs sorted by their target, in the forms in which sums over neighbours need them.

Shapes: E edges, H heads.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch


class Edges:
    """Directed edges, sorted by target.

    Parameters
    ----------
    source, target : (E,) int64, atoms; `target` ascends
    n_targets, n_sources : number of atoms that may be targets, and sources
    """

    def __init__(self, source: torch.Tensor, target: torch.Tensor, n_targets: int, n_sources: int) -> None:
        self.source, self.target = source.contiguous(), target
        self.n_targets, self.n_sources = n_targets, n_sources
        self._bags: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def first(self) -> torch.Tensor:
        """The first edge of each target, and the number of edges: (n_targets + 1,) int32."""
        rows = torch.arange(self.n_targets + 1, device=self.target.device)
        return torch.searchsorted(self.target, rows, out_int32=True)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """`first` and `source` as arrays of NumPy, for compiled loops."""
        return self.first.numpy(), self.source.numpy()

    @cached_property
    def order(self) -> torch.Tensor:
        """The order that sorts the edges by source, and those of one source by target: (E,) int64."""
        return torch.argsort(self.source, stable=True)

    @cached_property
    def transposed(self) -> Edges:
        """The edges from target to source, sorted by what is now their target."""
        return Edges(self.target[self.order], self.source[self.order], self.n_sources, self.n_targets)

    def bags(self, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows and offsets for `torch.nn.functional.embedding_bag`, one bag for each head and target.

        Rows are those of a table with a row for each head and source, head by head: (H E,) int32.  Offsets are the
        first edge of each bag, and the number of edges: (H n_targets + 1,) int32.
        """
        if heads not in self._bags:
            head = torch.arange(heads, dtype=torch.int32, device=self.source.device).unsqueeze(1)
            rows = self.source.int() + self.n_sources * head
            offsets = self.first[:-1] + len(self) * head
            self._bags[heads] = (
                rows.flatten(),
                torch.nn.functional.pad(offsets.flatten(), (0, 1), value=heads * len(self)),
            )
        return self._bags[heads]
