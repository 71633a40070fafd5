"""Named meta-models: from names in the settings to meta-models that can be fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elmlff_core.contracts.hookspecs import MetaModelPlugin, Options
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.data.splits import Splits
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.meta.average import FitAverage
from elmlff_core.meta.mixture import Mixture
from elmlff_core.meta.training.budget import with_budget
from elmlff_core.plugins.registry import MIXED, registry
from elmlff_core.settings.config import AUTO, Config, TrainingConfig, of_budget
from elmlff_core.settings.reading import validated

USUAL, OF_FEWEST = "egat", "linear"  # of `auto` with enough structures, and with too few for a network
FEWEST = 6  # training structures with which `auto` fits a network


@dataclass(frozen=True)
class NamedMeta:
    """One configured meta-model.

    Attributes
    ----------
    name : name of the meta-model, as in ``--meta gat``
    plugin : the plugin that makes it
    options : options of the budget, with the given options replacing them
    training : training settings with the epochs of the budget; closed-form meta-models ignore them
    parts : the meta-models whose mean it is; empty for one that is fitted itself
    """

    name: str
    plugin: MetaModelPlugin
    options: dict[str, Any]
    training: TrainingConfig
    parts: tuple[NamedMeta, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether it is trained in epochs and therefore depends on a seed."""
        return self.plugin.trained

    @property
    def sees_geometry(self) -> bool:
        """Whether it sees the surroundings of atoms."""
        return self.plugin.trained or self.plugin.sees_geometry

    def n_seeds(self, asked: int) -> int:
        """Return the number of its fits where `asked` seeds are: one, if it depends on no seed."""
        return asked if self.trained else 1

    def longer(self, times: float) -> NamedMeta:
        """Return the same meta-model, and those whose mean it is, with `times` as many epochs, at least one."""
        epochs = None if self.training.epochs is None else max(1, round(times * self.training.epochs))
        training = self.training.model_copy(update={"epochs": epochs})
        return replace(self, training=training, parts=tuple(part.longer(times) for part in self.parts))

    def make(self) -> MetaModel:
        """Make the meta-model, not fitted."""
        return make_meta(self.name, self.options)

    def __reduce__(self) -> tuple[Any, ...]:
        # Plugins are objects of this process: another one finds its own by the name.
        return _of_plugin, (self.name, self.options, self.training)


def _of_plugin(name: str, options: dict[str, Any], training: TrainingConfig) -> NamedMeta:
    return NamedMeta(name, registry().meta_model(name), options, training)


def make_meta(name: str, options: Mapping[str, Any], seeds: int = 1, with_geometry_only: bool = False) -> MetaModel:
    """Make a meta-model by name, not fitted; with several `seeds` the average of as many.

    Several names with a plus between them make the mean of these meta-models; their options are then under their names.
    `with_geometry_only` adds as many on geometry only to the average.  ConfigError or PluginError if its name or
    options are wrong.
    """
    if MIXED in name:
        parts = [make_meta(part, options.get(part, {}), seeds, with_geometry_only) for part in name.split(MIXED)]
        return mixture_of_fits(name, parts)
    seeds = seeds if registry().meta_model(name).trained else 1
    if seeds > 1 or with_geometry_only:
        fits = [make_meta(name, options) for _ in range(seeds)]
        on_geometry = [make_meta(name, options) for _ in range(seeds if with_geometry_only else 0)]
        return average_of_fits(name, fits, on_geometry)
    plugin = registry().meta_model(name)
    return plugin.make(validated(plugin.options, options, f"the options of meta-model '{name}'"))


def average_of_fits(name: str, fits: Sequence[MetaModel], on_geometry: Sequence[MetaModel]) -> FitAverage:
    """Return the average of `fits` of the meta-model `name`, and of those without base models."""
    return FitAverage(fits, on_geometry, own_energy=registry().meta_model(name).needs_energies)


def mixture_of_fits(name: str, parts: Sequence[MetaModel]) -> Mixture:
    """Return the mean of `parts`, fits or averages of the meta-models in `name`."""
    return Mixture(name.split(MIXED), parts, [plugin.needs_energies for plugin in registry().meta_models_in(name)])


def mixture_of(metas: Sequence[NamedMeta]) -> NamedMeta:
    """Return the mean of several meta-models as a meta-model."""
    name = MIXED.join(meta.name for meta in metas)
    options = {meta.name: meta.options for meta in metas}
    plugins = [meta.plugin for meta in metas]
    plugin = MetaModelPlugin(
        name, f"the mean of {' and '.join(meta.name for meta in metas)}", Options, lambda _: make_meta(name, options),
        trained=True,
        stress=any(plugin.stress for plugin in plugins),
        conservative=all(plugin.conservative for plugin in plugins),
        needs_energies=any(plugin.needs_energies for plugin in plugins),
    )  # fmt: skip
    training = next((meta.training for meta in metas if meta.trained), metas[0].training)
    return NamedMeta(name, plugin, options, training, tuple(metas))


def left_open(config: Config) -> bool:
    """Return whether the settings leave the choice open; options without a name are those of the usual meta-model."""
    return config.meta_names == (AUTO,) and all(
        isinstance(value, Mapping) for key, value in config.meta.items() if key != "name"
    )


def resolve_meta_models(config: Config, splits: Splits) -> list[NamedMeta]:
    """Return the meta-models of the settings, with valid options; for ``auto`` the usual one.

    Raises
    ------
    ConfigError, PluginError
        A meta-model or option is unknown, with the nearest name; or it is not clear to which meta-model an option
        belongs.
    """
    usual = USUAL if len(splits.train_index) >= FEWEST else OF_FEWEST
    names = [usual if name == AUTO else name for name in config.meta_names]
    plugins = {name: registry().meta_model(name) for name in names}
    given = _options(config.meta, plugins)
    resolved = []
    for name, plugin in plugins.items():
        options = _over(of_budget(plugin.budgets, config.budget), given[name])
        make_meta(name, options)  # finds errors in the options before long calculations begin
        resolved.append(NamedMeta(name, plugin, options, _training(config, plugin, splits)))
    return resolved


def with_resolved(config: Config, metas: Sequence[NamedMeta]) -> Config:
    """Return `config` with the options of the budget filled in; read again, these settings give the same run."""
    if len(metas) == 1:
        meta = {"name": metas[0].name, **metas[0].options}
        return config.model_copy(update={"meta": meta, "training": metas[0].training})
    # The training settings of the budget may differ between meta-models, so one table cannot hold them.
    tables = {meta.name: meta.options for meta in metas if meta.options}
    return config.model_copy(update={"meta": {"name": ",".join(meta.name for meta in metas), **tables}})


def _training(config: Config, plugin: MetaModelPlugin, splits: Splits) -> TrainingConfig:
    if not plugin.trained:
        return config.training
    if config.training.precision not in plugin.precisions:
        raise ConfigError(
            f"'training.precision' is {config.training.precision}, with which '{plugin.name}' cannot be trained: take "
            f"{' or '.join(plugin.precisions)}"
        )
    n_train, max_atoms = len(splits.train_index), int(splits.source.n_atoms.max())
    return with_budget(config.training, config.budget, n_train, max_atoms, plugin.training)


def _over(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options `given` over the `usual` ones; of a table in both, as that of `ace`, each option counts."""
    joined = {
        name: {**table, **given[name]}
        for name, table in usual.items()
        if isinstance(table, Mapping) and isinstance(given.get(name), Mapping)
    }
    return {**usual, **given, **joined}


def _options(meta: Mapping[str, Any], plugins: Mapping[str, MetaModelPlugin]) -> dict[str, dict[str, Any]]:
    """Return the options of each meta-model, from its own table; a single meta-model also takes keys of `meta`."""
    flat: dict[str, Any] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    known = {option for plugin in plugins.values() for option in plugin.options.model_fields}
    for key, value in meta.items():
        if key == "name":
            continue
        if isinstance(value, Mapping) and (key in plugins or key not in known):
            registry().meta_model(key)  # other meta-models may have a table, but misspelt names are refused
            tables[key] = value
        else:
            flat[key] = value
    if flat and len(plugins) > 1:
        raise ConfigError(_ownerless(next(iter(flat)), plugins))
    return {name: {**flat, **tables.get(name, {})} for name in plugins}


def _ownerless(key: str, plugins: Mapping[str, MetaModelPlugin]) -> str:
    owners = [f"'meta.{name}.{key}'" for name, plugin in plugins.items() if key in plugin.options.model_fields]
    if owners:
        return f"'meta.{key}' is ambiguous, as there are several meta-models: {' or '.join(owners)}"
    options = [option for plugin in plugins.values() for option in plugin.options.model_fields]
    where = f"options of several meta-models are set under their names, as in 'meta.{next(iter(plugins))}.KEY'"
    return f"unknown key 'meta.{key}', and {where}{did_you_mean(key, options)}"
