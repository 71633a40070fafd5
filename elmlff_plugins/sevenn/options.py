"""Options of a pretrained SevenNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elmlff_core.contracts.hookspecs import Options


class SevenNetOptions(Options):
    """The name of the pretrained weights, and how the network is evaluated.

    `modal` chooses one of the levels of theory of a network that was trained on several, such as ``PBE``.
    `batch_atoms` is the largest number of atoms in one call of the network, unless one structure has more; by default
    64 on a CPU, where larger batches are not faster, and 1,024 on a GPU.
    """

    model: str = Field("7net-0", pattern=r"^[A-Za-z0-9_-]+$")
    modal: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]+$")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_atoms: int | None = Field(None, gt=0)
