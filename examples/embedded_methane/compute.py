"""Compute the embedded example: thermally distorted methane with PBE/def2-TZVP energies and forces.

The structures are classical Boltzmann samples of the harmonic normal modes about the PBE minimum at several
temperatures, in one orientation and without periodic images.  Energies and analytic forces (grid response
included, so that they are exact derivatives of the numerically integrated energy) come from PySCF.

    pip install pyscf ase
    python compute.py methane.extxyz --per-temperature 300 --workers 2

One core takes about 1.5 s per structure.  An interrupted run resumes.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # each core computes one structure; more threads do not help DFT of 5 atoms

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from pyscf import dft, gto

TEMPERATURES = (300, 600, 900, 1200)  # K
FUNCTIONAL, BASIS, GRID_LEVEL, ENERGY_TOLERANCE = "pbe", "def2-tzvp", 3, 1e-10
HARTREE_PER_BOHR = units.Hartree / units.Bohr  # eV/Å


def solve(atoms: Atoms):
    """Return the converged restricted Kohn-Sham solution of `atoms`."""
    mol = gto.M(atom=list(zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)), basis=BASIS, verbose=0)
    solution = dft.RKS(mol, xc=FUNCTIONAL)
    solution.grids.level = GRID_LEVEL
    solution.conv_tol = ENERGY_TOLERANCE
    solution.kernel()
    if not solution.converged:
        raise RuntimeError(f"SCF did not converge for positions\n{atoms.positions}")
    return solution


def label(atoms: Atoms) -> Atoms:
    """Return a copy of `atoms` with `REF_energy` (eV) and `REF_forces` (eV/Å)."""
    solution = solve(atoms)
    gradient = solution.nuc_grad_method()
    gradient.grid_response = True
    labelled = atoms.copy()
    labelled.info["REF_energy"] = float(solution.e_tot * units.Hartree)
    labelled.arrays["REF_forces"] = -gradient.kernel() * HARTREE_PER_BOHR
    return labelled


def minimum() -> Atoms:
    """Return methane, relaxed along its only symmetric degree of freedom until forces vanish."""
    atoms = molecule("CH4")
    for _ in range(30):
        forces = label(atoms).arrays["REF_forces"]
        if np.abs(forces).max() < 1e-5:
            return atoms
        atoms.positions += forces / 30.0  # 30 eV/Å²: about the stiffness of a C-H bond
    raise RuntimeError("methane did not relax")


def normal_modes(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return curvatures (9,) in eV/(Å² amu) and mass-weighted modes (9, 15) of the vibrations of `atoms`."""
    n_coordinates = 3 * len(atoms)
    hessian = solve(atoms).Hessian().kernel().transpose(0, 2, 1, 3).reshape(n_coordinates, n_coordinates)
    root_mass = np.sqrt(np.repeat(atoms.get_masses(), 3))
    weighted = hessian * units.Hartree / units.Bohr**2 / np.outer(root_mass, root_mass)
    curvatures, modes = np.linalg.eigh(weighted)
    return curvatures[6:], modes.T[6:]  # the first six are translations and rotations


def sample(n_per_temperature: int, seed: int) -> list[Atoms]:
    """Return Boltzmann samples of the harmonic modes, in the order of TEMPERATURES."""
    rest = minimum()
    curvatures, modes = normal_modes(rest)
    frequencies = np.sqrt(curvatures * units._e * 1e20 / units._amu) / (2 * np.pi * units._c * 100)
    print("normal modes (1/cm):", np.round(frequencies, 1))
    root_mass = np.sqrt(np.repeat(rest.get_masses(), 3))
    rng = np.random.default_rng(seed)
    structures = []
    for temperature in TEMPERATURES:
        width = np.sqrt(units.kB * temperature / curvatures)  # (9,)
        for amplitudes in rng.normal(size=(n_per_temperature, len(width))) * width:
            atoms = rest.copy()
            atoms.positions += ((amplitudes @ modes) / root_mass).reshape(-1, 3)
            atoms.info = {"temperature": temperature}
            structures.append(atoms)
    return structures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--per-temperature", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2024)
    arguments = parser.parse_args()
    structures = sample(arguments.per_temperature, arguments.seed)
    partial = arguments.output.with_suffix(".partial.jsonl")
    labels = [json.loads(line) for line in partial.read_text().splitlines()] if partial.exists() else []
    with ProcessPoolExecutor(arguments.workers) as pool, partial.open("a") as file:
        for labelled in pool.map(label, structures[len(labels) :]):
            labels.append([labelled.info["REF_energy"], labelled.arrays["REF_forces"].tolist()])
            file.write(json.dumps(labels[-1]) + "\n")
            file.flush()
            if len(labels) % 50 == 0:
                print(f"{len(labels)} of {len(structures)} structures", flush=True)
    for atoms, (energy, forces) in zip(structures, labels, strict=True):
        atoms.info["REF_energy"] = energy
        atoms.arrays["REF_forces"] = np.array(forces)
    ase.io.write(arguments.output, structures)
    partial.unlink()


if __name__ == "__main__":
    main()
