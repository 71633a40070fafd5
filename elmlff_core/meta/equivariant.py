"""Equivariant graph attention: layers that pass scalars and vectors between neighbours.

Scalars do not change when a structure is rotated or reflected, and vectors rotate with it.  Only operations that
preserve this are used, so equivariance is exact and need not be learnt.  The attention is that of a transformer with
invariant scores.  It weights scalars, vectors and directions, as in PaiNN (Schütt et al., 2021) and TorchMD-NET (Thölke
and De Fabritiis, 2022).  Residuals and jumping knowledge are those of the paper (Eqs. 4, 5).

Shapes: N atoms, F features, H heads; scalars (N, F), vectors (N, 3, F).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from elmlff_core.graphs.pairs import Pairs
from elmlff_core.graphs.pairs_of_batch import PairsOfBatch

# Maps scalars and vectors of atoms, and perhaps further values, to results for the same atoms.
Readout = Callable[..., tuple[torch.Tensor, ...]]
# Keeps the derivative of a norm finite at a zero vector.
EPSILON = 1e-8
# Of a standard deviation relative to that of usual errors: it stays finite on structures that nobody has seen.
LARGEST_LOGARITHM = 15.0


def norm(vectors: torch.Tensor) -> torch.Tensor:
    """Return norms over the components of vectors (..., 3, F), smooth at zero: (..., F)."""
    return (vectors.square().sum(dim=-2) + EPSILON).sqrt()


def compressed(vectors: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Return vectors with the norm r replaced by log(1 + r), so that forces from 0.01 to 40 eV/Å can be inputs."""
    norms = (vectors.square().sum(dim=dim, keepdim=True) + EPSILON).sqrt()
    return vectors * (norms.log1p() / norms)


def normed(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors (N, 3, F) divided by the root mean square of their norms; zero vectors stay zero."""
    mean_square = vectors.square().sum(dim=(1, 2), keepdim=True) / vectors.shape[2]
    return vectors * (mean_square + 1e-2).rsqrt()


class EquivariantAttention(nn.Module):
    """Messages from neighbours, made of their scalars, their directions and their vectors.

    Each head weights the neighbours by attention; radial functions of the distance scale the messages.
    """

    def __init__(self, width: int, heads: int, n_radial: int, n_neighbours: float) -> None:
        super().__init__()
        # The softmax gives means; a sum over neighbours grows with their number, and its noise with the square root.
        self.gain = n_neighbours**0.5
        self.scalar_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 4 * width)
        self.vector_values = nn.Linear(width, 2 * width, bias=False)
        self.radial = nn.Linear(n_radial, 4 * heads)
        self.scalar_out = nn.Linear(2 * width, width)
        self.vector_out = nn.Linear(2 * width, width, bias=False)

    def inputs(self, scalars: torch.Tensor, vectors: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Return what the atoms bring into their messages.

        These are queries (N, F), values (N, 3 F) and, unless there are no vectors, values that are vectors
        (N, 3, 2 F); see `Pairs.messages`.
        """
        scalars = self.scalar_norm(scalars)
        weight, bias = self.queries_keys_values.weight, self.queries_keys_values.bias
        width = scalars.shape[1]
        # Two products give two whole tensors, which compiled loops read faster than parts of one.
        queries = nn.functional.linear(scalars, weight[:width], bias[:width])
        values = nn.functional.linear(scalars, weight[width:], bias[width:])
        if vectors is None:
            return queries, values
        return queries, values, self.vector_values(normed(vectors))

    def forward(
        self, pairs: Pairs, queries: torch.Tensor, values: torch.Tensor, vectors: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the changes of the targets of `pairs`: scalars (N, F) and vectors (N, 3, F)."""
        found = pairs.messages(queries, values, vectors, self.radial.weight, self.radial.bias, self.gain)
        return self.scalar_out(found[0]), self.vector_out(found[1])


class EquivariantUpdate(nn.Module):
    """Update of the scalars and vectors of each atom from each other, as in the update block of PaiNN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scalar_norm = nn.LayerNorm(width)
        self.mixed = nn.Linear(width, 2 * width, bias=False)
        self.network = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 3 * width))

    def forward(self, scalars: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the updated scalars and vectors."""
        left, right = self.mixed(normed(vectors)).chunk(2, dim=-1)  # (N, 3, F)
        inputs = torch.cat([self.scalar_norm(scalars), norm(right)], dim=-1)
        own, product, gate = self.network(inputs).chunk(3, dim=-1)  # (N, F)
        scalars = torch.addcmul(scalars + own, product, (left * right).sum(dim=1))
        return scalars, torch.addcmul(vectors, gate.unsqueeze(1), left)


class EquivariantStack(nn.Module):
    """Layers of attention and update with residuals; the outputs of all layers are joined (jumping knowledge).

    Parameters
    ----------
    width : features of scalars and of vectors
    n_layers : number of layers
    heads : attention heads; divides `width`
    n_radial : radial basis functions
    n_neighbours : number of neighbours of a typical atom, by which sums are scaled
    """

    def __init__(self, width: int, n_layers: int, heads: int, n_radial: int, n_neighbours: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            EquivariantAttention(width, heads, n_radial, n_neighbours) for _ in range(n_layers)
        )
        self.updates = nn.ModuleList(EquivariantUpdate(width) for _ in range(n_layers))
        self.width = width * (n_layers + 1)

    def forward(
        self,
        scalars: torch.Tensor,
        vectors: torch.Tensor | None,
        pairs: PairsOfBatch,
        readout: Readout,
        *others: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Apply `readout` to the joined inputs and outputs of all layers: scalars (N, width), vectors (N, 3, width).

        Without vectors they are zero at first, and the first layer takes less time.  `others`, with a row for each
        atom, are further arguments of `readout`.
        """
        zeros = scalars.new_zeros(scalars.shape[0], 3, scalars.shape[1]) if vectors is None else vectors
        all_scalars, all_vectors = [scalars], [zeros]
        for attention, update in zip(self.attentions, self.updates, strict=True):
            assert isinstance(attention, EquivariantAttention)
            assert isinstance(update, EquivariantUpdate)
            present = (scalars,) if vectors is None else (scalars, vectors)
            queries, *of_sources = pairs.each(attention.inputs, *present)
            layer = partial(_layer, attention, update)
            scalars, vectors = pairs.apply(layer, (scalars, all_vectors[-1], queries), tuple(of_sources))
            all_scalars.append(scalars)
            all_vectors.append(vectors)
        n = len(all_scalars)

        def joined(*parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return readout(torch.cat(parts[:n], dim=-1), torch.cat(parts[n : 2 * n], dim=-1), *parts[2 * n :])

        return pairs.each(joined, *all_scalars, *all_vectors, *others)


def _layer(
    attention: EquivariantAttention,
    update: EquivariantUpdate,
    pairs: Pairs,
    scalars: torch.Tensor,
    vectors: torch.Tensor,
    *inputs: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scalars and vectors of the targets of `pairs` after one layer, from those before it."""
    scalar_change, vector_change = attention(pairs, *inputs)
    updated: tuple[torch.Tensor, torch.Tensor] = update(scalars + scalar_change, vectors + vector_change)
    return updated


class ScalarHead(nn.Module):
    """Readout of scalars and vectors as K numbers for each atom, which are zero at first."""

    def __init__(self, width: int, hidden: int, n_numbers: int, n_others: int = 0) -> None:
        super().__init__()
        self.vectors = nn.Linear(width, hidden, bias=False)
        last = nn.Linear(hidden, n_numbers)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(width + n_others + hidden, hidden), nn.SiLU(), last)

    def forward(self, scalars: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(N, n_numbers)."""
        return self._read(scalars, self.vectors(vectors))

    def _read(self, scalars: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(torch.cat([scalars, norm(hidden)], dim=-1))
        return out


class StdHead(ScalarHead):
    """Readout of the standard deviation of the force components of each atom, which is one at first.

    It learns from what the layers find for the forces, and changes nothing in it.
    """

    def __init__(self, width: int, hidden: int, n_others: int = 0) -> None:
        super().__init__(width, hidden, 1, n_others)

    @property
    def has_learnt(self) -> bool:
        """Whether it gives other numbers than at first."""
        return any(bool(parameter.any()) for parameter in self.network[-1].parameters())

    def forward(self, scalars: torch.Tensor, vectors: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """(N,); `others` are further scalars (N, n_others)."""
        joined = torch.cat([scalars.detach(), *others], dim=1)
        logarithm = super().forward(joined, vectors.detach()).squeeze(1)
        return logarithm.clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp()


class GatedHead(ScalarHead):
    """Readout of scalars and vectors as K numbers and one vector for each atom, which are zero at first."""

    def __init__(self, width: int, hidden: int, n_numbers: int) -> None:
        super().__init__(width, hidden, n_numbers + hidden)
        self.n_numbers = n_numbers

    def forward(self, scalars: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        """Return numbers (N, n_numbers) and vectors (N, 3)."""
        hidden = self.vectors(vectors)  # (N, 3, hidden)
        numbers, weights = self._read(scalars, hidden).split([self.n_numbers, hidden.shape[-1]], dim=-1)
        return numbers, (hidden * weights.unsqueeze(1)).sum(dim=-1)
