"""Input files of LAMMPS for molecular dynamics with a Deep Potential, by the plugin of DeePMD-kit."""

from __future__ import annotations

import shutil

import ase.io
import numpy as np

from elmlff_core.contracts.hookspecs import InputsRequest
from elmlff_core.files import replacing, write_text
from elmlff_core.plugins.toolkit import by_atomic_number, in_vacuum

MODEL, STRUCTURE, INPUT = "model.pth", "structure.data", "in.lammps"
INPUT_TEXT = """\
# LAMMPS finds pair_style deepmd in the plugin of DeePMD-kit: see the page Distillation for how it is started
units         metal
boundary      {boundary}
atom_style    atomic
read_data     {structure}
pair_style    deepmd {model}
pair_coeff    * * {elements}
timestep      {timestep:g}
velocity      all create {temperature:g} 12345
fix           1 all nvt temp {temperature:g} {temperature:g} 0.1
thermo_style  custom step time temp pe ke etotal press
thermo        100
dump          1 all custom 1000 trajectory.lammpstrj id element x y z fx fy fz
dump_modify   1 element {elements} sort id
run           10000
"""


def write_lammps_inputs(request: InputsRequest) -> str:
    """Write the model, ``structure.data`` and ``in.lammps``, and return ``LAMMPS``.

    LAMMPS needs a box in every direction: along those that are not periodic, the structure stands in the middle of
    vacuum, and the box follows the atoms.
    """
    pbc = request.structure.pbc
    elements = by_atomic_number(set(request.structure.get_chemical_symbols()))
    boxed = in_vacuum(request.structure, request.options.rcut)
    if not pbc.all():
        boxed.center(axis=np.flatnonzero(~pbc).tolist())
    with replacing(request.directory / MODEL) as partial:
        shutil.copyfile(request.checkpoint, partial)
    with replacing(request.directory / STRUCTURE) as partial:
        ase.io.write(
            partial, boxed, format="lammps-data", specorder=elements, masses=True, units="metal", atom_style="atomic"
        )
    text = INPUT_TEXT.format(
        boundary=" ".join("p" if is_periodic else "s" for is_periodic in pbc), structure=STRUCTURE, model=MODEL,
        elements=" ".join(elements), timestep=request.timestep / 1000, temperature=request.temperature,
    )  # fmt: skip
    write_text(request.directory / INPUT, text)
    return "LAMMPS"
