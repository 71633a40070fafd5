"""Reference: the labelled structures on which a stack was fitted, and those that it has not seen."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.structures import Structures
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_dataset
from elmlff_core.data.splits import read_splits
from elmlff_core.data.units import check_units
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.settings.config import DataConfig
from elmlff_core.settings.reading import validated
from elmlff_core.settings.run_folder import CONFIG_FILE
from elmlff_core.stack.stack import Stack


@dataclass(frozen=True)
class Reference:
    """Structures with reference labels.

    Attributes
    ----------
    train, valid : those on which the stack was fitted and validated
    test : all others, which no student sees; None if there are none
    notes : notes for the reader
    """

    train: Dataset
    valid: Dataset
    test: Dataset | None
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where they came from."""
        return self.train.source


def read_reference(stack: Stack, folder: Path, data: str | None, keys: LabelKeys) -> Reference:
    """Read the data of the run that made `stack`, or those that the user names, and divide them as that run did.

    Parameters
    ----------
    stack, folder : the stack and its folder
    data : data that the user names, or None
    keys : names of the labels in them, if they are not the usual ones

    Raises
    ------
    ConfigError
        No data are named, and those of the run are not known or not there.
    DataError
        The data cannot be used, or the stack was fitted on none of them.
    """
    if data is not None:
        config = DataConfig(train=data, energy_key=keys.energy, forces_key=keys.forces)
    else:
        config = data_of_run(folder)
    if stack.seen is None:
        return _as_a_run_would(config)
    try:
        sources = [config.train, *([config.test] if config.test else [])]
        datasets = [read_dataset(source, LabelKeys(config.energy_key, config.forces_key)) for source in sources]
    except DataError as error:
        if data is not None:
            raise
        raise ConfigError(
            f"the data of the run in {folder} cannot be read here ({error}): name them with --data"
        ) from error
    for dataset in datasets:
        check_units(dataset)
    parts: dict[str, list[Dataset]] = {"train": [], "valid": [], "test": []}
    for dataset in datasets:
        for split, indices in stack.seen.splits(dataset.structures).items():
            if len(indices):
                parts[split].append(dataset.subset(indices))
    if not parts["train"] or not parts["valid"]:
        raise DataError(
            f"{datasets[0].source} has {'no training' if not parts['train'] else 'no validation'} structure of the "
            f"stack in {folder}: name the data of its run with --data"
        )
    train, valid = joined(parts["train"]), joined(parts["valid"])
    return Reference(train, valid, joined(parts["test"]) if parts["test"] else None)


def data_of_run(folder: Path) -> DataConfig:
    """Return what the settings of the run say on data; the stack may lie in a folder of the run.

    ConfigError if there are no such settings.
    """
    own = folder.expanduser().absolute()
    for place in (own, *own.parents[:2]):
        path = place / CONFIG_FILE
        if not path.is_file():
            continue
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}; name the data with --data") from error
        if isinstance(raw.get("data"), dict):
            return validated(DataConfig, raw["data"], str(path))
    raise ConfigError(f"{folder} does not say on which data the stack was fitted: name them with --data")


def joined(datasets: Sequence[Dataset]) -> Dataset:
    """Return the structures of all `datasets`, in order, with the labels that all of them have.

    Stresses are kept where they are, as in any dataset; what has no weights has those of usual structures.
    """
    if len(datasets) == 1:
        return datasets[0]
    structures = Structures.of(atoms for dataset in datasets for atoms in dataset.structures)
    energies = [dataset.energy for dataset in datasets]
    energy = (
        None if any(one is None for one in energies) else np.concatenate([one for one in energies if one is not None])
    )
    stress = None
    if any(dataset.stress is not None for dataset in datasets):
        stress = np.concatenate(
            [np.full((len(one), 6), np.nan) if one.stress is None else one.stress for one in datasets]
        )
    weight = None
    if any(dataset.weight is not None for dataset in datasets):
        weight = np.concatenate([np.ones(len(one)) if one.weight is None else one.weight for one in datasets])
    source = " and ".join(dict.fromkeys(dataset.source for dataset in datasets))
    return Dataset(structures, np.concatenate([dataset.forces for dataset in datasets]), energy, stress, source, weight)


def _as_a_run_would(config: DataConfig) -> Reference:
    splits = read_splits(config)
    note = (
        "the stack does not record on which structures it was fitted: the data are divided as `elmlff stack` would, so "
        "that it may have seen some of those that are held out"
    )
    return Reference(splits.train, splits.valid, splits.test, (note,))
