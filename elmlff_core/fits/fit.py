"""Fit: one meta-model fitted once, in its own folder, where a later run with the same settings finds it.

A run consists of several fits: one per meta-model and, for trained meta-models, per seed; those that see the geometry
also on geometry only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from ase import Atoms

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.contracts.protocols import CountsParameters, FitRequest, MetaModel, check_masks
from elmlff_core.errors import ConfigError
from elmlff_core.execution.rates import Kind
from elmlff_core.files import check_digests, digests_of, read_numbers, read_record, write_record
from elmlff_core.fits.meta_models import NamedMeta, average_of_fits, mixture_of, mixture_of_fits
from elmlff_core.meta.average import FitAverage
from elmlff_core.meta.mixture import Mixture
from elmlff_core.settings.config import Config

FITTED_FILE = "fitted.json"
LEARNING_CURVE_FILE = "learning_curve.csv"
META_FOLDER = "meta"


@dataclass(frozen=True)
class Fit:
    """One fit of a run.

    Attributes
    ----------
    meta : the meta-model
    seed : seed of initial weights and batches
    number : number of the seed; the meta-model fitted with seed number 0 becomes the stack
    geometry_only : whether it is fitted without base models; the stack improves on this fit by what they contribute
    masks : `BaseMasks`, which mask some of the base models of each structure, or None
    part : which part of the training structures it is fitted to, as in its name; empty for all of them
    averaged : number of seeds from `seed` on of which it is the average
    with_geometry_only : whether it is the average of fits with base models and on geometry only
    """

    meta: NamedMeta
    seed: int
    number: int = 0
    geometry_only: bool = False
    masks: Any = None
    part: str = ""
    averaged: int = 1
    with_geometry_only: bool = False

    @property
    def name(self) -> str:
        """The name of its folder."""
        suffix = "-geometry-only" if self.geometry_only else "-with-geometry-only" if self.with_geometry_only else ""
        seed, part = f"-seed{self.seed}" if self.number else "", f"-{self.part}" if self.part else ""
        averaged = f"-{self.averaged}seeds" if self.averaged > 1 else ""
        return f"{self.meta.name}{suffix}{averaged}{seed}{part}"

    @property
    def title(self) -> str:
        """The name in tables, which is the same for all seeds."""
        seeds = f" of {self.averaged} seeds" if self.averaged > 1 else ""
        both = " with and without base models" if self.with_geometry_only else ""
        name = f"{self.meta.name}, mean{seeds}{both}" if self.is_average else self.meta.name
        if self.meta.parts:
            name = f"mean of {' and '.join(part.name for part in self.meta.parts)}{',' if seeds else ''}{seeds}{both}"
        return f"{name}, geometry only" if self.geometry_only else f"stack ({name})"

    @property
    def is_average(self) -> bool:
        """Whether it is the average of its members."""
        return self.averaged > 1 or self.with_geometry_only or bool(self.meta.parts)

    @property
    def of_parts(self) -> list[Fit]:
        """The same fit of each of the meta-models whose mean it is."""
        return [replace(self, meta=part, averaged=part.n_seeds(self.averaged)) for part in self.meta.parts]

    @property
    def members(self) -> list[Fit]:
        """The fits whose average it is, those on geometry only last, or itself alone."""
        if self.meta.parts:
            return [member for part in self.of_parts for member in part.members]
        if not self.is_average:
            return [self]
        kinds = (False, True) if self.with_geometry_only else (self.geometry_only,)
        return [
            replace(
                self, seed=self.seed + number, number=number, averaged=1, geometry_only=geometry_only,
                with_geometry_only=False,
            )
            for geometry_only in kinds
            for number in range(self.averaged)
        ]  # fmt: skip

    @property
    def kind(self) -> Kind:
        """The kind of step that it is, of which rates are kept."""
        return Kind("fitting", self.meta.name, [self.meta.options, self.geometry_only])

    def amount(self, structures: Sequence[Atoms]) -> float:
        """Return the amount of work of the fit, to which its time is proportional: epochs times atoms."""
        return ((self.meta.training.epochs or 1) if self.meta.trained else 1) * sum(map(len, structures))

    def seen(self, features: Features) -> Features:
        """Return the part of `features` that it uses: no base models if it is fitted to geometry only."""
        return features.of_models(()) if self.geometry_only else features


@dataclass(frozen=True)
class Fitted:
    """A finished fit.

    Attributes
    ----------
    fit : the fit
    meta : the fitted meta-model
    seconds : time of the fit, including the time before an interruption
    n_parameters : number of trainable parameters; None if the meta-model does not report it
    folder : folder with its checkpoints and logs
    """

    fit: Fit
    meta: MetaModel
    seconds: float
    n_parameters: int | None
    folder: Path

    @property
    def learning_curve(self) -> Path | None:
        """The CSV file of its training; None if it was not trained in epochs."""
        path = self.folder / LEARNING_CURVE_FILE
        return path if path.exists() else None

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "name": self.fit.name,
            "meta": self.fit.meta.name,
            "seed": self.fit.seed,
            "geometry_only": self.fit.geometry_only,
            "averaged": self.fit.averaged,
            "with_geometry_only": self.fit.with_geometry_only,
            "epochs": self.fit.meta.training.epochs if self.fit.meta.trained else None,
            "seconds": self.seconds,
            "n_parameters": self.n_parameters,
        }


def fits_of(metas: Sequence[NamedMeta], config: Config) -> list[Fit]:
    """Return the fits of a run: without seeds if not trained, and on geometry only for those that see it."""
    fits = []
    for meta in metas:
        for geometry_only in (False, True) if config.geometry_only and meta.sees_geometry else (False,):
            fits += [
                Fit(meta, config.seed + number, number, geometry_only) for number in range(meta.n_seeds(config.seeds))
            ]
    return fits


def check_average(metas: Sequence[NamedMeta], config: Config) -> None:
    """Raise ConfigError if the settings want averages, and there is nothing to average."""
    several = sum(meta.sees_geometry for meta in metas) > 1
    if config.average and config.seeds == 1 and not config.geometry_only and not several:
        raise ConfigError(
            "there is nothing to average with one fit: take several seeds, as with --seeds 4, several "
            "meta-models that see the geometry, as with --meta ace,egat, or add --geometry-only"
        )


def with_averages(fitted: Sequence[Fitted], config: Config, valid: Features, reporter: Reporter) -> list[Fitted]:
    """Return the fits, and behind them their averages if the settings want them.

    Features of validation structures, `valid`, weigh fits on geometry only and different meta-models.  The mean of the
    latter is left out if it gives one of them all the weight.
    """
    found = {(one.fit.meta.name, one.fit.geometry_only, one.fit.number): one for one in fitted}
    averages = []
    for one in fitted if config.average else ():
        if one.fit.number == 0 and one.fit.meta.sees_geometry:
            seeds = one.fit.meta.n_seeds(config.seeds)
            averages += [replace(one.fit, averaged=seeds)] if seeds > 1 else []
            if config.geometry_only and not one.fit.geometry_only:
                averages.append(replace(one.fit, averaged=seeds, with_geometry_only=True))
    averages += _mixtures(fitted, config) if config.average else []
    members = [[found[fit.meta.name, fit.geometry_only, fit.number] for fit in average.members] for average in averages]
    made = [average_of(*one, valid) for one in zip(averages, members, strict=True)]
    for one in made:
        if isinstance(one.meta, Mixture):
            reporter.say(f"{one.fit.title}: {one.meta}, by validation error")
    return [*fitted, *(one for one in made if not (isinstance(one.meta, Mixture) and 1 in one.meta.weights))]


def _mixtures(fitted: Sequence[Fitted], config: Config) -> list[Fit]:
    """Return the means of all meta-models that see the geometry, if there are several."""
    seen = [one.fit for one in fitted if one.fit.meta.sees_geometry and not one.fit.geometry_only]
    first = [fit for fit in seen if fit.number == 0]
    if len(first) < 2:
        return []
    mixed = replace(first[0], meta=mixture_of([fit.meta for fit in first]), averaged=config.seeds)
    return [mixed, replace(mixed, with_geometry_only=True)] if config.geometry_only else [mixed]


def average_of(fit: Fit, members: Sequence[Fitted], valid: Features) -> Fitted:
    """Return the average `fit` of its finished members, with `valid` as in `with_averages`.

    Its folder is that of the first.
    """
    if len(members) == 1:
        return members[0]
    meta = _mixture_of(fit, members, valid) if fit.meta.parts else _average_of(fit, members, valid)
    return Fitted(fit, meta, sum(one.seconds for one in members), meta.n_parameters, members[0].folder)


def _average_of(fit: Fit, members: Sequence[Fitted], valid: Features) -> FitAverage:
    metas = [one.meta for one in members]  # of `Fit.members`: as many as are averaged, then those on geometry only
    meta = average_of_fits(fit.meta.name, metas[: fit.averaged], metas[fit.averaged :])
    if meta.on_geometry:
        meta.weigh(valid)
    return meta


def _mixture_of(fit: Fit, members: Sequence[Fitted], valid: Features) -> Mixture:
    rest, parts = list(members), []
    for part in fit.of_parts:
        own, rest = rest[: len(part.members)], rest[len(part.members) :]
        parts.append(average_of(part, own, valid).meta)
    meta = mixture_of_fits(fit.meta.name, parts)
    meta.weigh(valid)
    return meta


def planned(metas: Sequence[NamedMeta], config: Config, n_structures: int, choosing: bool = False) -> Iterator[str]:
    """Yield a line for each trained meta-model with its fits, and a line on options that have no effect.

    `choosing` says whether cross-validation will choose among them.
    """
    if choosing:
        names = ", ".join(meta.name for meta in metas)
        yield f"meta-model: of {names}, chosen by cross-validation (name one with --meta to save this time)"
    for meta in metas:
        if meta.sees_geometry and not meta.trained:
            geometry = ", with base models and on geometry only" if config.geometry_only else ""
            yield f"meta-model {meta.name}: in closed form{geometry}"
        if not meta.trained:
            continue
        options = ", ".join(f"{key} {value}" for key, value in meta.options.items())
        epochs, size = meta.training.epochs or 0, meta.training.batch_size or 1
        averaged = " and their mean" if config.average else ""
        seeds = f", {config.seeds} seeds{averaged}" if config.seeds > 1 else ""
        geometry = ", with base models and on geometry only" if config.geometry_only else ""
        yield (
            f"meta-model {meta.name}{f' ({options})' if options else ''}: {config.budget}: "
            f"{epochs * -(-n_structures // size)} steps, {epochs} epochs of batches of {size}{seeds}{geometry}"
        )
    known = {name for meta in metas for name in (meta.name, *meta.plugin.options.model_fields)}
    for name in (key for key, value in config.meta.items() if isinstance(value, Mapping) and key not in known):
        yield f"the options under 'meta.{name}' have no effect: {name} is not among the meta-models of this run"
    if config.seeds > 1 and not any(meta.trained for meta in metas):
        yield "no meta-model of this run is trained in epochs: --seeds has no effect"
    if config.geometry_only and not any(meta.sees_geometry for meta in metas):
        yield "no meta-model of this run sees the geometry: --geometry-only has no effect"
    if config.descriptors and not any(meta.plugin.sees_descriptors for meta in metas):
        yield "no meta-model of this run sees descriptors: --descriptors has no effect"


class FittedRecord(TypedDict):
    """What ``fitted.json`` holds: its files are those with the fitted numbers, by path and SHA-256."""

    seconds: float
    n_parameters: int | None
    files: dict[str, str]


def fit_or_load(fit: Fit, features: Mapping[str, Features], folder: Path, reporter: Reporter) -> Fitted:
    """Return the fit in `folder`: load it if finished, resume it if interrupted, otherwise start it."""
    meta = fit.meta.make()
    record, remedy = folder / FITTED_FILE, f"remove the folder {folder} to fit again"
    if record.exists():
        check_digests(folder / META_FOLDER, read_record(record, FittedRecord, remedy)["files"], remedy)
        meta.load(folder / META_FOLDER)
    else:
        (folder / META_FOLDER).mkdir(parents=True, exist_ok=True)
        seconds = _fit(fit, meta, features, folder, reporter)
        meta.save(folder / META_FOLDER)
        # Written last, so that its presence means that the fit is complete.
        figures = {"seconds": round(seconds, 3), "n_parameters": _n_parameters(meta)}
        write_record(record, {**figures, "files": digests_of(folder / META_FOLDER)})
    found = read_record(record, FittedRecord, remedy)
    return Fitted(fit, meta, found["seconds"], found["n_parameters"], folder)


def _fit(fit: Fit, meta: MetaModel, features: Mapping[str, Features], folder: Path, reporter: Reporter) -> float:
    """Fit `meta` and return the seconds it took, including those before an interruption."""
    check_masks(meta, fit.masks)
    before, started = _seconds_before(folder), time.perf_counter()
    with reporter.progress(f"fitting {fit.name}") as progress:
        train, valid = fit.seen(features["train"]), fit.seen(features["valid"])
        meta.fit(FitRequest(train, valid, fit.meta.training, folder, fit.seed, progress, fit.masks))
        progress(Progress(1, 1))
    seconds = time.perf_counter() - started
    if not before:
        fit.kind.note(seconds, fit.amount(train.structures))
    return before + seconds


def _seconds_before(folder: Path) -> float:
    """Return the seconds of an interrupted training in `folder`, 0 if there was none."""
    path = folder / LEARNING_CURVE_FILE
    rows = read_numbers(path, ("seconds",)) if path.exists() else []
    return rows[-1]["seconds"] if rows else 0.0


def _n_parameters(meta: MetaModel) -> int | None:
    return meta.n_parameters if isinstance(meta, CountsParameters) else None
