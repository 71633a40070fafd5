"""Fit: one meta-model fitted once, in a folder of its own, where a later run of the same settings finds it again.

A run makes several: each meta-model, each seed of a trained one, and the same fitted to geometry only.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.contracts.protocols import CountsParameters, FitRequest, MetaModel, check_masks
from elmlff_core.files import read_json, write_json
from elmlff_core.fits.meta_models import NamedMeta
from elmlff_core.settings.config import Config
from elmlff_core.settings.run_folder import RunFolder

FITTED_FILE = "fitted.json"
LEARNING_CURVE_FILE = "learning_curve.csv"
META_FOLDER = "meta"


@dataclass(frozen=True)
class Fit:
    """One fit that a run asks for.

    Attributes
    ----------
    meta : the meta-model
    seed : of initial weights and batches
    number : 0 for the first seed, whose meta-model becomes the stack
    geometry_only : whether the base models are kept from it: what the stack gains over this fit is what they bring
    masks : `BaseMasks`, which hide some of the base models of each structure, or None
    """

    meta: NamedMeta
    seed: int
    number: int = 0
    geometry_only: bool = False
    masks: Any = None

    @property
    def name(self) -> str:
        """Name of its folder."""
        suffix = "-geometry-only" if self.geometry_only else ""
        return f"{self.meta.name}{suffix}" + (f"-seed{self.seed}" if self.number else "")

    @property
    def title(self) -> str:
        """Name in tables, which the fits with other seeds share."""
        return f"{self.meta.name}, geometry only" if self.geometry_only else f"stack ({self.meta.name})"

    def seen(self, features: Features) -> Features:
        """What of `features` it sees."""
        return features.of_models(()) if self.geometry_only else features


@dataclass(frozen=True)
class Fitted:
    """A fit and what came of it.

    Attributes
    ----------
    fit : what was asked for
    meta : the fitted meta-model
    seconds : the fit took, those before an interruption included
    n_parameters : trainable numbers, or None where the meta-model does not tell
    folder : holds its checkpoints and logs
    """

    fit: Fit
    meta: MetaModel
    seconds: float
    n_parameters: int | None
    folder: Path

    @property
    def learning_curve(self) -> Path | None:
        """The CSV of its training, None where it was not trained in epochs."""
        path = self.folder / LEARNING_CURVE_FILE
        return path if path.exists() else None

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.fit.name,
            "meta": self.fit.meta.name,
            "seed": self.fit.seed,
            "geometry_only": self.fit.geometry_only,
            "epochs": self.fit.meta.training.epochs if self.fit.meta.trained else None,
            "seconds": self.seconds,
            "n_parameters": self.n_parameters,
        }


def fits_of(metas: Sequence[NamedMeta], config: Config) -> list[Fit]:
    """The fits of a run; meta-models in closed form know no seeds, and nothing of the geometry."""
    fits = []
    for meta in metas:
        n_seeds = config.seeds if meta.trained else 1
        for geometry_only in (False, True) if config.geometry_only and meta.trained else (False,):
            fits += [Fit(meta, config.seed + number, number, geometry_only) for number in range(n_seeds)]
    return fits


def planned(metas: Sequence[NamedMeta], config: Config, n_structures: int) -> Iterator[str]:
    """The fits of a run, a line for each trained meta-model, and which options have no effect."""
    for meta in metas:
        if not meta.trained:
            continue
        options = ", ".join(f"{key} {value}" for key, value in meta.options.items())
        epochs, size = meta.training.epochs or 0, meta.training.batch_size or 1
        seeds = f", {config.seeds} seeds" if config.seeds > 1 else ""
        geometry = ", with base models and on geometry only" if config.geometry_only else ""
        yield (
            f"meta-model {meta.name}{f' ({options})' if options else ''}: {config.budget}: "
            f"{epochs * -(-n_structures // size)} steps, {epochs} epochs of batches of {size}{seeds}{geometry}"
        )
    if (config.geometry_only or config.seeds > 1) and not any(meta.trained for meta in metas):
        yield "no meta-model here is trained in epochs: --geometry-only and --seeds change nothing"


def fit_all(fits: Sequence[Fit], features: Mapping[str, Features], run: RunFolder, reporter: Reporter) -> list[Fitted]:
    """Each fit on training structures, its state chosen by validation structures; finished ones are loaded."""
    return [fit_or_load(fit, features, run.fit / fit.name, reporter) for fit in fits]


def fit_or_load(fit: Fit, features: Mapping[str, Features], folder: Path, reporter: Reporter) -> Fitted:
    """The fit in `folder`: load it if finished, resume it if interrupted, otherwise start it."""
    meta = fit.meta.make()
    record = folder / FITTED_FILE
    if record.exists():
        meta.load(folder / META_FOLDER)
    else:
        (folder / META_FOLDER).mkdir(parents=True, exist_ok=True)
        seconds = _fit(fit, meta, features, folder, reporter)
        meta.save(folder / META_FOLDER)
        # Last, so that its presence says that the fit is whole.
        write_json(record, {"seconds": round(seconds, 3), "n_parameters": _n_parameters(meta)})
    return Fitted(fit, meta, folder=folder, **_figures(record))


def _figures(record: Path) -> dict[str, Any]:
    """``seconds`` and ``n_parameters`` of a finished fit."""
    found = read_json(record, ("seconds", "n_parameters"), f"remove the folder {record.parent} to fit again")
    return {key: found[key] for key in ("seconds", "n_parameters")}


def _fit(fit: Fit, meta: MetaModel, features: Mapping[str, Features], folder: Path, reporter: Reporter) -> float:
    """Fit `meta` and return the seconds it took, in this process and those before it."""
    check_masks(meta, fit.masks)
    before, started = _seconds_before(folder), time.perf_counter()
    with reporter.progress(f"fitting {fit.name}") as progress:
        train, valid = fit.seen(features["train"]), fit.seen(features["valid"])
        meta.fit(FitRequest(train, valid, fit.meta.training, folder, fit.seed, progress, fit.masks))
        progress(Progress(1, 1))
    return before + time.perf_counter() - started


def _seconds_before(folder: Path) -> float:
    """What an interrupted training in `folder` has cost, 0 where there was none."""
    try:
        with (folder / LEARNING_CURVE_FILE).open() as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return 0.0
    return float(rows[-1]["seconds"]) if rows else 0.0


def _n_parameters(meta: MetaModel) -> int | None:
    return meta.n_parameters if isinstance(meta, CountsParameters) else None
