"""The structures that a student learns from: made, filtered, and labelled by the stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.structures import Structures
from elmlff_core.distillation.labels import (
    all_labels,
    labelling_tasks,
    labellings,
    load_structures,
    save_structures,
)
from elmlff_core.distillation.made import displaced
from elmlff_core.distillation.students import made_dataset
from elmlff_core.errors import ElmlffError
from elmlff_core.execution.placement import HERE, PROCESSES, Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.files import read_record, write_record
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.distill.dynamics import Simulation, simulations
from elmlff_core.workflows.distill.inputs import Distillation

GIVEN = "structures that you gave"
CANDIDATES, COUNTS = "candidates.safetensors", "counts.json"
FEWEST_KEPT = 3  # one each to learn from, to validate, and to hold out
ATOM_STEPS_WORTH_A_WORKER = 5_000  # of simulations and labels: several seconds with a fast stack


@dataclass(frozen=True)
class Kept:
    """What became of the structures of one source.

    Attributes
    ----------
    name : the source
    n_made : structures made, or given
    n_close : of these, left out because atoms are too close to each other
    n_strong : left out because a force is too large
    n_uncertain : left out because the stack is not sure of a force
    n_kept : all others
    """

    name: str
    n_made: int
    n_close: int
    n_strong: int
    n_uncertain: int
    n_kept: int


def made_structures(inputs: Distillation, run: RunFolder, reporter: Reporter) -> tuple[Dataset, list[Kept]]:
    """Make structures, leave out those that are not fit, and return the others with the labels of the stack.

    What an earlier run has done is read from the folder.  ElmlffError if none is kept.
    """
    path = run.path / "made" / CANDIDATES
    sources = _candidates(inputs, path, run, reporter)
    candidates = load_structures(path)
    if not len(candidates):
        raise ElmlffError("no structure was made that has its atoms far enough apart: take smaller --rattle")
    parts = labellings(candidates, path, inputs.place, run.path / "made" / "labels")
    inputs.stack.close()
    worth_it = _amount(candidates) > ATOM_STEPS_WORTH_A_WORKER
    run_all(labelling_tasks(parts), worth_it, inputs.placement, run, "labels of the stack", reporter)
    labels = all_labels(parts)
    strong = inputs.limits.too_strong(labels)
    uncertain = inputs.limits.too_uncertain(labels) & ~strong
    good = ~(strong | uncertain)
    kept, first = [], 0
    for name, n_made, n_close in sources:
        own = slice(first, first + n_made - n_close)
        first = own.stop
        n_strong, n_uncertain, n_kept = (int(mask[own].sum()) for mask in (strong, uncertain, good))
        kept.append(Kept(name, n_made, n_close, n_strong, n_uncertain, n_kept))
    if good.sum() < FEWEST_KEPT:
        raise ElmlffError(
            f"{good.sum()} of the {len(good)} structures made are kept ({strong.sum()} have too large forces, "
            f"of {uncertain.sum()} the stack is not sure): take smaller --rattle, or a larger --largest-force or "
            "--largest-error"
        )
    return made_dataset(candidates, labels, np.flatnonzero(good), "made structures", inputs.usual_error), kept


def _candidates(inputs: Distillation, path: Path, run: RunFolder, reporter: Reporter) -> list[tuple[str, int, int]]:
    """Write the structures whose atoms are far enough apart to `path`, unless they are there.

    Returns for each source its name, how many were made, and how many of these were too close.
    """
    counts = path.with_name(COUNTS)
    if not counts.exists():
        record, usable = [], []
        for name, structures in _made(inputs, run, reporter):
            close = inputs.limits.too_close(structures)
            record.append([name, len(structures), int(close.sum())])
            usable.append(structures.subset(np.flatnonzero(~close)))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_structures(Structures.of(atoms for part in usable for atoms in part), path)
        write_record(counts, {"sources": record})  # last: then the candidates are complete
    return read_record(counts, dict[str, list[tuple[str, int, int]]], f"remove {counts}")["sources"]


def planned_simulations(inputs: Distillation, run: RunFolder) -> list[tuple[str, list[tuple[Task, Simulation, int]]]]:
    """Return the simulations of each temperature, by the name of their source."""
    folder = run.path / "dynamics"
    structures = inputs.reference.train.structures
    return [
        (
            source.name,
            list(simulations(source, structures, inputs.settings, inputs.place, folder, inputs.limits.largest_error)),
        )
        for source in inputs.sources
        if source.kind == "dynamics"
    ]


def _made(inputs: Distillation, run: RunFolder, reporter: Reporter) -> Iterator[tuple[str, Structures]]:
    """Yield the name of each source with its structures; simulations go on where they were interrupted."""
    train, settings = inputs.reference.train.structures, inputs.settings
    smallest = min(settings.rattles, default=0.0)
    for source in inputs.sources:
        if source.kind in ("rattle", "strain"):
            yield source.name, displaced(source, train, smallest, settings.seed)
    planned = planned_simulations(inputs, run)
    left = [(task, work) for _, group in planned for task, work, _ in group if not work.ended]
    amount = sum(work.settings.steps * len(work.start) for _, work in left)
    inputs.stack.close()
    worth_it = amount > ATOM_STEPS_WORTH_A_WORKER
    run_all([task for task, _ in left], worth_it, inputs.placement, run, "molecular dynamics", reporter)
    for name, group in planned:
        for task, work, _ in group:
            if work.stopped:
                reporter.say(f"{task.name}: ended at {work.stopped}")
        frames = [work.frames(n_wanted) for _, work, n_wanted in group]
        yield name, Structures.of(atoms for part in frames for atoms in part)
    if len(inputs.given):
        yield GIVEN, Structures.of(inputs.given)


def _amount(structures: Sequence[Atoms]) -> int:
    return sum(len(atoms) for atoms in structures)


def run_all(
    tasks: Sequence[Task], worth_it: bool, placement: Placement, run: RunFolder, title: str, reporter: Reporter
) -> None:
    """Run tasks where the user wants them; in this process if there is one worker, or processes are not `worth_it`."""
    if not tasks:
        return
    here = not placement.runs_elsewhere(len(tasks)) or (placement.executor == PROCESSES and not worth_it)
    run_tasks(tasks, HERE if here else placement, run.tasks, title, reporter)
