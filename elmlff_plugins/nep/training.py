"""Training of NEP models: input, data and progress of neppo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import TrainingRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.files import write_text
from elmlff_core.plugins.toolkit import by_atomic_number, element_energies, in_vacuum
from elmlff_core.plugins.training_process import run_trainer

if TYPE_CHECKING:
    from elmlff_plugins.nep.options import NEPOptions

BEST, LAST, CURVE = "nep_best.txt", "nep.txt", "loss.out"
BEGUN, FINISHED = "begun", "finished"
STATE = "resume.pt"
N_REPORTS = 25  # each evaluates all training and validation structures

_PROGRAM = ("-P", "-m", "elmlff_plugins.nep.trainer")


def train(request: TrainingRequest) -> Path:
    """Train a NEP4 in ``request.directory`` and return its best state by validation loss.

    An interrupted training with the same settings and data resumes from its last report.

    A NEP has only one energy constant for all elements.  Therefore, if compositions vary, per-element energies from
    least squares are subtracted from the labels, and the energies of the model are relative to them.  For a single
    composition the energies of the model are total energies.

    Returns
    -------
    Path
        A ``nep.txt``.
    """
    directory = request.directory
    settings = trainer_input(request)
    fingerprints = f"# train {request.train.labels_fingerprint}\n# valid {request.valid.labels_fingerprint}\n"
    finished = directory / FINISHED
    if finished.exists() and finished.read_text() == settings + fingerprints:
        return _best(directory)
    begun = directory / BEGUN
    if not begun.exists() or begun.read_text() != settings + fingerprints:
        for leftover in (STATE, BEST, LAST, CURVE, FINISHED, "test.xyz"):
            (directory / leftover).unlink(missing_ok=True)
        write_text(begun, settings + fingerprints)
    write_text(directory / "nep.in", settings)
    shifts = element_shifts(request.train)
    write_structures(request.train, directory / "train.xyz", shifts, request.options)
    if len(request.valid):
        write_structures(request.valid, directory / "test.xyz", shifts, request.options)
    arguments = [*_PROGRAM, "train", "."]
    if request.options.device != "auto":
        arguments += ["--device", request.options.device]
    report = _progress_reader(directory / CURVE, request)
    run_trainer(arguments, directory, request.name, "nep", report)
    for leftover in [*directory.glob("*_train.out"), *directory.glob("*_test.out"), *directory.glob("*.xyz")]:
        leftover.unlink()
    write_text(finished, settings + fingerprints)
    (directory / STATE).unlink(missing_ok=True)
    return _best(directory)


def _best(directory: Path) -> Path:
    for name in (BEST, LAST):
        if (directory / name).exists():
            return directory / name
    raise ForceFieldError(f"neppo left no model in {directory}")


def trainer_input(request: TrainingRequest) -> str:
    """neppo's ``nep.in``."""
    options: NEPOptions = request.options
    elements = by_atomic_number(request.train.elements | request.valid.elements)
    has_energy, has_stress = request.train.energy is not None, request.train.stress is not None
    settings: dict[str, list[object]] = {
        "version": [4],
        "type": [len(elements), *elements],
        "cutoff": [options.radial_cutoff, options.angular_cutoff],
        "n_max": list(options.n_max),
        "basis_size": list(options.basis_size),
        "l_max": list(options.l_max),
        "neuron": [options.neuron],
        "lambda_e": [options.lambda_e if has_energy else 0.0],
        "lambda_f": [options.lambda_f],
        "lambda_v": [options.lambda_v if has_stress else 0.0],
        "batch": [options.batch_size],
        "generation": [options.steps],
        "learning_rate": [options.start_learning_rate, options.stop_learning_rate],
        "seed": [request.seed % 2**31],
        "output_interval": [max(1, options.steps // N_REPORTS)],
    }
    return "".join(f"{keyword} {' '.join(map(str, values))}\n" for keyword, values in settings.items())


def element_shifts(train: Dataset) -> np.ndarray:
    """Return the energy of each element relative to the mean over all atoms: (119,) float64, eV.

    All values are zero for a single composition.
    """
    energies = element_energies(train)
    if len({tuple(sorted(atoms.numbers)) for atoms in train.structures}) < 2:
        return np.zeros_like(energies)
    return energies - energies[np.concatenate([atoms.numbers for atoms in train.structures])].mean()


def write_structures(dataset: Dataset, path: Path, shifts: np.ndarray, options: NEPOptions) -> None:
    """Write `dataset` as extended XYZ with the keys of neppo; `shifts` (eV, by atomic number) are subtracted."""
    labelled: list[Atoms] = []
    for index, atoms in enumerate(dataset.structures):
        # The box is the same as in predictions.
        copy = in_vacuum(atoms, max(options.radial_cutoff, options.angular_cutoff))
        weight = {} if dataset.weight is None else {"weight": dataset.weight[index]}
        copy = Atoms(numbers=copy.numbers, positions=copy.positions, cell=copy.cell, pbc=True, info=weight)
        # neppo needs an energy of every structure; the weight is zero if there is none.
        energy = 0.0 if dataset.energy is None else dataset.energy[index] - shifts[atoms.numbers].sum()
        labels = {"energy": energy, "forces": dataset.forces_of(index)}
        if dataset.stress is not None and atoms.pbc.all() and np.isfinite(dataset.stress[index]).all():
            labels["stress"] = dataset.stress[index]
        copy.calc = SinglePointCalculator(copy, **labels)
        labelled.append(copy)
    write(path, labelled, format="extxyz")


def _progress_reader(curve: Path, request: TrainingRequest) -> Callable[[], None]:
    """Return a function that reports the last line of ``loss.out`` if it is new."""
    total = request.options.steps
    reported = 0
    request.progress(Progress(0, total, "starting neppo"))

    def report() -> None:
        nonlocal reported
        if not curve.exists():
            return
        lines = curve.read_text().splitlines()
        columns = next((line.split()[2:] for line in lines if line.startswith("# columns")), [])
        rows = [line.split() for line in lines if line[:1] != "#"]
        if not rows or len(rows[-1]) != len(columns):
            return
        row = dict(zip(columns, rows[-1], strict=True))
        step = int(float(row["generation"]))
        if step <= reported:
            return
        reported = step
        label, column = ("valid", "rmse_force_test") if "rmse_force_test" in row else ("training", "rmse_force_train")
        error = row.get(column)
        message = f"{label} force RMSE {float(error):.4f} eV/Å" if error else ""
        request.progress(Progress(min(step, total), total, message))

    return report
