"""Options of a NEP4: architecture and training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elmlff_core.contracts.hookspecs import Cutoff, Options


class NEPOptions(Options):
    """Architecture and training of a NEP4; the default architecture is that of the paper's model for methanol.

    `lambda_e`, `lambda_f` and `lambda_v` weight the errors of energies, forces and virials.
    """

    radial_cutoff: Cutoff = 8.0
    angular_cutoff: Cutoff = 4.0
    n_max: tuple[int, int] = (4, 4)
    basis_size: tuple[int, int] = (12, 12)
    l_max: tuple[int, ...] = (4, 2, 0)
    neuron: int = Field(30, gt=0)
    steps: int = Field(100_000, gt=0)
    batch_size: int = Field(32, gt=0)
    start_learning_rate: float = Field(1e-2, gt=0)
    stop_learning_rate: float = Field(1e-4, gt=0)
    lambda_e: float = Field(1.0, ge=0)
    lambda_f: float = Field(1.0, ge=0)
    lambda_v: float = Field(0.1, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
