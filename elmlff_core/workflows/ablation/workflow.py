"""The story of an ablation: base predictions as for a stack, then `gat` and what is left of it without its parts.

All variants see the same structures, features and seeds.  A killed ablation goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, resolve_model, with_base_models
from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.splits import read_parts
from elmlff_core.errors import ConfigError
from elmlff_core.fits.executors import check_executor, opened
from elmlff_core.fits.fit import FITTED_FILE
from elmlff_core.fits.meta_models import NamedMeta, resolve_meta_models, with_resolved
from elmlff_core.resources import n_cores, set_up_process, threads_for
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.ablation.results import VariantRow, verdict, write_ablation
from elmlff_core.workflows.ablation.variants import Variant, gat_variants
from elmlff_core.workflows.stack.workflow import DEFAULT_RUNS_FOLDER, run_key
from elmlff_core.workflows.sweep.per_subset import SubsetFit, run_fits, write_features
from elmlff_core.workflows.sweep.subset_errors import evaluated_parts
from elmlff_core.workflows.sweep.workflow import features_to_learn_from, in_sample_notes


@dataclass(frozen=True)
class AblationRun:
    """What `ablate` leaves: the folder, the table, and one sentence about it."""

    folder: Path
    rows: list[VariantRow]
    verdict: str


def ablate(
    config: Config,
    executor: str = "processes",
    workers: int | None = None,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    reporter: Reporter | None = None,
) -> AblationRun:
    """Fit `gat` whole, without residuals, and without its last one to five layers (Table 3 of the paper).

    Parameters
    ----------
    config : as for `stack`, with `gat` as its meta-model; each variant is fitted with ``config.seeds`` seeds
    executor, workers : where fits run, as for a sweep
    output : folder of the ablation
    models_folder : where bases trained here live
    reporter : told what is going on

    Raises
    ------
    ElmlffError
        Data, settings, plugins or bases that cannot be used; the message says what to do.
    """
    reporter = reporter or Reporter()
    set_up_process()
    check_executor(executor)
    config = with_base_models(config)
    if config.meta_names != ("gat",):
        raise ConfigError(f"an ablation takes the meta-model gat, found {', '.join(config.meta_names)}: say --meta gat")
    parts = read_parts(config.data)
    models = [resolve_model(config, name) for name in config.stack]
    (meta,) = resolve_meta_models(config, parts)
    config = with_resolved(config, [meta])
    key = run_key(without_seeds(config), parts, models, "ablate")
    name = f"ablate-{'+'.join(config.stack)}-{key[:8]}"
    run = RunFolder.open(output or DEFAULT_RUNS_FOLDER / name, key, config)
    features, in_sample = features_to_learn_from(config, parts, models, models_folder, reporter)
    variants = gat_variants(meta.options)
    n_workers = min(workers or n_cores(), len(variants) * config.seeds)
    tasks = variant_fits(variants, meta, config, run, threads_for(n_workers) if executor == "processes" else None)
    everything = [task for group in tasks for task in group]
    left = [task for task in everything if task.finished is None]
    reporter.say(
        f"gat in {len(variants)} variants with {config.seeds} seeds, {meta.training.epochs or 0} epochs each: "
        f"{len(everything) - len(left)} of {len(everything)} fits finished before"
    )
    if left:
        write_features(features, evaluated_parts(features), run.path / "features")
        with (
            reporter.progress("fitting variants of gat") as progress,
            opened(executor, n_workers, threads_for(n_workers)) as pool,
        ):
            run_fits(left, pool, progress)
    rows = [row_of(variant, group) for variant, group in zip(variants, tasks, strict=True)]
    counts = {part: len(values) for part, values in features.items()}
    write_ablation(rows, config.stack, counts, in_sample_notes(in_sample), run)
    return AblationRun(run.path, rows, verdict(rows))


def variant_fits(
    variants: Sequence[Variant], meta: NamedMeta, config: Config, run: RunFolder, n_threads: int | None
) -> list[list[SubsetFit]]:
    """For each variant a task for each seed, in a folder of its own."""
    fits, features = (run.path / "fit").absolute(), (run.path / "features").absolute()
    return [
        [
            SubsetFit(
                config.stack, meta.name, variant.options, meta.training, seed,
                fits / f"{variant.name}-seed{seed}", features, n_threads,
            )
            for seed in range(config.seed, config.seed + config.seeds)
        ]
        for variant in variants
    ]  # fmt: skip


def row_of(variant: Variant, tasks: Sequence[SubsetFit]) -> VariantRow:
    """What came of the tasks of one variant."""
    entries = [entry for task in tasks if (entry := task.finished) is not None]
    fitted = json.loads((tasks[0].folder / FITTED_FILE).read_text())
    return VariantRow.of(variant, entries, fitted["n_parameters"])
