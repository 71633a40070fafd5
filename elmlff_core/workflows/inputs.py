"""Inputs of workflows: data and base models.

Reading them takes little time, and refuses what cannot be used; a workflow then opens its folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.base_models.checks import check_unused_models
from elmlff_core.base_models.named import NamedModel, resolve_model, with_base_models
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.data.units import check_units
from elmlff_core.execution.executors import check_executor
from elmlff_core.execution.placement import Placement
from elmlff_core.files import read_record
from elmlff_core.fits.auto import tried
from elmlff_core.settings.config import Config, without_seeds
from elmlff_core.settings.inheritance import REMEDY
from elmlff_core.settings.run_folder import DEFAULT_RUNS_FOLDER, RUN_FILE, RunFolder, RunRecord


@dataclass(frozen=True)
class Inputs:
    """Inputs of a run.

    Attributes
    ----------
    config : the settings, with the names of the base models filled in
    splits : training, validation and test structures
    base_models : base models in the order of the settings; those that need training have no checkpoint yet
    """

    config: Config
    splits: Splits
    base_models: list[NamedModel]

    def key(self, kind: str, config: Config | None = None) -> str:
        """Return the hex digest of the `kind` of run and of its settings, data and given checkpoints.

        `config` replaces the settings if a workflow has filled in more of them.
        """
        digest = hashlib.sha256((kind + (config or self.config).digest()).encode())
        if (earlier := self.config.data.earlier_run) is not None:  # and not its path: a run may be moved
            record = read_record(Path(earlier).expanduser() / RUN_FILE, RunRecord, REMEDY)
            digest.update(record["key"].encode())
        digest.update(self.splits.source.labels_fingerprint.encode())
        if self.splits.test_source is not None:
            digest.update(self.splits.test_source.labels_fingerprint.encode())
        for model in self.base_models:
            digest.update(json.dumps([model.name, model.options.model_dump(mode="json")], sort_keys=True).encode())
            if not model.needs_training:
                digest.update(model.fingerprint.encode())
        return digest.hexdigest()


def read_inputs(config: Config) -> Inputs:
    """Read data and resolve base models, without starting long work.

    Raises
    ------
    ElmlffError
        Data, settings or plugins cannot be used; the message explains what to do.
    """
    check_executor(Placement.of(config.resources))
    config = with_base_models(config)
    check_unused_models(config)
    splits = read_splits(config.data)
    if config.data.check_units:
        for dataset in splits.datasets:
            check_units(dataset)
    seen = config.descriptors and any(meta.plugin.sees_descriptors for meta in tried(config, splits).all)
    asking = config.model_copy(update={"descriptors": seen})
    return Inputs(config, splits, [resolve_model(asking, name) for name in config.base_models])


def open_run(
    inputs: Inputs,
    kind: str,
    config: Config,
    output: Path | None,
    any_seeds: bool = False,
    named_by_meta: bool = True,
) -> RunFolder:
    """Open the folder of a run, as `run_of` finds it."""
    run = run_of(inputs, kind, config, output, any_seeds, named_by_meta)
    return RunFolder.open(run.path, run.key, config)


def run_of(
    inputs: Inputs,
    kind: str,
    config: Config,
    output: Path | None,
    any_seeds: bool = False,
    named_by_meta: bool = True,
) -> RunFolder:
    """Return the folder of a run, which need not be there.

    Settings, data and given checkpoints decide whether it is the same run as one before.

    Parameters
    ----------
    inputs : inputs of the run
    kind : kind of workflow, the beginning of the folder's name; "" for a stack
    config : the settings, including those that the workflow has filled in
    output : folder of the run; by default a folder in ``elmlff-runs`` named after the settings
    any_seeds : whether a different number of seeds is the same run, because each fit has its own folder
    named_by_meta : whether the default name has the meta-models in it; a sweep may use none
    """
    key = inputs.key(kind, without_seeds(config) if any_seeds else config)
    metas = "+".join(config.meta_names) if named_by_meta else ""
    names = [kind, "+".join(config.base_models), metas, key[:8]]
    return RunFolder(output or DEFAULT_RUNS_FOLDER / "-".join(filter(None, names)), key)
