"""The story of a reproduction: the paper's study of one system, from its raw files to tables and figures.

Table 1 are the bases, Table 2 and Figure 2 a sweep over their subsets, Table 3 an ablation, Figure 3 the energies of
the data.  Each part has a folder of its own, and a killed reproduction goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, resolve_model, with_base_models
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.evaluation.evaluation import base_rows
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.workflows.ablation.workflow import ablate
from elmlff_core.workflows.reproduction.data import frames_here
from elmlff_core.workflows.reproduction.page import write_reproduction
from elmlff_core.workflows.reproduction.published import find_published, read_published
from elmlff_core.workflows.reproduction.results import BaseRow, Reproduction
from elmlff_core.workflows.reproduction.studies import Study
from elmlff_core.workflows.stack.workflow import DEFAULT_RUNS_FOLDER
from elmlff_core.workflows.sweep.workflow import SweepRequest, sweep

PUBLISHED_FILE = "published.json"


@dataclass(frozen=True)
class ReproductionRequest:
    """What a reproduction computes.

    Attributes
    ----------
    sweep : ways, subsets and executor
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
    verdicts: list[str]


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
    request : ways, subsets, executor and published values
    output : folder; by default one below ``elmlff-runs`` named after study, budget and settings
    models_folder : where bases trained here live
    reporter : told what is going on

    Raises
    ------
    ElmlffError
        Data, settings, plugins or bases that cannot be used; the message says what to do.
    """
    reporter = reporter or Reporter()
    config = with_base_models(config)
    digest = without_seeds(config).digest()
    folder = output or DEFAULT_RUNS_FOLDER / f"reproduce-{study.name}-{config.budget}-{digest[:8]}"
    published = published_values(study, request, folder)
    swept = sweep(config, request.sweep, folder / "sweep", models_folder, reporter)
    ablated = None
    if request.ablation:
        where = request.sweep
        ablated = ablate(config, where.executor, where.workers, folder / "ablation", models_folder, reporter)
    counts = {part: len(features) for part, features in swept.features.items()}
    found = origins(config, counts["train"])
    results = Reproduction(
        study=study,
        config=swept.config,
        published=published,
        frames=frames_here(study),
        bases=[BaseRow(row, origin) for row, origin in zip(base_rows(swept.features), found, strict=True)],
        sweep=swept.sweep,
        ablation=None if ablated is None else ablated.rows,
        energies=reference_energies(swept.features),
        counts=counts,
    )
    write_reproduction(results, folder)
    return ReproductionRun(folder, results, results.verdicts())


def published_values(study: Study, request: ReproductionRequest, folder: Path) -> dict[str, float]:
    """Published errors by subset: those of the request, else those an earlier run left in `folder`."""
    kept = folder / PUBLISHED_FILE
    given = request.published or find_published(study, request.origin)
    values = read_published(study, given or (kept if kept.exists() else None))
    folder.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps(values, indent=1))
    partial.replace(kept)
    return values


def reference_energies(features: Mapping[str, Features]) -> dict[str, np.ndarray]:
    """Part -> (n_structures,) eV; empty where the labels have none."""
    return {
        part: values.reference.energy
        for part, values in features.items()
        if values.reference is not None and values.reference.energy is not None
    }


def origins(config: Config, n_train: int) -> list[str]:
    """Where each base comes from: the file it was given as, or how long it is trained here on `n_train` structures."""
    found = []
    for name in config.stack:
        model = resolve_model(config, name)
        if model.needs_training:
            length = model.length(n_train)
            found.append(f"trained here, {length.steps:,} steps, {length.epochs:.3g} epochs")
        else:
            found.append(f"given, {model.checkpoint.name}" if model.checkpoint else "needs no checkpoint")
    return found
