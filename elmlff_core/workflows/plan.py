"""What a workflow would do: its long steps, which of them are done, and how long the others take by measured rates."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.out_of_fold import make_folds
from elmlff_core.base_models.training import kind_of, training_amount
from elmlff_core.execution.placement import Placement
from elmlff_core.fits.tasks import Fitting
from elmlff_core.workflows.ahead import Ahead
from elmlff_core.workflows.inputs import Inputs


@dataclass(frozen=True)
class Step:
    """One long step.

    Attributes
    ----------
    name : what it is
    done : whether an earlier run has done it
    seconds : estimate of its time; None if nothing like it was measured here
    memory : memory of a process that did the like, in bytes; None if it is not known
    after : names of the steps that it waits for
    """

    name: str
    done: bool = False
    seconds: float | None = None
    memory: int | None = None
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The long steps of a workflow, and the number of workers that do them."""

    steps: Sequence[Step]
    n_workers: int

    @property
    def left(self) -> list[Step]:
        """The steps that are to be done."""
        return [step for step in self.steps if not step.done]

    @property
    def unknown(self) -> list[str]:
        """Names of the steps to be done of which no time is known."""
        return [step.name for step in self.left if step.seconds is None]

    def with_more(self, other: Plan) -> Plan:
        """Return the plan of this workflow and of another one after it; steps that both have are done once."""
        known = {step.name for step in self.steps}
        more = [step for step in other.steps if step.name not in known]
        return Plan([*self.steps, *more], max(self.n_workers, other.n_workers))

    def seconds(self, n_workers: int) -> float:
        """Return the time of all steps of known time on `n_workers`, each given out as soon as it can begin."""
        waiting = {step.name: step for step in self.left}
        running: list[tuple[float, str]] = []
        now = 0.0
        while waiting or running:
            on_their_way = {*waiting, *(name for _, name in running)}
            ready = [step for step in waiting.values() if not on_their_way & set(step.after)]
            for step in ready[: n_workers - len(running)]:
                del waiting[step.name]
                heapq.heappush(running, (now + (step.seconds or 0.0), step.name))
            now, _ = heapq.heappop(running)
        return now


def plan_of(inputs: Inputs, models_folder: Path, fits: Sequence[Fitting] = ()) -> Plan:
    """Return the plan of a workflow; nothing is computed.

    Parameters
    ----------
    inputs : inputs of the workflow
    models_folder : folder for trained base models
    fits : fits of meta-models that take long
    """
    ahead = Ahead(inputs, models_folder, FeatureCache(), make_folds(inputs.splits, inputs.config))
    of_models = {model.name: list(_of_base_model(model, ahead)) for model in inputs.base_models}
    steps = [step for found in of_models.values() for step in found]
    for fit in fits:
        needed = tuple(step.name for name in fit.base_models for step in of_models[name])
        steps.append(_of_fit(fit, inputs, needed))
    placement = Placement.of(inputs.config.resources)
    return Plan(steps, placement.n_workers(max(1, sum(not step.done for step in steps))))


def _of_base_model(model: NamedModel, ahead: Ahead) -> Iterator[Step]:
    predicting = kind_of(model, "predicting").rate()
    n_atoms = sum(len(atoms) for dataset in ahead.inputs.splits.datasets for atoms in dataset.structures)
    seconds = None if predicting is None else predicting["seconds"] * n_atoms
    memory = None if predicting is None else predicting["memory"]
    if not model.needs_training:
        yield Step(f"predicting with {model.name}", not ahead.of_model(model, 1), seconds, memory)
        return
    steps = [(Step(f"training {model.name}", not ahead.of_model(model, 1)), ahead.inputs.splits.train)]
    for fold in ahead.folds:
        steps.append((Step(f"training {model.name} without {fold}", not ahead.of_fold(model, fold, 1)), fold.rest))
    rate = kind_of(model, "training").rate()
    for step, train in steps:
        if rate is not None:
            amount = training_amount(model, train.structures)
            step = replace(step, seconds=rate["seconds"] * amount + (seconds or 0.0), memory=rate["memory"])
        yield step


def _of_fit(fitting: Fitting, inputs: Inputs, after: tuple[str, ...]) -> Step:
    fit, rate = fitting.fit, fitting.fit.kind.rate()
    step = Step(f"fitting {fitting.name}", fitting.is_done, after=after)
    if rate is None:
        return step
    seconds = rate["seconds"] * fit.amount(inputs.splits.train.structures)
    return replace(step, seconds=seconds, memory=rate["memory"])
