"""Options of a network of SchNetPack: architecture and training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elmlff_core.contracts.hookspecs import Cutoff, Options


class SchNetPackOptions(Options):
    """Architecture, training and evaluation of a SchNetPack network.

    A checkpoint contains its architecture; of these options only `precision`, `device` and `batch_pairs` are used when
    it is loaded.  `steps` are rounded up to whole epochs, unless `epochs` is given.  The loss is the weighted sum of
    the mean squared errors of energies (eV²) and of force components (eV²/Å²).  `batch_pairs` is the number of
    neighbour pairs evaluated at once; by default 4,096 on a CPU, where they fit into the cache, and 16,384 on a GPU.
    """

    n_atom_basis: int = Field(128, gt=0)
    n_interactions: int = Field(3, gt=0)
    n_rbf: int = Field(20, gt=0)
    cutoff: Cutoff = 5.0
    steps: int = Field(3000, gt=0)
    epochs: int | None = Field(None, gt=0)
    batch_size: int = Field(10, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    energy_weight: float = Field(0.01, ge=0)
    force_weight: float = Field(0.99, ge=0)
    precision: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_pairs: int | None = Field(None, gt=0)
