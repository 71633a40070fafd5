"""Adapter `nep`: neuroevolution potentials (NEP), evaluated with calorine and trained with neppo."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, InputsRequest, LoadRequest, Preset, hookimpl
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import TrainingLength, TrainingRequest
from elmlff_core.errors import PluginError
from elmlff_core.plugins.toolkit import backend_errors, check_elements, existing_checkpoint, fingerprint, in_vacuum
from elmlff_plugins import references
from elmlff_plugins.nep.options import NEPOptions

ADAPTER = "nep"


class NEPForceField:
    """A ``nep.txt``, evaluated on the CPU.

    Parameters
    ----------
    request : request with a checkpoint in the format ``nep.txt`` of GPUMD

    Raises
    ------
    ForceFieldError
        calorine cannot load the checkpoint.
    """

    def __init__(self, request: LoadRequest) -> None:
        self.name, self._describe = request.name, request.descriptors
        checkpoint = existing_checkpoint(request.checkpoint, self.name, ADAPTER)
        with backend_errors(self.name, ADAPTER, f"load {checkpoint}"):
            from calorine.calculators import CPUNEP
            from calorine.nep import read_model

            model = read_model(str(checkpoint))
            # One calculator for all structures: it is set up again only when the number of atoms changes.
            self._calculator = CPUNEP(str(checkpoint))
        self.elements: frozenset[str] | None = frozenset(model.types)
        self.cutoff: float | None = float(np.max([model.radial_cutoff, model.angular_cutoff]))
        self.fingerprint = nep_fingerprint(request)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if all structures are periodic in three directions."""
        check_elements(structures, self.elements, self.name)
        assert self.cutoff is not None
        energy = np.zeros(len(structures))
        forces: list[np.ndarray] = [np.zeros((0, 3))] * len(structures)
        stress = np.zeros((len(structures), 6))
        descriptors: list[np.ndarray] = [np.zeros((0, 0))] * len(structures) if self._describe else []
        for index in sorted(range(len(structures)), key=lambda i: len(structures[i])):
            with backend_errors(self.name, ADAPTER, f"evaluate structure {index}"):
                # nep_cpu treats every direction as periodic.
                atoms = in_vacuum(structures[index], self.cutoff)
                self._calculator.calculate(atoms)
                if self._describe:
                    self._calculator.calculate(atoms, ["descriptors"])
                    descriptors[index] = self._calculator.results["descriptors"]
            results = self._calculator.results
            energy[index], forces[index], stress[index] = results["energy"], results["forces"], results["stress"]
        has_stress = all(atoms.pbc.all() for atoms in structures)
        return Prediction.from_lists(forces, energy, stress if has_stress else None, descriptors)


def nep_fingerprint(request: LoadRequest) -> str:
    """Return the fingerprint of a model without importing calorine."""
    return fingerprint("nep/1", "calorine", existing_checkpoint(request.checkpoint, request.name, ADAPTER))


class NEPTrainer:
    """Trains a NEP4 with neppo."""

    def length(self, options: NEPOptions, n_structures: int) -> TrainingLength:
        """Return steps and epochs; the number of batches per epoch is that of neppo."""
        per_epoch = max(1, math.ceil(n_structures / options.batch_size))
        return TrainingLength(options.steps, options.steps / per_epoch)

    def train(self, request: TrainingRequest) -> Path:
        """Train a model; an interrupted training with the same settings and data resumes from its last report."""
        if importlib.util.find_spec("neppo") is None:
            raise PluginError(
                f"model '{request.name}' cannot be trained: neppo is not installed; pip install \"elmlff[nep]\""
            )
        from elmlff_plugins.nep.training import train

        return train(request)


def write_inputs(request: InputsRequest) -> str:
    """Write input files of GPUMD."""
    from elmlff_plugins.nep.inputs import write_gpumd_inputs

    return write_gpumd_inputs(request)


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `nep`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="NEP4 neuroevolution potentials: calorine to evaluate, neppo to train",
        options=NEPOptions,
        load=NEPForceField,
        trainer=NEPTrainer(),
        fingerprint=nep_fingerprint,
        runs=lambda request: (),  # nep.txt holds numbers
        requires=("calorine.calculators",),
        extra="nep",
        cutoff_option="radial_cutoff",
        citation=(references.NEP, references.GPUMD, references.NEP4, references.CALORINE),
        inputs=write_inputs,
        takes_weights=True,
        describes=True,
    )


@hookimpl
def elmlff_presets() -> Iterator[Preset]:
    """The NEP of the paper."""
    yield Preset(
        name="nep",
        adapter=ADAPTER,
        summary="NEP4, cutoffs 8 and 4 Å",
        options={"radial_cutoff": 8.0, "angular_cutoff": 4.0},
        budgets={"quick": {"steps": 3000}, "long": {"steps": 10_000}, "paper": {"steps": 100_000}},
        default=True,
        order=1,  # the last in the order of the paper
    )
