"""The ablation workflow: prepare as for a stack, then fit `gat` and variants of it without residuals or last layers.

All variants are fitted with the same structures, features and seeds.  An interrupted ablation resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.execution.placement import Placement
from elmlff_core.fits.fit import Fit
from elmlff_core.fits.meta_models import NamedMeta, resolve_meta_models, with_resolved
from elmlff_core.fits.tasks import FeatureSource, FitTask, fit_everywhere
from elmlff_core.meta.training.device import check_device
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.ablation.page import write_results
from elmlff_core.workflows.ablation.results import Ablation, VariantErrors
from elmlff_core.workflows.ablation.variants import Variant, gat_variants
from elmlff_core.workflows.inputs import Inputs, open_run, read_inputs, run_of
from elmlff_core.workflows.plan import Plan, plan_of
from elmlff_core.workflows.prepare import preparation_notes, prepare
from elmlff_core.workflows.work import CachedFeatures, Place


@dataclass(frozen=True)
class AblationRun:
    """Result of `ablate`.

    Attributes
    ----------
    folder : folder of the ablation
    ablation : its results
    """

    folder: Path
    ablation: Ablation


def ablate(
    config: Config,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    reporter: Reporter | None = None,
) -> AblationRun:
    """Fit the whole `gat`, then without residuals and without its last one to five layers (Table 3 of the paper).

    Parameters
    ----------
    config : settings as for `build_stack`, with the meta-model `gat`; each variant is fitted ``config.seeds`` times
    output : folder of the ablation; by default a folder in ``elmlff-runs`` named after the settings
    models_folder : folder for trained base models, where later runs find them
    reporter : receives messages and progress

    Raises
    ------
    ElmlffError
        Data, settings, plugins or base models cannot be used; the message explains what to do.
    """
    reporter, placement = reporter or Reporter(), Placement.of(config.resources)
    inputs, meta, config = _resolved(config)
    run = open_run(inputs, "ablate", config, output, any_seeds=True)
    variants = gat_variants(meta.options)
    tasks = variant_tasks(variants, meta, config, run, CachedFeatures(Place.of(inputs, models_folder)))
    n_finished = sum(task.is_done for task in tasks)
    prepared = prepare(inputs, models_folder, run.tasks, reporter, fits=tasks)
    for note in prepared.notes:
        reporter.warn(note)
    reporter.say(
        f"gat in {len(variants)} variants with {config.seeds} seeds, {meta.training.epochs or 0} epochs each: "
        f"{n_finished} of {len(tasks)} fits finished before"
    )
    results = iter(fit_everywhere(tasks, prepared.features, placement, "variants of gat", run, reporter))
    errors = [VariantErrors.of(variant, [next(results) for _ in range(config.seeds)]) for variant in variants]
    found = Ablation(config.base_models, errors, preparation_notes(prepared))
    write_results(found, prepared.counts, run)
    return AblationRun(run.path, found)


def plan_ablation(config: Config, output: Path | None = None, models_folder: Path = DEFAULT_MODELS_FOLDER) -> Plan:
    """Return what `ablate` would do, without doing it; parameters and errors as there."""
    inputs, meta, config = _resolved(config)
    run = run_of(inputs, "ablate", config, output, any_seeds=True)
    source = CachedFeatures(Place.of(inputs, models_folder))
    return plan_of(inputs, models_folder, variant_tasks(gat_variants(meta.options), meta, config, run, source))


def _resolved(config: Config) -> tuple[Inputs, NamedMeta, Config]:
    """Return inputs, the meta-model, and the settings filled in."""
    if config.meta_names != ("gat",):
        raise ConfigError(f"an ablation takes the meta-model gat, found {', '.join(config.meta_names)}: use --meta gat")
    inputs = read_inputs(config)
    (meta,) = resolve_meta_models(inputs.config, inputs.splits)
    check_device(meta.training)
    return inputs, meta, with_resolved(inputs.config, [meta])


def variant_tasks(
    variants: Sequence[Variant], meta: NamedMeta, config: Config, run: RunFolder, source: FeatureSource
) -> list[FitTask]:
    """Return a task for each variant and seed; the seeds of a variant are consecutive."""
    return [
        FitTask(
            name=f"{variant.title}, seed {seed}",
            fit=Fit(replace(meta, options=variant.options), seed),
            base_models=config.base_models,
            folder=run.fit.absolute() / f"{variant.name}-seed{seed}",
            source=source,
        )
        for variant in variants
        for seed in range(config.seed, config.seed + config.seeds)
    ]
