"""Adapter `dp`: Deep Potential models of DeePMD-kit, trained by its own trainer."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, InputsRequest, LoadRequest, PackageClash, Preset, hookimpl
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import TrainingLength, TrainingRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.requirements import installed_version, is_importable, own_environment
from elmlff_core.plugins.toolkit import backend_errors, check_elements, existing_checkpoint, fingerprint, in_vacuum
from elmlff_plugins import references
from elmlff_plugins.deepmd.neighbours import CrowdingCheck
from elmlff_plugins.deepmd.options import DeepMDOptions

ADAPTER = "dp"


class DeepMDForceField:
    """A frozen Deep Potential.

    Parameters
    ----------
    request : request with a checkpoint ``.pth`` or ``.pt`` (PyTorch), or ``.pb`` if TensorFlow is installed

    Raises
    ------
    ForceFieldError
        DeePMD-kit cannot load the checkpoint.
    """

    def __init__(self, request: LoadRequest) -> None:
        self.name = request.name
        checkpoint = existing_checkpoint(request.checkpoint, self.name, ADAPTER)
        with backend_errors(self.name, ADAPTER, f"load {checkpoint}"):
            self._potential = _load_potential(checkpoint, self.name)
            self._type_of = {symbol: index for index, symbol in enumerate(self._potential.get_type_map())}
            self.cutoff: float | None = float(self._potential.get_rcut())
            definition = self._potential.get_model_def_script()
        self._warn_if_crowded = CrowdingCheck(self.name, definition, list(self._type_of), self.cutoff)
        self.elements: frozenset[str] | None = frozenset(self._type_of)
        self.fingerprint = deepmd_fingerprint(request)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if all structures are periodic in three directions.

        Structures with the same atoms are evaluated by DeePMD-kit in one batch.
        """
        check_elements(structures, self.elements, self.name)
        assert self.cutoff is not None
        self._warn_if_crowded(structures)
        groups: dict[tuple[bool, bytes], list[int]] = defaultdict(list)
        for index, atoms in enumerate(structures):
            groups[bool(atoms.pbc.any()), atoms.numbers.tobytes()].append(index)
        energy = np.zeros(len(structures))
        forces: list[np.ndarray] = [np.zeros((0, 3))] * len(structures)
        stress = np.zeros((len(structures), 6))
        for (periodic, _), members in groups.items():
            group = [in_vacuum(structures[i], self.cutoff) if periodic else structures[i] for i in members]
            with backend_errors(self.name, ADAPTER, f"evaluate structure {members[0]} and {len(members) - 1} like it"):
                energies, all_forces, virials = self._evaluate(group, periodic)
            energy[members] = energies
            for row, index in enumerate(members):
                forces[index] = all_forces[row]
                if periodic:
                    stress[index] = full_3x3_to_voigt_6_stress(-virials[row] / group[row].get_volume())
        has_stress = all(atoms.pbc.all() for atoms in structures)
        return Prediction.from_lists(forces, energy, stress if has_stress else None)

    def _evaluate(self, group: Sequence[Atoms], periodic: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return energies (n,), forces (n, n_atoms, 3) and virials (n, 3, 3) of structures with the same atoms."""
        n, n_atoms = len(group), len(group[0])
        coordinates = np.stack([atoms.positions for atoms in group]).reshape(n, -1)
        cells = np.stack([atoms.cell.array for atoms in group]).reshape(n, 9) if periodic else None
        types = [self._type_of[symbol] for symbol in group[0].get_chemical_symbols()]
        energies, forces, virials = self._potential.eval(coordinates, cells, types)[:3]
        # DeePMD-kit does not symmetrise the virial.
        virials = virials.reshape(n, 3, 3)
        return energies.reshape(n), forces.reshape(n, n_atoms, 3), 0.5 * (virials + virials.transpose(0, 2, 1))


def _load_potential(checkpoint: Path, model: str) -> Any:
    """Load a checkpoint with DeePMD-kit, without its banners."""
    # Its messages on threads and batch sizes would appear in the middle of the output for the user.
    logging.getLogger("deepmd").setLevel(logging.ERROR)
    from deepmd.infer import DeepPot

    try:
        return DeepPot(str(checkpoint))
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "tensorflow":
            raise ForceFieldError(
                f"model '{model}': {checkpoint.name} is a TensorFlow model, but TensorFlow is not installed; either "
                f"pip install 'deepmd-kit[cpu]', or, on a machine with TensorFlow, convert the model: "
                f"dp convert-backend {checkpoint.name} {checkpoint.stem}.pth"
            ) from error
        raise


def deepmd_fingerprint(request: LoadRequest) -> str:
    """Return the fingerprint of a model without importing DeePMD-kit."""
    return fingerprint("dp/1", "deepmd-kit", existing_checkpoint(request.checkpoint, request.name, ADAPTER))


def checkpoint_program(request: LoadRequest) -> list[str]:
    """Frozen models are programs: TorchScript, a TensorFlow graph, or a compiled library."""
    return [] if request.checkpoint is None else [f"the program in the frozen model {request.checkpoint}"]


class DeepMDTrainer:
    """Trains a Deep Potential with ``dp --pt train``."""

    def length(self, options: DeepMDOptions, n_structures: int) -> TrainingLength:
        """Return steps and epochs; with an automatic batch size, epochs are estimated for small molecules."""
        from elmlff_plugins.deepmd.training import training_length

        return training_length(options, n_structures)

    def train(self, request: TrainingRequest) -> Path:
        """Train and freeze a model; an interrupted training with the same input resumes from its checkpoints."""
        from elmlff_plugins.deepmd.training import train

        return train(request)


def write_inputs(request: InputsRequest) -> str:
    """Write input files of LAMMPS."""
    from elmlff_plugins.deepmd.inputs import write_lammps_inputs

    return write_lammps_inputs(request)


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `dp`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="Deep Potential models of DeePMD-kit (se_e2_a, se_e2_r, se_e3)",
        options=DeepMDOptions,
        load=DeepMDForceField,
        trainer=DeepMDTrainer(),
        fingerprint=deepmd_fingerprint,
        runs=checkpoint_program,
        requires=("deepmd.pt.infer.deep_eval",),
        extra="deepmd",
        cutoff_option="rcut",
        thread_variables=("DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"),
        citation=(references.DEEPMD_KIT, references.DEEP_POTENTIAL),
        inputs=write_inputs,
    )


_PAPER: dict[str, Any] = {"steps": 50_000, "start_lr": 1e-3, "stop_lr": 3.51e-8, "decay_steps": 5000}
# With the paper's schedule a short training learns almost nothing.  This schedule starts and ends with higher learning
# rates, which fall in small steps, and keeps a high weight of the forces.  It needs the warm-up: after 1500 steps the
# validation error on methane is 0.117 eV/Å without and 0.027 with it.
_QUICK: dict[str, Any] = {
    "steps": 2000,
    "start_lr": 3e-3,
    "stop_lr": 1e-5,
    "decay_steps": 40,
    "warmup_steps": 200,
    "start_pref_e": 1.0,
    "limit_pref_e": 1.0,
    "limit_pref_f": 100.0,
}


@hookimpl
def elmlff_presets() -> Iterator[Preset]:
    """The Deep Potentials of the paper."""
    descriptors = {
        "dp1": ("se_e2_a", "two-body descriptor with angles"),
        "dp2": ("se_e2_r", "two-body descriptor of distances"),
        "dp3": ("se_e3", "three-body descriptor"),
    }
    for name, (descriptor, words) in descriptors.items():
        yield Preset(
            name=name,
            adapter=ADAPTER,
            summary=f"Deep Potential, {words} ({descriptor})",
            options={"descriptor": descriptor},
            budgets={"quick": _QUICK, "paper": _PAPER},
            default=name == "dp1",
            citation=(references.THREE_BODY_DEEP_POTENTIAL,) if descriptor == "se_e3" else (),
        )


@hookimpl
def elmlff_package_clashes() -> Iterator[PackageClash]:
    """Installations in which DeePMD-kit does not work."""
    yield PackageClash("mace-torch and deepmd-kit", _is_beside_mace, own_environment("mace-torch"))
    yield PackageClash("deepmd-kit without its PyTorch extra", _lacks_extra, 'pip install "elmlff[deepmd]"')


def _is_beside_mace() -> str:
    if installed_version("mace-torch") is None or installed_version("deepmd-kit") is None:
        return ""
    return "mace-torch pins e3nn 0.4.4, deepmd-kit[torch] needs 0.5.9 or newer: they cannot share an environment"


def _lacks_extra() -> str:
    if installed_version("deepmd-kit") is None or is_importable("e3nn"):
        return ""
    return "deepmd-kit is installed without the packages that its PyTorch models need"
