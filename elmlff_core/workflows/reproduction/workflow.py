"""The reproduction workflow: the paper's study of one system, from raw files to tables and figures.

Table 1 has the base models, Table 2 and Figure 2 a sweep over their subsets, Table 3 an ablation, and Figure 3 the
energies of the data.  Sweep and ablation have their own folders.  An interrupted reproduction resumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, resolve_model, with_base_models
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.evaluation import errors_of_base_models
from elmlff_core.files import refuse_links
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.run_folder import DEFAULT_RUNS_FOLDER
from elmlff_core.workflows.ablation.workflow import ablate, plan_ablation
from elmlff_core.workflows.plan import Plan
from elmlff_core.workflows.reproduction.data import frames_here
from elmlff_core.workflows.reproduction.page import write_results
from elmlff_core.workflows.reproduction.published import Published
from elmlff_core.workflows.reproduction.results import BaseModelErrors, Reproduction
from elmlff_core.workflows.reproduction.studies import Study
from elmlff_core.workflows.sweep.workflow import SweepRequest, plan_sweep, sweep


@dataclass(frozen=True)
class ReproductionRequest:
    """Settings of a reproduction beside those of a run.

    Attributes
    ----------
    sweep : methods and subsets
    ablation : whether to make Table 3, which takes a training for each of seven variants and each seed
    """

    sweep: SweepRequest
    ablation: bool = True


@dataclass(frozen=True)
class ReproductionRun:
    """Result of `reproduce`.

    Attributes
    ----------
    folder : folder of the reproduction
    results : its results
    summaries : the results in sentences
    """

    folder: Path
    results: Reproduction
    summaries: list[str]


def reproduce(
    study: Study,
    config: Config,
    request: ReproductionRequest,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
    reporter: Reporter | None = None,
) -> ReproductionRun:
    """Repeat the paper's study of one system.

    Parameters
    ----------
    study : the study
    config : settings of the study with changes by the user, see `study_config`
    request : methods and subsets
    output : folder of the reproduction; by default a folder in ``elmlff-runs`` named after study, budget and settings
    models_folder : folder for trained base models, where later runs find them
    reporter : receives messages and progress

    Raises
    ------
    ElmlffError
        Data, settings, plugins or base models cannot be used; the message explains what to do.
    """
    reporter = reporter or Reporter()
    config = with_base_models(config)
    folder = folder_of(study, config, output)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder)
    swept = sweep(config, request.sweep, folder / "sweep", models_folder, reporter)
    ablated = None
    if request.ablation:
        ablated = ablate(config, folder / "ablation", models_folder, reporter)
    counts = {split: len(features) for split, features in swept.features.items()}
    origins = origins_of(swept.config, counts["train"])
    errors = errors_of_base_models(swept.features)
    results = Reproduction(
        study=study,
        config=swept.config,
        published=Published.of(study.name),
        frames=frames_here(study),
        base_models=[BaseModelErrors(model, origin) for model, origin in zip(errors, origins, strict=True)],
        sweep=swept.sweep,
        ablation=None if ablated is None else ablated.ablation,
        energies=reference_energies(swept.features),
        counts=counts,
    )
    write_results(results, folder)
    return ReproductionRun(folder, results, results.summaries())


def plan_reproduction(
    study: Study,
    config: Config,
    request: ReproductionRequest,
    output: Path | None = None,
    models_folder: Path = DEFAULT_MODELS_FOLDER,
) -> Plan:
    """Return what `reproduce` would do, without doing it; parameters and errors as there."""
    config = with_base_models(config)
    folder = folder_of(study, config, output)
    plan = plan_sweep(config, request.sweep, folder / "sweep", models_folder)
    return plan if not request.ablation else plan.with_more(plan_ablation(config, folder / "ablation", models_folder))


def folder_of(study: Study, config: Config, output: Path | None) -> Path:
    """Return the folder of a reproduction."""
    digest = without_seeds(config).digest()
    folder = output or DEFAULT_RUNS_FOLDER / f"reproduce-{study.name}-{config.budget}-{digest[:8]}"
    return folder.expanduser()


def reference_energies(features: Mapping[str, Features]) -> dict[str, np.ndarray]:
    """Return split -> reference energies (n_structures,), eV, for splits with energy labels."""
    return {
        split: values.reference.energy
        for split, values in features.items()
        if values.reference is not None and values.reference.energy is not None
    }


def origins_of(config: Config, n_train: int) -> list[str]:
    """Return the origin of each base model: its file, or the length of its training on `n_train` structures."""
    found = []
    for name in config.base_models:
        model = resolve_model(config, name)
        if model.needs_training:
            length = model.length(n_train)
            found.append(f"trained in this run, {length.steps:,} steps, {length.in_epochs}")
        else:
            found.append(f"checkpoint {model.checkpoint.name}" if model.checkpoint else "needs no checkpoint")
    return found
