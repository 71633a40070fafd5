"""Inputs of a distillation: stack, data, student, and what will be made; reading them takes little time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms
from pydantic import BaseModel, ConfigDict

from elmlff_core.base_models.named import NamedModel, resolve_model
from elmlff_core.contracts.dataset import fingerprint_of
from elmlff_core.contracts.structures import flat_structures
from elmlff_core.data.content import are_among, signatures
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_structures
from elmlff_core.distillation.filters import Limits
from elmlff_core.distillation.labels import why_no_energies
from elmlff_core.distillation.made import Source, sources_of
from elmlff_core.distillation.reference import Reference, read_reference
from elmlff_core.distillation.settings import DistillationSettings
from elmlff_core.distillation.students import CONTROL, SHARE, STUDENT, check_student
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.execution.executors import check_executor
from elmlff_core.execution.placement import Placement
from elmlff_core.files import sha256_of
from elmlff_core.resources import set_up_process
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import DEFAULT_RUNS_FOLDER, RunFolder
from elmlff_core.simulation.drivers import driver_of
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.place import StackPlace
from elmlff_core.stack.stack import STACK_FILE, Stack


@dataclass(frozen=True)
class DistillRequest:
    """What is distilled, and into what.

    Attributes
    ----------
    stack : folder of the stack
    into : name of the student: of a preset, an adapter, or a model of the settings
    settings : which structures are made and kept
    data : labelled structures; None for those of the stack's run
    keys : names of the labels in `data`, if they are not the usual ones
    structures : files with more structures, without labels
    trust : whether base models of the stack may run code from its author
    device : where the network of the stack runs
    """

    stack: Path
    into: str
    settings: DistillationSettings = field(default_factory=DistillationSettings)
    data: str | None = None
    keys: LabelKeys = field(default_factory=LabelKeys)
    structures: tuple[str, ...] = ()
    trust: bool = False
    device: str = "auto"


class KeptSettings(BaseModel):
    """What the folder of a distillation keeps as ``config.toml``."""

    model_config = ConfigDict(frozen=True)

    stack: str
    into: str
    adapter: str
    options: dict[str, Any]
    data: str
    structures: tuple[str, ...]
    distillation: DistillationSettings


@dataclass(frozen=True)
class Distillation:
    """Inputs of a distillation, read and checked.

    Attributes
    ----------
    request, config : what the user asked for
    stack : the stack
    reference : structures with reference labels
    student : the model that is trained, without a checkpoint
    sources : what is made
    given : structures of the user, without those that are held out
    limits : what a made structure may be
    notes : notes for the reader
    """

    request: DistillRequest
    config: Config
    stack: Stack
    reference: Reference
    student: NamedModel
    sources: Sequence[Source]
    given: Sequence[Atoms]
    limits: Limits
    notes: tuple[str, ...]

    @property
    def settings(self) -> DistillationSettings:
        """Which structures are made and kept."""
        return self.request.settings

    @property
    def place(self) -> StackPlace:
        """The stack as tasks name it."""
        return StackPlace(self.request.stack.expanduser().absolute(), self.request.trust, self.request.device)

    @property
    def placement(self) -> Placement:
        """Where long steps run."""
        return Placement.of(self.config.resources)

    @property
    def with_energies(self) -> bool:
        """Whether the student learns energies of the stack."""
        return why_no_energies(self.stack) is None

    @property
    def usual_error(self) -> float | None:
        """The usual error of the stack, eV/Å, if made structures are weighted by it."""
        if not (self.settings.weights and self.student.plugin.takes_weights) or self.stack.uncertainty is None:
            return None
        return self.stack.uncertainty.usual_error

    @property
    def counts(self) -> list[tuple[str, int]]:
        """What the structures come from, and how many they are at most."""
        reference = [("training structures, reference labels", len(self.reference.train))]
        reference.append(("validation structures, reference labels", len(self.reference.valid)))
        made = [(source.name, source.n_wanted) for source in self.sources]
        given = [("structures that you gave", len(self.given))] if len(self.given) else []
        return [*reference, *made, *given]

    @property
    def lengths(self) -> list[str]:
        """How long student and control are trained, in words; some of what is made is left out before."""
        n_train = len(self.reference.train)
        n_made = round((1 - 2 * SHARE) * (sum(source.n_wanted for source in self.sources) + len(self.given)))
        sizes = {STUDENT: n_train + n_made} | ({CONTROL: n_train} if self.settings.control else {})
        found = []
        for name, size in sizes.items():
            length = self.student.length(size)
            number = f"{'at most ' if name == STUDENT else ''}{size:,} structures"
            adapter = self.student.plugin.name
            found.append(f"{name} (adapter {adapter}): {length.steps:,} steps, {length.in_epochs} of {number}")
        return found

    def kept_settings(self) -> KeptSettings:
        """Return what the folder keeps of the settings."""
        return KeptSettings(
            stack=str(self.request.stack), into=self.request.into, adapter=self.student.config.adapter,
            options=self.student.options.model_dump(mode="json"), data=self.reference.source,
            structures=self.request.structures, distillation=self.settings,
        )  # fmt: skip

    def key(self) -> str:
        """Return the hex digest of all that the result depends on."""
        digest = hashlib.sha256(sha256_of(self.place.folder / STACK_FILE).encode())
        settings = self.kept_settings().model_dump(mode="json", exclude={"stack", "data", "structures"})
        digest.update(json.dumps(settings, sort_keys=True).encode())
        for dataset in (self.reference.train, self.reference.valid, self.reference.test):
            digest.update(b"" if dataset is None else dataset.labels_fingerprint.encode())
        digest.update(fingerprint_of(self.given).encode())
        return digest.hexdigest()

    def run(self, output: Path | None) -> RunFolder:
        """Return the folder of the run, which need not be there."""
        key = self.key()
        return RunFolder(output or DEFAULT_RUNS_FOLDER / f"distill-{self.request.into}-{key[:8]}", key)


def read_distillation(request: DistillRequest, config: Config, stack: Stack) -> Distillation:
    """Read data and settings of a distillation.

    Parameters
    ----------
    request : what is distilled, and into what
    config : settings of the student, and where long steps run
    stack : the loaded stack

    Raises
    ------
    ElmlffError
        The data, the student or the settings cannot be used; the message explains what to do.
    """
    set_up_process()
    check_executor(Placement.of(config.resources))
    student = resolve_model(config, request.into).with_descriptors(False)  # nobody sees them
    check_student(student)
    driver_of(StackCalculator(stack), request.settings.driver)  # now, and not in the first simulation
    reference = read_reference(stack, request.stack, request.data, request.keys)
    given = _given(request.structures, reference, stack)
    sources = sources_of(request.settings, reference.train.structures)
    if not sources and not len(given):
        raise ConfigError("no structure is made: give --made, sizes or temperatures, or --structures")
    notes = list(reference.notes)
    if reason := why_no_energies(stack):
        notes.append(reason)
    if reference.test is None:
        notes.append("all labelled structures were used in the fit of the stack: there is no error on unseen ones")
    limits = Limits.of(request.settings, reference.train, stack)
    return Distillation(request, config, stack, reference, student, sources, given, limits, tuple(notes))


def _given(files: Sequence[str], reference: Reference, stack: Stack) -> Sequence[Atoms]:
    """Read the structures of the user, without those that are held out."""
    found = [atoms for file in files for atoms in read_structures(file)]
    known = stack.elements
    unknown = set() if known is None else {symbol for atoms in found for symbol in set(atoms.symbols)} - known
    if unknown:
        raise DataError(f"{', '.join(files)}: a base model of the stack does not support {', '.join(sorted(unknown))}")
    if reference.test is not None and found:
        held_out = are_among(signatures(found), signatures(reference.test.structures))
        found = [atoms for atoms, is_test in zip(found, held_out, strict=True) if not is_test]
    return flat_structures(found)
