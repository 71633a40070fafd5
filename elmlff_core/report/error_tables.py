"""Tables of the errors of all models of a run, for pages and for the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elmlff_core.evaluation.model_errors import (
    ENERGY_TITLES,
    METRIC_TITLES,
    SHOWN_SPLITS,
    STRESS_TITLES,
    ModelErrors,
)
from elmlff_core.evaluation.summary import with_seed_std
from elmlff_core.features.metrics import SPLIT_TITLES
from elmlff_core.report.page import Table


def error_table(errors: Sequence[ModelErrors]) -> Table:
    """Return the force errors of all models: all metrics on test structures, the paper's metric on the other splits.

    Meta-models fitted with several seeds have the mean and the standard deviation over the seeds.
    """
    others = [split for split in SHOWN_SPLITS[1:] if all(split in model.errors for model in errors)]
    columns = [(SHOWN_SPLITS[0], metric) for metric in METRIC_TITLES] + [(split, "rmse_per_frame") for split in others]
    head = ["model", "kind", *(f"{SPLIT_TITLES[split]}\n{METRIC_TITLES[metric]}" for split, metric in columns)]
    timed = any(model.seconds is not None for model in errors)
    if timed:
        head += ["minutes", "parameters"]
    body = []
    for model in errors:
        cells = [model.name, model.kind, *(with_seed_std(model, split, metric) for split, metric in columns)]
        if timed:
            cells.append("" if model.seconds is None else f"{model.seconds / 60:.1f}")
            cells.append("" if model.n_parameters is None else f"{model.n_parameters:,}")
        body.append(cells)
    caption = "Force errors in eV/Å. RMSE per frame is the RMSE of each structure, averaged over structures."
    n_seeds = max((len(model.per_seed) for model in errors), default=0)
    if n_seeds > 1:
        caption += f" ± is the standard deviation over {n_seeds} seeds."
    return Table(head, body, caption, text_columns=2, key_rows=_chosen(errors))


def energy_stress_table(
    errors: Sequence[ModelErrors], splits: Sequence[str] = SHOWN_SPLITS, titles: Mapping[str, str] | None = None
) -> Table | None:
    """Return the errors of energies (meV/atom) and stresses (meV/Å³) of all models; None if no model has any.

    `titles` head the columns of the splits, of which the first has all metrics.
    """
    shown_titles = SPLIT_TITLES if titles is None else titles
    columns = [
        (split, metric)
        for metrics in (ENERGY_TITLES, STRESS_TITLES)
        for split in splits
        for metric in (metrics if split == splits[0] else list(metrics)[:1])
        if any(metric in model.errors.get(split, {}) for model in errors)
    ]
    if not columns:
        return None
    metric_titles = ENERGY_TITLES | STRESS_TITLES
    head = ["model", *(f"{shown_titles[split]}\n{metric_titles[metric]}" for split, metric in columns)]
    body = [
        [model.name, *(with_seed_std(model, *column, scale=1000, digits=3) for column in columns)] for model in errors
    ]
    shown = {metric for _, metric in columns}
    parts = []
    if shown & set(ENERGY_TITLES):
        parts.append("Energies in meV per atom; those of base models are aligned to the reference per element.")
    if shown & set(STRESS_TITLES):
        parts.append("Stresses in meV/Å³, over the six components.")
    if any("–" in row for row in body):
        parts.append("A dash: the model predicts none.")
    return Table(head, body, " ".join(parts), key_rows=_chosen(errors))


def _chosen(errors: Sequence[ModelErrors]) -> list[int]:
    return [place for place, model in enumerate(errors) if model.chosen]
