"""Checks before long work: the models know the elements of the data, and options in the settings are valid."""

from __future__ import annotations

from collections.abc import Sequence

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel, model_settings
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.data.splits import Splits
from elmlff_core.errors import DataError, ForceFieldError, PluginError
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import validated


def check_elements(models: Sequence[NamedModel], splits: Splits, cache: FeatureCache) -> None:
    """Check that every model knows all elements of the data.

    A model with a checkpoint knows the elements that it was made for.  If `cache` has predictions of it, they are read
    there, so that it need not be loaded.  A model that is to be trained here will know the elements of the training
    structures.

    Raises
    ------
    ForceFieldError
        A model with a checkpoint does not know an element of the data.
    DataError
        A model is to be trained, and an element of the data does not occur in the training structures.
    """
    for dataset in splits.datasets:
        for model in models:
            known = splits.train.elements if model.needs_training else known_elements(model, dataset, cache)
            if known is None or not (unknown := sorted(dataset.elements - known)):
                continue
            if model.needs_training:
                raise DataError(f"{dataset.source} contains {', '.join(unknown)}, absent from the training structures")
            raise ForceFieldError(
                f"model '{model.name}' does not know {', '.join(unknown)}, which {dataset.source} contains; "
                f"it knows {', '.join(sorted(known))}"
            )


def known_elements(model: NamedModel, dataset: Dataset, cache: FeatureCache) -> frozenset[str] | None:
    """Return the chemical symbols that a model with a checkpoint knows, or None if it accepts any element.

    The model is loaded only if `cache` has no prediction of it for `dataset`.
    """
    fingerprint = model.fingerprint  # loads the model if its adapter cannot give the fingerprint without
    if not model.is_loaded and (found := cache.elements(fingerprint, dataset.fingerprint)) is not None:
        return found.symbols
    return model.force_field.elements


def check_unused_models(config: Config) -> None:
    """Check the options of the models in the settings that are not stacked: one of them may be meant to be.

    Models whose adapter is not installed here cannot be checked: a settings file may serve several machines.

    Raises
    ------
    ConfigError
        An option is unknown, with the most similar one, or not valid; or a model names no adapter.
    """
    for name in config.models:
        if name in config.base_models:
            continue
        try:
            settings = model_settings(config, name)
            plugin = registry().force_field(settings.adapter)
        except PluginError:
            continue
        validated(plugin.options, settings.options, f"the options of model '{name}'")
