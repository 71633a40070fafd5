"""Input files for the programs in which models run: LAMMPS with the plugin of DeePMD-kit, and GPUMD."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.contracts.hookspecs import InputsRequest
from tests.trained_models import TINY, find_plugin

# A program `lmp` in an environment with what docs/distillation.md names: it is not in the environment of the tests.
LMP = "ELMLFF_LMP_WITH_DEEPMD"


def written(adapter: str, checkpoint: Path, atoms: Atoms, folder: Path) -> str:
    """Write the inputs of an adapter to `folder`, and return the name of the program."""
    plugin = find_plugin(adapter)
    assert plugin.inputs is not None
    folder.mkdir()
    return plugin.inputs(InputsRequest(checkpoint, plugin.options(**TINY[adapter]), atoms, 350.0, 0.5, folder))


def commands(path: Path) -> dict[str, str]:
    lines = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(lines)


def test_lammps_gets_the_structure_the_model_and_the_timestep(tmp_path):
    (tmp_path / "trained.pth").write_bytes(b"model")
    methane = molecule("CH4")
    assert written("dp", tmp_path / "trained.pth", methane, tmp_path / "free") == "LAMMPS"
    found = commands(tmp_path / "free" / "in.lammps")
    assert found["boundary"] == "s s s"
    assert found["pair_coeff"] == "* * H C"
    assert float(found["timestep"]) == 0.0005  # ps
    assert "350" in found["velocity"]
    assert (tmp_path / "free" / found["pair_style"].split()[1]).read_bytes() == b"model"
    read = ase.io.read(tmp_path / "free" / found["read_data"], format="lammps-data", units="metal", atom_style="atomic")
    assert read.get_chemical_symbols() == methane.get_chemical_symbols()
    assert np.allclose(read.get_all_distances(), methane.get_all_distances())
    fractional = read.get_scaled_positions(wrap=False)
    assert (fractional > 0.2).all()
    assert (fractional < 0.8).all()


def test_lammps_gets_a_tilted_cell(tmp_path):
    (tmp_path / "trained.pth").write_bytes(b"model")
    crystal = bulk("Cu").repeat(2)
    crystal.rattle(0.1, seed=0)
    written("dp", tmp_path / "trained.pth", crystal, tmp_path / "crystal")
    assert commands(tmp_path / "crystal" / "in.lammps")["boundary"] == "p p p"
    path = tmp_path / "crystal" / "structure.data"
    read = ase.io.read(path, format="lammps-data", units="metal", atom_style="atomic")
    assert read.get_volume() == pytest.approx(crystal.get_volume())
    distances = [np.sort(atoms.get_all_distances(mic=True).ravel()) for atoms in (read, crystal)]
    assert np.allclose(*distances, atol=1e-6)


def test_gpumd_gets_vacuum_only_where_a_structure_is_not_periodic(tmp_path):
    (tmp_path / "best.txt").write_text("nep4")
    crystal = bulk("Cu", cubic=True)
    assert written("nep", tmp_path / "best.txt", crystal, tmp_path / "crystal") == "GPUMD"
    read = ase.io.read(tmp_path / "crystal" / "model.xyz")
    assert np.allclose(read.cell.array, crystal.cell.array)
    assert read.pbc.all()
    assert (tmp_path / "crystal" / "nep.txt").read_text() == "nep4"
    found = commands(tmp_path / "crystal" / "run.in")
    assert found["ensemble"].split()[:3] == ["nvt_bdp", "350", "350"]
    assert found["time_step"] == "0.5"  # fs
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    written("nep", tmp_path / "best.txt", slab, tmp_path / "slab")
    read = ase.io.read(tmp_path / "slab" / "model.xyz")
    assert read.pbc.tolist() == [True, True, False]
    assert read.cell.lengths()[2] > 2 * TINY["nep"]["radial_cutoff"]


@pytest.mark.skipif(LMP not in os.environ, reason=f"{LMP} names no lmp beside the plugin of DeePMD-kit")
def test_lammps_runs_a_deep_potential_with_its_energy(trained, resumed_dp, tmp_path):
    methane = molecule("CH4", cell=[9.0, 9.0, 9.0], pbc=True)
    methane.rattle(0.05, seed=1)
    model = trained("dp")
    written("dp", resumed_dp[0], methane, tmp_path / "run")
    path = tmp_path / "run" / "in.lammps"
    changed = re.sub(r"^thermo  .*", "thermo 20\nthermo_modify format float %.10f", path.read_text(), flags=re.M)
    path.write_text(re.sub(r"^run  .*", "run 20", changed, flags=re.M))
    spec = importlib.util.find_spec("deepmd")
    assert spec is not None
    assert spec.submodule_search_locations
    plugins = Path(spec.submodule_search_locations[0]) / "lib"
    variables = dict.fromkeys(("DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"), "1")
    done = subprocess.run(
        [os.environ[LMP], "-in", "in.lammps"], cwd=path.parent, check=False, capture_output=True, text=True,
        env=os.environ | variables | {"LAMMPS_PLUGIN_PATH": str(plugins)}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.split("Step")[1].splitlines()[1:]
    first = [float(cell) for cell in rows[0].split()]
    assert first[3] == pytest.approx(model.predict([methane]).energy[0], abs=1e-6)
    frames = ase.io.read(path.parent / "trajectory.lammpstrj", ":", format="lammps-dump-text")
    assert np.allclose(frames[0].get_forces(), model.predict([methane]).forces, atol=1e-5)
