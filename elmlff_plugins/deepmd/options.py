"""Options of a Deep Potential: architecture and training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elmlff_core.contracts.hookspecs import Cutoff, Options


class DeepMDOptions(Options):
    """Architecture and training of a Deep Potential; the defaults are the paper's for methane.

    `sel` is the largest number of neighbours in a descriptor, one number per element in the order of the periodic
    table.  "auto" takes the numbers from the data, with a margin if there can be more neighbours.  `decay_steps` None
    means a tenth of `steps`.
    """

    descriptor: Literal["se_e2_a", "se_e2_r", "se_e3"] = "se_e2_a"
    rcut: Cutoff = 6.0
    rcut_smth: float = Field(0.5, gt=0)
    sel: Literal["auto"] | tuple[int, ...] = "auto"
    neuron: tuple[int, ...] = (10, 20, 40)
    axis_neuron: int = Field(4, gt=0)
    resnet_dt: bool = False
    fitting_neuron: tuple[int, ...] = (120, 240, 240)
    fitting_resnet_dt: bool = True
    steps: int = Field(50_000, gt=0)
    batch_size: Literal["auto"] | int = "auto"
    start_lr: float = Field(1e-3, gt=0)
    stop_lr: float = Field(3.51e-8, gt=0)
    decay_steps: int | None = Field(None, gt=0)
    warmup_steps: int = Field(0, ge=0)
    start_pref_e: float = Field(0.02, ge=0)
    limit_pref_e: float = Field(1.0, ge=0)
    start_pref_f: float = Field(1000.0, ge=0)
    limit_pref_f: float = Field(1.0, ge=0)
    start_pref_v: float = Field(0.0, ge=0)
    limit_pref_v: float = Field(0.0, ge=0)
