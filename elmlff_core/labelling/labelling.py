"""The way from structures to labels, by tasks on an executor, which an interrupted labelling goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from elmlff_core.contracts.dataset import fingerprint_of
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.errors import ElmlffError
from elmlff_core.execution.executors import check_executor
from elmlff_core.execution.placement import Placement
from elmlff_core.execution.tasks import Task, run_tasks
from elmlff_core.files import json_text
from elmlff_core.labelling.calculators import make_calculator
from elmlff_core.labelling.frames import Labels, compute, labelled, unlabelled
from elmlff_core.labelling.journal import Journal, Known
from elmlff_core.labelling.settings import LabelSettings
from elmlff_core.settings.run_folder import RunFolder

MOST_TASKS = 64  # by default: enough for all workers to be busy until the end
LARGEST_BATCH = 50
JOURNALS, CALCULATIONS = "journals", "calculations"


@dataclass(frozen=True)
class Labelling:
    """Result of a labelling.

    Attributes
    ----------
    labelled : structures with labels, in order
    failed : structures without, in order; ``info["error"]`` says why
    reasons : index of each structure that failed -> why
    """

    labelled: list[Atoms]
    failed: list[Atoms]
    reasons: dict[int, str]

    @classmethod
    def of(cls, frames: Sequence[Atoms], labels: Mapping[int, Labels], reasons: Mapping[int, str]) -> Labelling:
        """Join structures with what was found for each."""
        failed = []
        for index in sorted(reasons):
            failed.append(frames[index].copy())
            failed[-1].info |= {"error": reasons[index], "index": index}
        done = [labelled(frames[index], labels[index]) for index in sorted(labels)]
        return cls(done, failed, dict(sorted(reasons.items())))


@dataclass(frozen=True)
class Batch:
    """Work of one task: some of the structures.

    Attributes
    ----------
    settings : the calculator
    frames : index -> structure
    folder : for the journal, and for programs that the calculator runs
    """

    settings: LabelSettings
    frames: dict[int, Atoms]
    folder: Path

    def __call__(self, reporter: Reporter) -> None:
        journal = Journal(self.folder / JOURNALS / f"{min(self.frames):07d}-{max(self.frames):07d}.journal")
        calculator = make_calculator(self.settings)
        with reporter.progress("labelling") as progress:
            for done, (index, atoms) in enumerate(self.frames.items()):
                progress(Progress(done, len(self.frames)))
                journal.begun(index)
                try:
                    found = compute(atoms, calculator, self.folder / CALCULATIONS / f"{index:07d}")
                except Exception as error:  # calculators raise any; it is the failure of this structure alone
                    journal.failed(index, _reason(error))
                    calculator = make_calculator(self.settings)  # the old one may be in any state
                else:
                    journal.labels(index, found)
            progress(Progress(len(self.frames), len(self.frames)))


def label(
    structures: Sequence[Atoms],
    settings: LabelSettings,
    folder: Path,
    placement: Placement,
    batch: int | None = None,
    retry: bool = False,
    reporter: Reporter | None = None,
) -> Labelling:
    """Label structures, or those that an interrupted labelling in `folder` has left.

    Parameters
    ----------
    structures : the structures; their old labels are ignored
    settings : the calculator
    folder : for what was computed, and for programs that the calculator runs
    placement : where the work is done
    batch : number of structures of each task; by default 1 to 50, so that there are 64 tasks
    retry : whether structures that failed before are tried again
    reporter : where progress is reported

    Raises
    ------
    ElmlffError
        The calculator cannot be made; the folder holds another labelling; the executor cannot be opened; a worker was
        ended.
    """
    reporter = reporter or Reporter()
    frames = [unlabelled(atoms) for atoms in structures]
    check_executor(placement)
    make_calculator(settings)  # fails here, and not in each task
    run = RunFolder.open(folder, _key(frames, settings), settings)
    known = Known.read(run.path / JOURNALS)
    done = {*known.labels} if retry else {*known.labels, *known.failures}
    left = [index for index in range(len(frames)) if index not in done]
    if done and left:
        reporter.say(f"going on: {len(done)} of {len(frames)} structures were computed before")
    if left:
        size = batch or max(1, min(LARGEST_BATCH, len(frames) // MOST_TASKS))
        tasks = [
            Task(_name(part), Batch(settings, {index: frames[index] for index in part}, run.path))
            for part in (left[start : start + size] for start in range(0, len(left), size))
        ]
        run_tasks(tasks, placement, run.tasks, "labelling", reporter)
        known = Known.read(run.path / JOURNALS)
    if missing := set(range(len(frames))) - {*known.labels, *known.failures}:
        raise ElmlffError(f"{len(missing)} structures were not computed: run the same command again")
    return Labelling.of(frames, known.labels, known.failures)


def _key(frames: Sequence[Atoms], settings: LabelSettings) -> str:
    return hashlib.sha256(f"{fingerprint_of(frames)}{json_text(settings.model_dump(mode='json'))}".encode()).hexdigest()


def _name(part: Sequence[int]) -> str:
    return f"structure {part[0]}" if len(part) == 1 else f"structures {part[0]} to {part[-1]}"


def _reason(error: Exception) -> str:
    """Return what an exception says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
