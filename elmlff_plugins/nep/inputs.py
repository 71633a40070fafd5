"""Input files of GPUMD for molecular dynamics with a NEP."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import ase.io
from ase import Atoms

from elmlff_core.contracts.hookspecs import InputsRequest
from elmlff_core.files import replacing, write_text
from elmlff_core.plugins.toolkit import in_vacuum

if TYPE_CHECKING:
    from elmlff_plugins.nep.options import NEPOptions

N_STEPS, THERMO_EVERY, FRAME_EVERY = 100_000, 100, 1000
THERMOSTAT_STEPS = 100  # in which the thermostat acts


def write_gpumd_inputs(request: InputsRequest) -> str:
    """Write ``nep.txt``, ``model.xyz`` and ``run.in``, and return ``GPUMD``.

    GPUMD needs a box in every direction, so that there is vacuum along those that are not periodic.
    """
    options: NEPOptions = request.options
    with replacing(request.directory / "nep.txt") as partial:
        shutil.copyfile(request.checkpoint, partial)
    boxed = in_vacuum(request.structure, max(options.radial_cutoff, options.angular_cutoff))
    atoms = Atoms(numbers=boxed.numbers, positions=boxed.positions, cell=boxed.cell, pbc=request.structure.pbc)
    with replacing(request.directory / "model.xyz") as partial:
        ase.io.write(partial, atoms, format="extxyz")
    temperature = f"{request.temperature:g}"
    lines = (
        "potential    nep.txt",
        f"velocity     {temperature}",
        f"ensemble     nvt_bdp {temperature} {temperature} {THERMOSTAT_STEPS}",
        f"time_step    {request.timestep:g}",
        f"dump_thermo  {THERMO_EVERY}",
        f"dump_exyz    {FRAME_EVERY}",
        f"run          {N_STEPS}",
    )
    write_text(request.directory / "run.in", "\n".join(lines) + "\n")
    return "GPUMD"
