"""Output: the student as a stack of its own with an uncertainty, settings that name it, and inputs of programs."""

from __future__ import annotations

from pathlib import Path

import tomli_w
from ase import Atoms

from elmlff_core.base_models.named import NamedModel
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.hookspecs import InputsRequest
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.content import SeenStructures
from elmlff_core.distillation.comparison import as_features
from elmlff_core.distillation.students import STUDENT, Lessons
from elmlff_core.files import write_text
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.stack.stack import BUNDLE_FOLDER, Stack
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty

META = "mean"  # of one base model: its own forces, energies and stresses
SETTINGS_FILE = "elmlff.toml"


def stack_of_student(
    student: NamedModel, reference: Dataset, lessons: Lessons, folder: Path, reporter: Reporter
) -> Stack:
    """Return the student as a stack with a calibrated uncertainty.

    The uncertainty of a force component is a constant for each element, which grows outside the structures from which
    the student has learnt.  It is calibrated on the student's validation structures: on those with reference labels it
    is the error against the reference, on the others that against the stack, to which the stack's own error adds.

    Parameters
    ----------
    student : the trained model
    reference : training structures with reference labels, to whose energies those of the student are aligned
    lessons : what it has learnt from
    folder : any folder; nothing is written
    reporter : receives progress
    """
    known, train, valid = (as_features(student, data, reporter) for data in (reference, lessons.train, lessons.valid))
    meta = make_meta(META, {})
    meta.fit(FitRequest(known, valid, None, folder, 0, lambda _: None))
    uncertainty = Uncertainty.fit(valid, meta.predict(valid), meta, Domain.fit(train, valid))
    seen = SeenStructures.of(lessons.train.structures, lessons.valid.structures)
    return Stack([student], META, {}, meta, uncertainty, seen)


def write_student(stack: Stack, folder: Path) -> None:
    """Write the stack of the student with its checkpoint, and settings in which another stack finds it."""
    stack.save(folder, bundle=True)
    (student,) = stack.base_models
    assert student.checkpoint is not None
    checkpoint = f"{BUNDLE_FOLDER}/{student.name}{''.join(student.checkpoint.suffixes)}"
    options = student.options.model_dump(mode="json", exclude_none=True)
    model = {"adapter": student.config.adapter, "checkpoint": checkpoint, "options": options}
    text = tomli_w.dumps({"base_models": [student.name], "models": {STUDENT: model}})
    write_text(
        folder / SETTINGS_FILE, f"# The student as a base model: copy [models.{STUDENT}] to settings of yours.\n{text}"
    )


def write_inputs(student: NamedModel, atoms: Atoms, temperature: float, timestep: float, folder: Path) -> str | None:
    """Write input files of the program that runs such a model into `folder`; return its name, or None without one.

    Parameters
    ----------
    student : the trained model
    atoms : where molecular dynamics starts
    temperature : K
    timestep : fs
    folder : made if there is such a program
    """
    if student.plugin.inputs is None:
        return None
    assert student.checkpoint is not None
    folder.mkdir(parents=True, exist_ok=True)
    request = InputsRequest(student.checkpoint, student.options, atoms, temperature, timestep, folder)
    return student.plugin.inputs(request)
