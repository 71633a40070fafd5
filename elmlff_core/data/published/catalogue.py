"""The catalogue of published datasets: their files, and the revisions and hashes that identify them.

The data are not part of elmlff; the catalogue is.  ``$ELMLFF_CATALOGUE`` names another catalogue of the same format,
for example for a mirror or for the data of your own group.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from elmlff_core.errors import DataError, did_you_mean
from elmlff_core.settings.reading import validated

# One component of a path in the folder of a dataset; it cannot lead out of that folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class CatalogueTable(BaseModel):
    """Base class of the tables of the catalogue; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# The registry of pooch is not used: it identifies a file by a hash of its contents alone, while the revision of the
# repository pins each file by git's blob hash, which also covers the size.  No other hash could be computed for the
# catalogue, because some of its files were not at hand.
class Facts(CatalogueTable):
    """Hash and size of one file: the hash identifies it, the size (bytes) is for progress and messages."""

    git_blob: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    size: int


class FrameSet(CatalogueTable):
    """One ``set.*`` folder of a deepmd/npy folder."""

    frames: int
    files: dict[FileName, Facts]


class PublishedSplit(CatalogueTable):
    """Training or test structures: one deepmd/npy system, and its `folder` in the repository."""

    folder: str
    types: dict[FileName, Facts]
    sets: dict[FileName, FrameSet]

    @property
    def n_frames(self) -> int:
        """Number of frames in all sets."""
        return sum(frames.frames for frames in self.sets.values())


@dataclass(frozen=True)
class PublishedFile:
    """One file of a published dataset.

    Attributes
    ----------
    path : path in the folder of the dataset, such as ``train/set.000/force.npy``
    remote : path in the repository
    split : name of the split, such as ``train``
    set_name : name of the set, such as ``set.000``; empty for the types of atoms, which all sets of a split share
    facts : expected hash and size
    """

    path: str
    remote: str
    split: str
    set_name: str
    facts: Facts


class PublishedDataset(CatalogueTable):
    """A published dataset with its splits.

    Attributes
    ----------
    name : full name, different from the names of all embedded examples
    short_name : another name that `elmlff data get` accepts
    labels : energy, forces, stress
    source, revision : the repository and its commit
    url : address of the files of that commit
    parts : the splits, by name
    """

    name: FileName
    short_name: FileName
    summary: str
    n_atoms: int
    labels: tuple[str, ...]
    source: str
    revision: str
    url: str
    licence: str
    parts: dict[FileName, PublishedSplit]

    @property
    def n_frames(self) -> int:
        """Number of frames in all splits."""
        return sum(split.n_frames for split in self.parts.values())

    def files(self) -> Iterator[PublishedFile]:
        """Yield every file, training structures first."""
        for name, split in self.parts.items():
            for file, facts in split.types.items():
                yield PublishedFile(f"{name}/{file}", f"{split.folder}/{file}", name, "", facts)
            for set_name, frames in split.sets.items():
                for file, facts in frames.files.items():
                    path = f"{set_name}/{file}"
                    yield PublishedFile(f"{name}/{path}", f"{split.folder}/{path}", name, set_name, facts)


class Catalogue(CatalogueTable):
    """All published datasets that elmlff can get by name."""

    format_version: Literal[1]
    datasets: tuple[PublishedDataset, ...]

    @property
    def names(self) -> list[str]:
        """Full names, in the order of the catalogue."""
        return [dataset.name for dataset in self.datasets]

    def find(self, name: str) -> PublishedDataset | None:
        """Return the dataset with this full or short name, or None."""
        return next((dataset for dataset in self.datasets if name in (dataset.name, dataset.short_name)), None)

    def named(self, name: str) -> PublishedDataset:
        """Return the dataset with this full or short name; DataError suggests a name if there is none."""
        dataset = self.find(name)
        if dataset is None:
            known = [*self.names, *(dataset.short_name for dataset in self.datasets)]
            raise DataError(f"no published dataset is called '{name}'{did_you_mean(name, known)}")
        return dataset


def load_catalogue() -> Catalogue:
    """Load the catalogue of elmlff, or the one that ``$ELMLFF_CATALOGUE`` names.

    Raises
    ------
    ElmlffError
        The catalogue named by ``$ELMLFF_CATALOGUE`` cannot be read or does not have the expected format.
    """
    own = os.environ.get("ELMLFF_CATALOGUE")
    try:
        shipped = files("elmlff_core") / "data" / "published" / "catalogue.json"
        text = (Path(own) if own else shipped).read_text(encoding="utf-8")
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise DataError(f"cannot read the catalogue {own}, named by ELMLFF_CATALOGUE: {error}") from error
    return validated(Catalogue, raw, own or "the catalogue")
