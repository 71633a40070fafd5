"""The distillation workflow, from a stack to one fast model: make structures, label, train, compare, write.

An interrupted distillation resumes; a finished one shows its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, NamedModel
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.distillation.comparison import (
    MADE,
    TEST,
    as_features,
    errors_of_stack,
    errors_of_student,
    furthest,
    n_outside,
)
from elmlff_core.distillation.output import stack_of_student, write_inputs, write_student
from elmlff_core.distillation.students import CONTROL, STUDENT, Lessons, Training, save_dataset
from elmlff_core.files import read_record
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.stack.stack import Stack, load_stack
from elmlff_core.uncertainty.quality import force_quality
from elmlff_core.workflows.distill.inputs import Distillation, DistillRequest, read_distillation
from elmlff_core.workflows.distill.motion import calculators_of, conservation, speeds
from elmlff_core.workflows.distill.page import write_report
from elmlff_core.workflows.distill.results import (
    RESULTS_FILE,
    DistillResults,
    Lesson,
    Sureness,
    advice,
    summary_of,
    write_results,
)
from elmlff_core.workflows.distill.structures import Kept, made_structures, run_all

STUDENT_FOLDER, INPUTS_FOLDER = "student", "inputs"
NVE_STEPS = 2000  # one picosecond and more
STATED = 0.9  # coverage of the intervals of which the results speak
USUAL_TEMPERATURE = 300.0  # K, where no temperatures are given


@dataclass(frozen=True)
class DistillRun:
    """Result of `distill`.

    Attributes
    ----------
    folder : folder of the run
    student : folder of the student, a stack of its own
    results : errors, speeds and what else was found
    """

    folder: Path
    student: Path
    results: DistillResults


def distill(
    request: DistillRequest,
    config: Config,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    reporter: Reporter | None = None,
) -> DistillRun:
    """Distil a stack into one model.

    Parameters
    ----------
    request : what is distilled, and into what
    config : settings of the student (``models``, ``budget``), and where long steps run (``resources``)
    output : folder of the run; by default a folder in ``elmlff-runs``
    models_folder : folder for trained base models, where the control is found if it was trained before
    reporter : receives messages and progress

    Raises
    ------
    ElmlffError
        The stack, the data, the student or the settings cannot be used, or nothing that was made is kept.
    """
    reporter = reporter or Reporter()
    inputs = plan_distillation(request, config)
    found = inputs.run(output)
    run = RunFolder.open(found.path, found.key, inputs.kept_settings())
    student_folder = run.path / STUDENT_FOLDER
    if (run.path / RESULTS_FILE).exists():
        reporter.say(f"{run.path} is complete: showing its results")
        results = read_record(run.path / RESULTS_FILE, DistillResults, f"remove {run.path / RESULTS_FILE}")
        return DistillRun(run.path, student_folder, results)
    announce(inputs, reporter)
    made, kept = made_structures(inputs, run, reporter)
    lessons = Lessons.of(inputs.reference, made, inputs.with_energies, inputs.settings.seed)
    student, control, lengths = train_students(inputs, lessons, run, models_folder, reporter)
    as_stack = stack_of_student(student, inputs.reference.train, lessons, run.path, reporter)
    write_student(as_stack, student_folder)
    atoms = longest(inputs.reference.train.structures)
    program = write_inputs(student, atoms, _temperature(inputs), inputs.settings.timestep, run.path / INPUTS_FOLDER)
    comparing = _Comparing(inputs, lessons, student, control, as_stack, reporter)
    results = comparing.results(kept, lengths, program, atoms)
    write_report(results, str(request.stack), run)
    write_results(results, run)
    return DistillRun(run.path, student_folder, results)


def plan_distillation(request: DistillRequest, config: Config) -> Distillation:
    """Return what `distill` would do, without doing it; parameters and errors as there."""
    return read_distillation(request, config, load_stack(request.stack, request.trust, request.device))


def announce(inputs: Distillation, reporter: Reporter) -> None:
    """Report what the student will learn from, and how long it will be trained."""
    reporter.say(f"{inputs.request.stack} ({inputs.stack.meta_name}), data {inputs.reference.source}:")
    for name, number in inputs.counts:
        reporter.say(f"  {number:,} {name}")
    reporter.say(f"made structures are kept with {inputs.limits}")
    if (usual := inputs.usual_error) is not None:
        reporter.say(f"made structures count by how sure the stack is of them: half at an error of {usual:.3g} eV/Å")
    for lesson in inputs.lengths:
        reporter.say(f"  {lesson}")
    for note in inputs.notes:
        reporter.warn(note)


def train_students(
    inputs: Distillation, lessons: Lessons, run: RunFolder, models_folder: Path, reporter: Reporter
) -> tuple[NamedModel, NamedModel | None, list[Lesson]]:
    """Train the student, and the control unless it is not wanted; return both, with what they have learnt from.

    The control is the training that `elmlff train` runs with the same data, and is found where that has left it.
    """
    data, seed = run.path / "data", inputs.settings.seed
    lessons.save(data)
    files = data / "train.safetensors", data / "valid.safetensors"
    trainings = [Training.of(STUDENT, inputs.student, *files, seed, run.path / "training")]
    lengths = [_lesson(STUDENT, inputs, lessons.train)]
    if inputs.settings.control:
        own = data / "reference-train.safetensors", data / "reference-valid.safetensors"
        save_dataset(inputs.reference.train, own[0])
        save_dataset(inputs.reference.valid, own[1])
        trainings.append(Training.of(CONTROL, inputs.student, *own, seed, models_folder.expanduser()))
        lengths.append(_lesson(CONTROL, inputs, inputs.reference.train))
    tasks = [training.task() for training in trainings if not training.is_finished]
    run_all(tasks, True, inputs.placement, run, "trainings", reporter)
    trained = [training.trained() for training in trainings]
    return trained[0], trained[1] if len(trained) > 1 else None, lengths


def _lesson(name: str, inputs: Distillation, train: Dataset) -> Lesson:
    length, n_reference = inputs.student.length(len(train)), len(inputs.reference.train)
    return Lesson(name, n_reference, len(train) - n_reference, length.steps, length.epochs)


@dataclass(frozen=True)
class _Comparing:
    """A comparison under way."""

    inputs: Distillation
    lessons: Lessons
    student: NamedModel
    control: NamedModel | None
    as_stack: Stack
    reporter: Reporter

    def results(self, kept: list[Kept], lengths: list[Lesson], program: str | None, atoms: Atoms) -> DistillResults:
        """Return everything that the page shows."""
        inputs, settings = self.inputs, self.inputs.settings
        reference = inputs.reference.train
        held_out = self.held_out()
        errors = errors_of_stack(inputs.stack, held_out, self.reporter)
        for model in filter(None, (self.control, self.student)):
            errors.append(errors_of_student(model, reference, held_out, model is self.student, self.reporter))
        timed = speeds(
            calculators_of(inputs.stack, self.student, self.as_stack), atoms, settings.timestep, self.reporter
        )
        inputs.stack.close()
        kept_energy = conservation(
            self.student, atoms, _temperature(inputs), settings.timestep, NVE_STEPS, settings.seed, self.reporter
        )
        return DistillResults(
            summary=summary_of(errors, timed), kept=kept, lessons=lengths, errors=errors, speeds=timed,
            conservation=kept_energy, sureness=self.sureness(), furthest=furthest(self.as_stack, held_out),
            program=program, notes=[*inputs.notes, *advice(errors)],
        )  # fmt: skip

    def held_out(self) -> dict[str, Dataset]:
        """Return the structures that no student has seen, with the reference's and with the stack's labels."""
        test = {} if self.inputs.reference.test is None else {TEST: self.inputs.reference.test}
        return test | ({MADE: self.lessons.held_out} if len(self.lessons.held_out) else {})

    def sureness(self) -> Sureness | None:
        """Compare the student's uncertainty with its errors on held-out reference structures."""
        test, own = self.inputs.reference.test, self.as_stack
        if test is None:
            return None
        assert own.uncertainty is not None
        features = as_features(self.student, test, self.reporter)
        found = force_quality(own.uncertainty, features, own.meta.predict(features), own.meta)
        inside = next(entry.normal for entry in found.coverage if entry.stated == STATED)
        return Sureness(found.rms_predicted, found.rms_observed, inside, n_outside(own, test), len(test))


def longest(structures: Sequence[Atoms]) -> Atoms:
    """Return the first of the structures with the most atoms."""
    return structures[int(np.argmax([len(atoms) for atoms in structures]))]


def _temperature(inputs: Distillation) -> float:
    return min(inputs.settings.temperatures, default=USUAL_TEMPERATURE)
