"""The method ``per-subset``: the meta-model fitted separately for each subset, several fits at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import Placement
from elmlff_core.fits.fit import Fit
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.fits.tasks import FitTask, fit_everywhere
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import Subset, subset_name


def per_subset_errors(
    subsets: Sequence[Subset],
    meta: NamedMeta,
    features: Mapping[str, Features],
    seed: int,
    placement: Placement,
    run: RunFolder,
    reporter: Reporter,
) -> list[SubsetErrors]:
    """Compute the errors of the meta-model fitted for each of `subsets`; results of finished fits are read."""
    tasks = subset_tasks(subsets, meta, seed, run)
    n_finished = sum(task.result is not None for task in tasks)
    epochs = f", {meta.training.epochs or 0} epochs each" if meta.trained else ""
    reporter.say(f"per-subset: {meta.name} for {len(tasks)} subsets{epochs}, {n_finished} finished before")
    results = fit_everywhere(tasks, features, placement, "subsets", run, reporter)
    return [
        SubsetErrors(subset, "per-subset", result.errors, result.seconds)
        for subset, result in zip(subsets, results, strict=True)
    ]


def subset_tasks(subsets: Sequence[Subset], meta: NamedMeta, seed: int, run: RunFolder) -> list[FitTask]:
    """Return a task with its own folder for each subset."""
    folder, features = (run.path / "per-subset").absolute(), run.features.absolute()
    return [
        FitTask(
            fit=Fit(meta, seed),
            base_models=subset,
            folder=folder / subset_name(subset),
            features=features,
            name=f"{meta.name} with {subset_name(subset)}",
        )
        for subset in subsets
    ]
