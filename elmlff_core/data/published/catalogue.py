"""Catalogue: datasets that others have published, file by file, with the revision and the hashes they are pinned to.

The data are not part of elmlff; the catalogue is.  ``$ELMLFF_CATALOGUE`` names another one of the same form, such as
that of a mirror or of one's own group.
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

# One component of a path below the folder of a dataset: it cannot lead out of it.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


class Entry(BaseModel):
    """A table of the catalogue: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Facts(Entry):
    """Of one file: the hash decides what it has to be, the size (bytes) is for progress and messages."""

    git_blob: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    size: int


class FrameSet(Entry):
    """One ``set.*`` of a deepmd/npy folder."""

    frames: int
    files: dict[FileName, Facts]


class Part(Entry):
    """Training or test structures: one deepmd/npy system, and its `folder` in the repository."""

    folder: str
    types: dict[FileName, Facts]
    sets: dict[FileName, FrameSet]

    @property
    def n_frames(self) -> int:
        """Frames of all sets."""
        return sum(frames.frames for frames in self.sets.values())


@dataclass(frozen=True)
class PublishedFile:
    """One file of a published dataset.

    Attributes
    ----------
    path : below the folder of the dataset, ``train/set.000/force.npy``
    remote : in the repository
    part : ``train``
    set_name : ``set.000``; empty for the types of atoms, which all sets of a part share
    facts : what it has to be
    """

    path: str
    remote: str
    part: str
    set_name: str
    facts: Facts


class PublishedDataset(Entry):
    """A dataset with its parts.

    Attributes
    ----------
    name : unlike any embedded example's
    short_name : what `elmlff data get` takes too
    labels : energy, forces, stress
    source, revision : the repository, and the commit in it
    url : where the files of that commit are served
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
    parts: dict[FileName, Part]

    @property
    def n_frames(self) -> int:
        """Frames of all parts."""
        return sum(part.n_frames for part in self.parts.values())

    def files(self) -> Iterator[PublishedFile]:
        """Every file, training structures first."""
        for name, part in self.parts.items():
            for file, facts in part.types.items():
                yield PublishedFile(f"{name}/{file}", f"{part.folder}/{file}", name, "", facts)
            for set_name, frames in part.sets.items():
                for file, facts in frames.files.items():
                    path = f"{set_name}/{file}"
                    yield PublishedFile(f"{name}/{path}", f"{part.folder}/{path}", name, set_name, facts)


class Catalogue(Entry):
    """All published datasets that are known by name."""

    format_version: Literal[1]
    datasets: tuple[PublishedDataset, ...]

    @property
    def names(self) -> list[str]:
        """Full names, in the order of the catalogue."""
        return [dataset.name for dataset in self.datasets]

    def find(self, name: str) -> PublishedDataset | None:
        """The dataset of that full or short name, if any."""
        return next((dataset for dataset in self.datasets if name in (dataset.name, dataset.short_name)), None)

    def named(self, name: str) -> PublishedDataset:
        """The dataset of that full or short name; DataError with a suggestion where there is none."""
        dataset = self.find(name)
        if dataset is None:
            known = [*self.names, *(dataset.short_name for dataset in self.datasets)]
            raise DataError(f"no published dataset is called '{name}'{did_you_mean(name, known)}")
        return dataset


def load_catalogue() -> Catalogue:
    """The catalogue of elmlff, or the one that ``$ELMLFF_CATALOGUE`` names.

    Raises
    ------
    ElmlffError
        A catalogue of one's own that cannot be read or does not have the form.
    """
    own = os.environ.get("ELMLFF_CATALOGUE")
    try:
        shipped = files("elmlff_core") / "data" / "published" / "catalogue.json"
        text = (Path(own) if own else shipped).read_text(encoding="utf-8")
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise DataError(f"cannot read the catalogue {own}, named by ELMLFF_CATALOGUE: {error}") from error
    return validated(Catalogue, raw, own or "the catalogue")
