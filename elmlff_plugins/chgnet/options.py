"""Options of a pretrained CHGNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elmlff_core.contracts.hookspecs import Options


class CHGNetOptions(Options):
    """The version of the pretrained weights, and how it is evaluated.

    `batch_atoms` is the largest number of atoms in one call of the network, unless one structure has more; by default
    64 on a CPU, where larger batches are not faster, and 1,024 on a GPU.
    """

    version: Literal["0.2.0", "0.3.0", "r2scan"] = "0.3.0"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_atoms: int | None = Field(None, gt=0)
