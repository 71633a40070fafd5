"""Named meta-models: from names in the settings to meta-models that can be fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elmlff_core.contracts.hookspecs import MetaModelPlugin
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.data.splits import Splits
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.meta.training.budget import with_budget
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config, TrainingConfig
from elmlff_core.settings.reading import validated


@dataclass(frozen=True)
class NamedMeta:
    """One configured meta-model.

    Attributes
    ----------
    name : as in ``--meta gat``
    plugin : what makes it
    options : those given, over those that the budget means
    training : how it is trained, with the epochs that the budget means; closed-form meta-models ignore it
    """

    name: str
    plugin: MetaModelPlugin
    options: dict[str, Any]
    training: TrainingConfig

    @property
    def trained(self) -> bool:
        """Whether it is trained in epochs, and so depends on a seed."""
        return self.plugin.trained

    def make(self) -> MetaModel:
        """A new one, not fitted."""
        return make_meta(self.name, self.options)


def make_meta(name: str, options: Mapping[str, Any]) -> MetaModel:
    """A meta-model by name, not fitted; ConfigError or PluginError where name or options do not fit."""
    plugin = registry().meta_model(name)
    return plugin.make(validated(plugin.options, options, f"the options of meta-model '{name}'"))


def resolve_meta_models(config: Config, splits: Splits) -> list[NamedMeta]:
    """The meta-models of the settings, their options valid.

    Raises
    ------
    ConfigError, PluginError
        An unknown meta-model or option, with the nearest name; an option that does not say whose it is.
    """
    plugins = {name: registry().meta_model(name) for name in config.meta_names}
    given = _options(config.meta, plugins)
    resolved = []
    for name, plugin in plugins.items():
        options = {**plugin.budgets.get(config.budget, {}), **given[name]}
        make_meta(name, options)  # what is wrong with the options is said before anything long begins
        resolved.append(NamedMeta(name, plugin, options, _training(config, plugin, splits)))
    return resolved


def with_resolved(config: Config, metas: Sequence[NamedMeta]) -> Config:
    """`config` with what the budget means for its meta-models filled in: read again, it is the same run."""
    if len(metas) == 1:
        meta = {"name": metas[0].name, **metas[0].options}
        return config.model_copy(update={"meta": meta, "training": metas[0].training})
    # What the budget means for training may differ between meta-models, so that it cannot stand in one table.
    tables = {meta.name: meta.options for meta in metas if meta.options}
    return config.model_copy(update={"meta": {"name": ",".join(meta.name for meta in metas), **tables}})


def _training(config: Config, plugin: MetaModelPlugin, splits: Splits) -> TrainingConfig:
    if not plugin.trained:
        return config.training
    n_train, max_atoms = len(splits.train_index), int(splits.source.n_atoms.max())
    return with_budget(config.training, config.budget, n_train, max_atoms, plugin.training)


def _options(meta: Mapping[str, Any], plugins: Mapping[str, MetaModelPlugin]) -> dict[str, dict[str, Any]]:
    """Options of each meta-model: those of its own table, and where it is the only one the keys beside the name."""
    flat: dict[str, Any] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    known = {option for plugin in plugins.values() for option in plugin.options.model_fields}
    for key, value in meta.items():
        if key == "name":
            continue
        if isinstance(value, Mapping) and key not in known:
            registry().meta_model(key)  # a table of one that is not asked for may stand there, a misspelt one not
            tables[key] = value
        else:
            flat[key] = value
    if flat and len(plugins) > 1:
        raise ConfigError(_ownerless(next(iter(flat)), plugins))
    return {name: {**flat, **tables.get(name, {})} for name in plugins}


def _ownerless(key: str, plugins: Mapping[str, MetaModelPlugin]) -> str:
    owners = [f"'meta.{name}.{key}'" for name, plugin in plugins.items() if key in plugin.options.model_fields]
    if owners:
        return f"'meta.{key}' does not say whose option it is, as there are several meta-models: {' or '.join(owners)}"
    options = [option for plugin in plugins.values() for option in plugin.options.model_fields]
    where = f"options of several meta-models stand under their names, as in 'meta.{next(iter(plugins))}.KEY'"
    return f"unknown key 'meta.{key}', and {where}{did_you_mean(key, options)}"
