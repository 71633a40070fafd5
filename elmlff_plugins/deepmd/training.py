"""Training of Deep Potentials: input, data, progress and checkpoints of the trainer."""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import atomic_numbers
from ase.stress import voigt_6_to_full_3x3_stress

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import TrainingLength, TrainingRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.files import write_text
from elmlff_core.plugins.toolkit import NeighbourFinder, by_atomic_number, in_vacuum
from elmlff_core.plugins.training_process import run_trainer
from elmlff_plugins.deepmd.neighbours import largest_counts

if TYPE_CHECKING:
    from elmlff_plugins.deepmd.options import DeepMDOptions

MODEL = "model.pth"
CURVE = "lcurve.out"
INPUT = "input.json"
CHECKPOINT = "model.ckpt"
TYPICAL_N_ATOMS = 5  # to estimate "auto", batches of at least 32 atoms; `length` does not see the structures
AUTO_BATCH_ATOMS = 32
N_REPORTS = 40
N_CHECKPOINTS = 20
SEL_MARGIN = 1.1  # the margin of "auto" in DeePMD-kit

# The model is frozen because it then loads in 0.2 s, a bare checkpoint in 10 s; predictions are equally fast.
_PROGRAM = ("-P", "-m", "elmlff_plugins.deepmd.trainer")


def training_length(options: DeepMDOptions, n_structures: int) -> TrainingLength:
    """Return the steps, and the epochs that they are for `n_structures`."""
    batch = options.batch_size if options.batch_size != "auto" else math.ceil(AUTO_BATCH_ATOMS / TYPICAL_N_ATOMS)
    return TrainingLength(options.steps, options.steps * batch / max(1, n_structures))


def train(request: TrainingRequest) -> Path:
    """Train and freeze a Deep Potential in ``request.directory``.

    Returns
    -------
    Path
        The frozen model.

    Raises
    ------
    ForceFieldError
        DeePMD-kit failed; the message has the end of its log.
    """
    directory = request.directory
    settings = trainer_input(request)
    text = json.dumps(settings, indent=2)
    previous = directory / INPUT
    same = previous.exists() and previous.read_text() == text
    if same and (directory / MODEL).exists():
        return directory / MODEL
    if not same:
        for leftover in [*directory.glob(f"{CHECKPOINT}*"), directory / CURVE, directory / MODEL]:
            leftover.unlink(missing_ok=True)
        shutil.rmtree(directory / "data", ignore_errors=True)
        for part in ("train", "valid"):
            write_systems(getattr(request, part), directory / "data" / part, settings["model"]["type_map"], request)
        # Written last, so that its presence means that the data are complete.
        write_text(previous, text)
    arguments = [*_PROGRAM, f"{CHECKPOINT}.pt", MODEL, INPUT, "--skip-neighbor-stat"]
    if (directory / f"{CHECKPOINT}.pt").exists():
        arguments += ["--restart", f"{CHECKPOINT}.pt"]
    report = _progress_reader(directory / CURVE, request)
    run_trainer(arguments, directory, request.name, "dp", report)
    _remove_training_files(directory)
    return directory / MODEL


def trainer_input(request: TrainingRequest) -> dict[str, Any]:
    """Return the contents of ``input.json`` for the trainer."""
    options: DeepMDOptions = request.options
    type_map = by_atomic_number(request.train.elements | request.valid.elements)
    seed = request.seed % 2**32
    descriptor = {
        "type": options.descriptor,
        "sel": neighbour_counts(request, type_map),
        "rcut": options.rcut,
        "rcut_smth": options.rcut_smth,
        "neuron": options.neuron,
        "resnet_dt": options.resnet_dt,
        "seed": seed,
    }
    if options.descriptor == "se_e2_a":
        descriptor["axis_neuron"] = options.axis_neuron
    fitting = {"neuron": options.fitting_neuron, "resnet_dt": options.fitting_resnet_dt, "seed": seed}
    training: dict[str, Any] = {
        "training_data": {"systems": _system_names("train", request.train), "batch_size": options.batch_size},
        "numb_steps": options.steps,
        "seed": seed,
        "disp_file": CURVE,
        "disp_freq": max(1, min(1000, options.steps // N_REPORTS)),
        "save_freq": max(1, min(5000, options.steps // N_CHECKPOINTS)),
        "save_ckpt": CHECKPOINT,
        "max_ckpt_keep": 2,
    }
    if len(request.valid):
        valid = {"systems": _system_names("valid", request.valid), "batch_size": options.batch_size, "numb_btch": 5}
        training["validation_data"] = valid
    learning_rate = {
        "type": "exp",
        "start_lr": options.start_lr,
        "stop_lr": options.stop_lr,
        "decay_steps": options.decay_steps or max(1, round(options.steps / 10)),
    }
    if options.warmup_steps:
        # DeePMD-kit refuses a warm-up as long as the training; a short training has a warm-up of a tenth of its steps.
        learning_rate["warmup_steps"] = min(options.warmup_steps, max(1, options.steps // 10))
    model = {
        "type_map": type_map,
        "descriptor": descriptor,
        "fitting_net": fitting,
        # To sort these elements itself, DeePMD-kit loads a database of elements for three seconds.
        "info": {"observed_type": by_atomic_number(request.train.elements)},
    }
    return {
        # The fingerprints are here because a training resumes only with the same input, and so with the same data.
        "_comment": {"train": request.train.labels_fingerprint, "valid": request.valid.labels_fingerprint},
        "model": model,
        "learning_rate": learning_rate,
        "loss": _loss(options, request.train),
        "training": training,
    }


def _loss(options: DeepMDOptions, train: Dataset) -> dict[str, Any]:
    """Return the prefactors of the loss; they are zero for labels that the data do not have."""
    has = {"e": train.energy is not None, "f": True, "v": train.stress is not None}
    prefactors = {
        f"{end}_pref_{label}": getattr(options, f"{end}_pref_{label}") if has[label] else 0.0
        for label in has
        for end in ("start", "limit")
    }
    return {"type": "ener", **prefactors}


def neighbour_counts(request: TrainingRequest, type_map: list[str]) -> list[int]:
    """Return ``sel``, the largest number of neighbours of each element in a descriptor.

    Further neighbours would be dropped without a message.  The largest number in the data gets a margin of a tenth, as
    with "auto" of DeePMD-kit.  If no periodic image can be a neighbour, it is limited to the number of atoms of that
    element.  For methane this gives 4 H and 1 C, as in the paper.
    """
    options: DeepMDOptions = request.options
    if options.sel != "auto":
        if len(options.sel) != len(type_map):
            raise ForceFieldError(
                f"model '{request.name}': sel has {len(options.sel)} numbers, expected one for each of {type_map}"
            )
        return list(options.sel)
    finder = NeighbourFinder(options.rcut)
    numbers = [atomic_numbers[symbol] for symbol in type_map]
    largest = np.zeros(len(type_map), dtype=np.int64)
    present = np.zeros(len(type_map), dtype=np.int64)
    meets_images = False
    for atoms in [*request.train.structures, *request.valid.structures]:
        centre, neighbour, offset = finder.pairs(atoms)
        meets_images |= bool(offset.any()) or bool(_heights(atoms)[atoms.pbc].min(initial=np.inf) < 2 * options.rcut)
        largest = np.maximum(largest, largest_counts(atoms, centre, neighbour, type_map))
        present = np.maximum(present, [np.count_nonzero(atoms.numbers == number) for number in numbers])
    wanted = np.maximum(1, np.ceil(SEL_MARGIN * largest)).astype(np.int64)
    return [int(n) for n in (wanted if meets_images else np.minimum(wanted, present))]


def _heights(atoms: Any) -> np.ndarray:
    """Return the distances between opposite faces of the cell: (3,), Å."""
    cell = atoms.cell.complete()
    return abs(cell.volume) / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)


def _groups(dataset: Dataset) -> dict[tuple[bool, bool, bytes], list[int]]:
    """Group structures by periodicity, whether they have a stress, and order of atoms.

    Each group is a system of DeePMD-kit, which has virials of all of its structures or of none.
    """
    groups: dict[tuple[bool, bool, bytes], list[int]] = defaultdict(list)
    for index, atoms in enumerate(dataset.structures):
        periodic = bool(atoms.pbc.any())
        has_stress = periodic and dataset.stress is not None and bool(np.isfinite(dataset.stress[index]).all())
        groups[periodic, has_stress, atoms.numbers.tobytes()].append(index)
    return groups


def _system_names(part: str, dataset: Dataset) -> list[str]:
    return [f"data/{part}/{number:04d}" for number in range(len(_groups(dataset)))]


def write_systems(dataset: Dataset, folder: Path, type_map: list[str], request: TrainingRequest) -> None:
    """Write `dataset` as deepmd/npy, one system per composition, atoms in the order given.

    Energies in eV, coordinates and boxes in Å, forces in eV/Å, virials in eV.
    """
    for number, ((periodic, has_stress, _), members) in enumerate(_groups(dataset).items()):
        system = folder / f"{number:04d}"
        frames = system / "set.000"
        frames.mkdir(parents=True)
        structures = [dataset.structures[i] for i in members]
        if periodic:
            structures = [in_vacuum(atoms, request.options.rcut) for atoms in structures]
            np.save(frames / "box.npy", np.stack([atoms.cell.array.reshape(9) for atoms in structures]))
        else:
            (system / "nopbc").touch()
        types = [type_map.index(symbol) for symbol in structures[0].get_chemical_symbols()]
        np.savetxt(system / "type.raw", types, fmt="%d")
        (system / "type_map.raw").write_text("\n".join(type_map) + "\n")
        np.save(frames / "coord.npy", np.stack([atoms.positions.reshape(-1) for atoms in structures]))
        np.save(frames / "force.npy", np.stack([dataset.forces_of(i).reshape(-1) for i in members]))
        if dataset.energy is not None:
            np.save(frames / "energy.npy", dataset.energy[members])
        if has_stress:
            assert dataset.stress is not None
            volumes = np.array([atoms.get_volume() for atoms in structures])
            virials = -volumes[:, None, None] * np.stack(
                [voigt_6_to_full_3x3_stress(dataset.stress[i]) for i in members]
            )
            np.save(frames / "virial.npy", virials.reshape(len(members), 9))


def _progress_reader(curve: Path, request: TrainingRequest) -> Callable[[], None]:
    """Return a function that reports the last line of ``lcurve.out`` if it is new."""
    total = request.options.steps
    reported = 0
    request.progress(Progress(0, total, "starting DeePMD-kit"))

    def report() -> None:
        nonlocal reported
        if not curve.exists():
            return
        lines = curve.read_text().splitlines()
        header = next((line.lstrip("#").split() for line in reversed(lines) if "rmse_f" in line), [])
        rows = [line.split() for line in lines if line[:1] != "#"]
        if not header or not rows or len(rows[-1]) != len(header):
            return
        row = dict(zip(header, rows[-1], strict=True))
        step = int(row["step"])
        if step <= reported:
            return
        reported = step
        label, column = ("valid", "rmse_f_val") if "rmse_f_val" in row else ("training", "rmse_f_trn")
        error = row.get(column, row.get("rmse_f", "nan"))
        request.progress(Progress(min(step, total), total, f"{label} force RMSE {float(error):.4f} eV/Å"))

    return report


def _remove_training_files(directory: Path) -> None:
    """Remove all files but the model, the learning curve, the log and the input."""
    for leftover in [*directory.glob(f"{CHECKPOINT}*"), directory / "checkpoint", directory / "input_v2_compat.json"]:
        leftover.unlink(missing_ok=True)
    shutil.rmtree(directory / "data", ignore_errors=True)
