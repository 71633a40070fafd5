"""A reproduction: the paper's study of one system, from its raw files to tables and figures.

Table 1 shows the base models, Table 2 and Figure 2 a sweep over their subsets, Table 3 an ablation, Figure 3 the
energies of the data.  Each has a folder of its own, and a killed reproduction resumes.
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
from elmlff_core.files import write_json
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.run_folder import DEFAULT_RUNS_FOLDER
from elmlff_core.workflows.ablation.workflow import ablate
from elmlff_core.workflows.reproduction.data import frames_here
from elmlff_core.workflows.reproduction.page import write_results
from elmlff_core.workflows.reproduction.published import find_published, read_published
from elmlff_core.workflows.reproduction.results import BaseModelErrors, Reproduction
from elmlff_core.workflows.reproduction.studies import Study
from elmlff_core.workflows.sweep.workflow import SweepRequest, sweep

PUBLISHED_FILE = "published.json"


@dataclass(frozen=True)
class ReproductionRequest:
    """What a reproduction computes.

    Attributes
    ----------
    sweep : methods, subsets, and where fits run
    ablation : whether Table 3 is made, a training for each of seven variants with each seed
    published : file of published values; None for the one beside the data in `origin`, if any
    origin : a folder with the data, which may hold published values
    """

    sweep: SweepRequest
    ablation: bool = True
    published: Path | None = None
    origin: Path | None = None


@dataclass(frozen=True)
class ReproductionRun:
    """What `reproduce` leaves: the folder, everything it found, and what to say of it."""

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
    """Redo the paper's study of one system.

    Parameters
    ----------
    study : which
    config : of the study, with what the user wants otherwise
    request : methods, subsets, where fits run, and published values
    output : folder; by default one below ``elmlff-runs`` named after study, budget and settings
    models_folder : where base models trained here live
    reporter : told what is going on

    Raises
    ------
    ElmlffError
        Data, settings, plugins or base models that cannot be used; the message says what to do.
    """
    reporter = reporter or Reporter()
    config = with_base_models(config)
    digest = without_seeds(config).digest()
    folder = output or DEFAULT_RUNS_FOLDER / f"reproduce-{study.name}-{config.budget}-{digest[:8]}"
    published = published_values(study, request, folder)
    swept = sweep(config, request.sweep, folder / "sweep", models_folder, reporter)
    ablated = None
    if request.ablation:
        ablated = ablate(config, request.sweep.placement, folder / "ablation", models_folder, reporter)
    counts = {split: len(features) for split, features in swept.features.items()}
    origins = origins_of(swept.config, counts["train"])
    errors = errors_of_base_models(swept.features)
    results = Reproduction(
        study=study,
        config=swept.config,
        published=published,
        frames=frames_here(study),
        base_models=[BaseModelErrors(row, origin) for row, origin in zip(errors, origins, strict=True)],
        sweep=swept.sweep,
        ablation=None if ablated is None else ablated.ablation,
        energies=reference_energies(swept.features),
        counts=counts,
    )
    write_results(results, folder)
    return ReproductionRun(folder, results, results.summaries())


def published_values(study: Study, request: ReproductionRequest, folder: Path) -> dict[str, float]:
    """Published errors by subset: those of the request, else those an earlier run left in `folder`."""
    kept = folder / PUBLISHED_FILE
    given = request.published or find_published(study, request.origin)
    values = read_published(study, given or (kept if kept.exists() else None))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(kept, values, indent=1)
    return values


def reference_energies(features: Mapping[str, Features]) -> dict[str, np.ndarray]:
    """Split -> (n_structures,) eV; empty where the labels have none."""
    return {
        split: values.reference.energy
        for split, values in features.items()
        if values.reference is not None and values.reference.energy is not None
    }


def origins_of(config: Config, n_train: int) -> list[str]:
    """Where each base model comes from: its file, or how long it is trained here on `n_train` structures."""
    found = []
    for name in config.base_models:
        model = resolve_model(config, name)
        if model.needs_training:
            length = model.length(n_train)
            found.append(f"trained here, {length.steps:,} steps, {length.epochs:.3g} epochs")
        else:
            found.append(f"given, {model.checkpoint.name}" if model.checkpoint else "needs no checkpoint")
    return found
