"""The method ``per-subset``: the meta-model fitted separately for each subset, several fits at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import Placement
from elmlff_core.fits.fit import Fit
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.fits.tasks import FeatureSource, FitTask, fit_everywhere
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import Subset, subset_name


def per_subset_errors(
    tasks: Sequence[FitTask],
    features: Mapping[str, Features],
    placement: Placement,
    run: RunFolder,
    reporter: Reporter,
) -> list[SubsetErrors]:
    """Return the errors of the meta-model fitted for the subset of each of the tasks; what is not done is done now."""
    results = fit_everywhere(tasks, features, placement, "subsets", run, reporter)
    return [
        SubsetErrors(task.base_models, "per-subset", result.errors, result.seconds)
        for task, result in zip(tasks, results, strict=True)
    ]


def subset_tasks(
    subsets: Sequence[Subset], meta: NamedMeta, seed: int, run: RunFolder, source: FeatureSource
) -> list[FitTask]:
    """Return a task with its own folder for each subset."""
    folder = (run.path / "per-subset").absolute()
    return [
        FitTask(
            name=f"{meta.name} with {subset_name(subset)}",
            fit=Fit(meta, seed),
            base_models=subset,
            folder=folder / subset_name(subset),
            source=source,
        )
        for subset in subsets
    ]
