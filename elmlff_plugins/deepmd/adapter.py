"""Adapter `dp`: Deep Potential models of DeePMD-kit, trained by its own trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, InputsRequest, LoadRequest, PackageClash, Preset, hookimpl
from elmlff_core.contracts.protocols import TrainingLength, TrainingRequest
from elmlff_core.plugins.requirements import installed_version, is_importable, own_environment
from elmlff_plugins import references
from elmlff_plugins.deepmd.evaluation import ADAPTER, DeepMDForceField, deepmd_fingerprint
from elmlff_plugins.deepmd.options import DeepMDOptions


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
        standalone="elmlff_plugins.deepmd.evaluation",
        cutoff_option="rcut",
        thread_variables=("DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"),
        citation=(references.DEEPMD_KIT, references.DEEP_POTENTIAL),
        inputs=write_inputs,
        describes=True,
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
            budgets={"quick": _QUICK, "long": {**_QUICK, "steps": 6000, "decay_steps": 120}, "paper": _PAPER},
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
