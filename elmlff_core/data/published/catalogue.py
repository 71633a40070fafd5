"""The catalogue of published datasets: their files, and the revisions and hashes that identify them.

The data are not part of elmlff; the catalogue is.  ``$ELMLFF_CATALOGUE`` names another catalogue of the same format,
for example for a mirror or for the data of your own group.  Each split of a dataset declares the format of its files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from elmlff_core.errors import DataError, did_you_mean
from elmlff_core.settings.reading import validated

# One component of a path in the folder of a dataset; it cannot lead out of that folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
RemotePath = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
FORMAT_VERSION = 2  # 1: all splits were deepmd/npy systems, and did not say so


class CatalogueTable(BaseModel):
    """Base class of the tables of the catalogue; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# The registry of pooch is not used: it identifies a file by a hash of its contents alone, while the revision of the
# repository pins each file by git's blob hash, which also covers the size.  No other hash could be computed for the
# catalogue, because some of its files were not at hand.
class Facts(CatalogueTable):
    """Hash and size of one file: the hash identifies it, the size (bytes, if known) is for progress and messages."""

    git_blob: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    size: int | None = None


class FrameSet(CatalogueTable):
    """One ``set.*`` folder of a deepmd/npy folder."""

    frames: int
    files: dict[FileName, Facts]


class NpySplit(CatalogueTable):
    """Structures as one deepmd/npy system, the content of `folder` in the repository."""

    format: Literal["deepmd/npy"]
    folder: str
    types: dict[FileName, Facts]
    sets: dict[FileName, FrameSet]

    @property
    def frames_by_set(self) -> dict[str, int | None]:
        """Number of frames of each set."""
        return {name: frames.frames for name, frames in self.sets.items()}

    @property
    def content(self) -> str:
        """Path of what is read, in the folder of the split."""
        return ""

    @property
    def for_users(self) -> str:
        """Path of what ``--data`` and other programs read, in the folder of the split."""
        return ""

    def files(self) -> Iterator[tuple[str, str, Facts]]:
        """Yield path in `folder`, name of the set ("" for the types of atoms, which all sets share), and facts."""
        for file, facts in self.types.items():
            yield file, "", facts
        for set_name, frames in self.sets.items():
            for file, facts in frames.files.items():
                yield f"{set_name}/{file}", set_name, facts


class FileSplit(CatalogueTable):
    """Structures as one file.

    Attributes
    ----------
    format : ``extxyz``, or ``mlearn-json`` (see `elmlff_core.data.mlearn`), of which `elmlff data get` makes an extxyz
        file
    path : path in the repository
    frames : number of structures, None if it is not known
    facts : expected hash and size
    """

    format: Literal["extxyz", "mlearn-json"]
    path: RemotePath
    frames: int | None = None
    facts: Facts

    @property
    def folder(self) -> str:
        """Folder of the file in the repository."""
        return str(PurePosixPath(self.path).parent)

    @property
    def frames_by_set(self) -> dict[str, int | None]:
        """Number of structures; the file is the only set."""
        return {self.content: self.frames}

    @property
    def content(self) -> str:
        """Path of what is read, in the folder of the split."""
        return PurePosixPath(self.path).name

    @property
    def for_users(self) -> str:
        """Path of what ``--data`` and other programs read, in the folder of the split: an extxyz file."""
        return f"{PurePosixPath(self.path).stem}.extxyz" if self.format == "mlearn-json" else self.content

    def files(self) -> Iterator[tuple[str, str, Facts]]:
        """Yield the file, which is a set by itself, and its facts."""
        yield self.content, self.content, self.facts


PublishedSplit = Annotated[NpySplit | FileSplit, Field(discriminator="format")]


def total_frames(numbers: Iterable[int | None]) -> int | None:
    """Return the sum of numbers of frames, or None if one of them is not known."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


@dataclass(frozen=True)
class PublishedFile:
    """One file of a published dataset.

    Attributes
    ----------
    path : path in the folder of the dataset, such as ``train/set.000/force.npy``
    remote : path in the repository
    split : name of the split, such as ``train``
    set_name : name of the set, such as ``set.000``, or of a file that is a set by itself; empty for the types of atoms,
        which all sets of a split share
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
    short_name : another name that `elmlff data get` accepts, if there is one
    theory : level of theory of the labels
    n_atoms : smallest and largest number of atoms of a structure, if known
    labels : energy, forces, stress
    source, revision : the repository and its commit
    url : address of the files of that commit
    citation : what to cite where the data are used
    parts : the splits, by name
    """

    name: FileName
    short_name: FileName | None = None
    summary: str
    theory: str = ""
    n_atoms: tuple[int, int] | None = None
    labels: tuple[str, ...]
    source: str
    revision: str
    url: str
    licence: str
    citation: str = ""
    parts: dict[FileName, PublishedSplit]

    @property
    def names(self) -> list[str]:
        """Full and short name."""
        return [self.name, *filter(None, [self.short_name])]

    @property
    def n_frames(self) -> int | None:
        """Number of frames in all splits, None if that of a split is not known."""
        return total_frames(self.n_frames_of(split) for split in self.parts)

    def n_frames_of(self, split: str) -> int | None:
        """Return the number of frames in one split, None if it is not known."""
        return total_frames(self.parts[split].frames_by_set.values())

    def files(self) -> Iterator[PublishedFile]:
        """Yield every file, training structures first."""
        for name, split in self.parts.items():
            for path, set_name, facts in split.files():
                remote = str(PurePosixPath(split.folder, path))
                yield PublishedFile(f"{name}/{path}", remote, name, set_name, facts)


class Catalogue(CatalogueTable):
    """All published datasets that elmlff can get by name."""

    format_version: Literal[2]
    datasets: tuple[PublishedDataset, ...]

    @property
    def names(self) -> list[str]:
        """Full names, in the order of the catalogue."""
        return [dataset.name for dataset in self.datasets]

    def find(self, name: str) -> PublishedDataset | None:
        """Return the dataset with this full or short name, or None."""
        return next((dataset for dataset in self.datasets if name in dataset.names), None)

    def named(self, name: str) -> PublishedDataset:
        """Return the dataset with this full or short name; DataError suggests a name if there is none."""
        dataset = self.find(name)
        if dataset is None:
            known = [name for dataset in self.datasets for name in dataset.names]
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
    if (version := raw.get("format_version")) != FORMAT_VERSION:
        raise DataError(
            f"the catalogue {own} has format version {version!r}, expected {FORMAT_VERSION}, in which each split has a "
            "'format' and 'n_atoms' is a smallest and a largest number: docs/data.md describes it"
        )
    return validated(Catalogue, raw, own or "the catalogue")
