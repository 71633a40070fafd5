"""What is labelled already: a file that the user names, or the structures of the fit of the stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elmlff_core.contracts.structures import Structures, flat_structures, subset_of
from elmlff_core.data.labels import LabelKeys
from elmlff_core.data.readers import read_dataset, read_structures
from elmlff_core.errors import ElmlffError
from elmlff_core.settings.reading import read_config
from elmlff_core.settings.run_folder import CONFIG_FILE
from elmlff_core.stack.stack import Stack

NONE = Structures.of([])


@dataclass(frozen=True)
class Labelled:
    """Structures with labels.

    Attributes
    ----------
    structures : the structures
    source : what they are, in words
    """

    structures: Structures
    source: str

    @classmethod
    def read(cls, source: str | None, stack: Stack, folder: Path) -> Labelled:
        """Read the structures in `source`, or find those of the fit of the stack in `folder`; there may be none.

        DataError if `source` is given and cannot be read.
        """
        if source is not None:
            found = flat_structures(read_structures(source))
            return cls(found, f"{len(found)} structures of {source}")
        for place in (folder, folder.parent.parent):  # a run, or one of the stacks of a run
            if (place / CONFIG_FILE).is_file():
                return cls._of_run(place / CONFIG_FILE, stack)
        return cls(NONE, f"none: {folder} is not the folder of a run of `elmlff stack`")

    @classmethod
    def _of_run(cls, settings: Path, stack: Stack) -> Labelled:
        try:
            data = read_config(settings).data
            dataset = read_dataset(_found(data.train, settings), LabelKeys(data.energy_key, data.forces_key))
        except ElmlffError as error:
            return cls(NONE, f"none: {error}")
        if stack.seen is None:
            found = flat_structures(dataset.structures)
            return cls(found, f"{len(found)} structures of {data.train}")
        splits = stack.seen.splits(dataset.structures)
        used = sorted([*splits["train"].tolist(), *splits["valid"].tolist()])
        if not used:
            return cls(NONE, f"none: {data.train} has none of the structures on which the stack was fitted")
        found = flat_structures(subset_of(dataset.structures, used))
        return cls(found, f"the {len(found)} training and validation structures of the stack, of {data.train}")


def _found(name: str, settings: Path) -> str:
    """Return the path of the data in the settings of a run, which may be relative to where the run was started."""
    if Path(name).expanduser().exists():
        return name
    above = (folder / name for folder in settings.resolve().parents[1:4])
    return next((str(path) for path in above if path.exists()), name)
