"""`auto`: the meta-models that are tried where the settings name none, by the data and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from elmlff_core.contracts.features import Features
from elmlff_core.data.splits import Splits
from elmlff_core.fits.meta_models import FEWEST, USUAL, NamedMeta, left_open, resolve_meta_models
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config

SIMPLE = ("best", "linear")  # what others have to be clearly better than, where cross-validation chooses
# With more elements functions of an expansion are of a low degree: with the four of methanol on copper `ace` errs by
# more than twice as much as `egat`.  With up to three no network errs less, unless it has `ace` among its base models.
WITH_EXPANSION, MOST_ELEMENTS = ("ace", "conservative-ace"), 3
NETWORKS = ("egat", "conservative")
# Training structures with which cross-validation chooses: with fewer no network can be fitted, and with more validation
# structures select the epoch well enough and fits to folds take hours.
MOST = 200


@dataclass(frozen=True)
class Tried:
    """The meta-models of a run.

    Attributes
    ----------
    metas : those of the settings or, for ``auto``, those of which validation structures choose one
    compared : those among which cross-validation chooses first; empty with many structures, or if settings name one
    left_out : names of those that ``auto`` would try too if all energies were known
    """

    metas: list[NamedMeta]
    compared: list[NamedMeta] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[NamedMeta]:
        """All that may be fitted."""
        return self.compared or self.metas


def tried(config: Config, splits: Splits, energies: bool | None = None) -> Tried:
    """Return the meta-models of a run; raises as `resolve_meta_models`.

    `energies` says whether all energies are known, as `has_energies`; by default, whether labels have them.
    """
    n_train = len(splits.train_index)
    if not left_open(config) or n_train < FEWEST:
        return Tried(resolve_meta_models(config, splits))
    known = splits.source.energy is not None if energies is None else energies
    few = n_train <= MOST
    names = _names(config, splits, known, few)
    left_out = [name for name in _names(config, splits, True, few) if name not in names]
    compared = _resolved([*SIMPLE, *names], config, splits) if few else []
    return Tried(_resolved(_names(config, splits, known, False), config, splits), compared, left_out)


def has_energies(features: Features) -> bool:
    """Return whether energies of all base models, and of the labels, are known."""
    labelled = features.reference is not None and features.reference.energy is not None
    return labelled and set(features.models) <= set(features.energies)


def _names(config: Config, splits: Splits, energies: bool, few: bool) -> list[str]:
    """Return the names of those that see the geometry; with `few` structures cross-validation has more of them."""
    expandable = energies and len(splits.source.elements) <= MOST_ELEMENTS
    names = WITH_EXPANSION if expandable else NETWORKS if few else (USUAL,)
    plugins = [registry().meta_model(name) for name in names]
    precision = config.training.precision
    return [
        plugin.name
        for plugin in plugins
        if (energies or not plugin.needs_energies) and (not plugin.trained or precision in plugin.precisions)
    ]


def _resolved(names: Sequence[str], config: Config, splits: Splits) -> list[NamedMeta]:
    return resolve_meta_models(config.model_copy(update={"meta": {**config.meta, "name": ",".join(names)}}), splits)
