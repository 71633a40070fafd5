"""What an earlier run of ``elmlff stack`` has used its structures for, so that a later one uses them in the same way.

Errors of two generations of a stack can be compared only on the same test structures, and these must never have been
learnt from.  Structures are found again by their content (`elmlff_core.data.content`), whatever the order of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.data.content import TOLERANCE, are_among, load_signatures, save_signatures, signatures
from elmlff_core.errors import DataError
from elmlff_core.files import check_digests
from elmlff_core.settings.inheritance import REMEDY, read_generation

SPLITS_FILE = "splits.safetensors"  # in the folder of a run of `elmlff stack`


@dataclass(frozen=True)
class EarlierSplits:
    """The structures of an earlier run, by their signatures.

    Attributes
    ----------
    train, valid, test : (n, 5) float64, signatures of its training, validation and test structures
    folder : the folder of the run, for messages
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    folder: Path = Path()

    @classmethod
    def of(cls, train: Sequence[Atoms], valid: Sequence[Atoms], test: Sequence[Atoms]) -> EarlierSplits:
        """Compute the signatures of the structures of a run."""
        return cls(signatures(train), signatures(valid), signatures(test))

    def save(self, path: Path) -> None:
        """Write 40 bytes for each structure; ElmlffError if that fails."""
        save_signatures({"train": self.train, "valid": self.valid, "test": self.test}, path)

    @classmethod
    def load(cls, folder: Path) -> EarlierSplits:
        """Read what a run has written to its folder; ElmlffError if there is no finished run, or it is damaged."""
        folder = folder.expanduser()
        check_digests(folder, {SPLITS_FILE: read_generation(folder)["splits_sha256"]}, REMEDY)
        return cls(**load_signatures(folder / SPLITS_FILE, ("train", "valid", "test")), folder=folder)

    def places(self, structures: Sequence[Atoms]) -> dict[str, np.ndarray]:
        """Return ``train``, ``valid``, ``test`` and ``new`` -> the indices of those of `structures` that were used so.

        ``new`` are those that the run did not have.  A test structure that occurs more often than in the run is used
        once for each time it was there; its further copies are in none of the four.
        """
        found = signatures(structures)
        test = are_among(found, self.test)
        valid = are_among(found, self.valid) & ~test
        train = are_among(found, self.train) & ~test & ~valid
        new = np.flatnonzero(~test & ~valid & ~train)
        tested = np.flatnonzero(test)
        tested = tested[self._as_often(found[tested])]
        return {"train": np.flatnonzero(train), "valid": np.flatnonzero(valid), "test": tested, "new": new}

    def _as_often(self, found: np.ndarray) -> np.ndarray:
        """Return for each of `found`, signatures of test structures, whether the run has it at least so many times."""
        from scipy.spatial import cKDTree  # takes time to import

        if not len(found):
            return np.zeros(0, dtype=bool)
        near = cKDTree(self.test).query_ball_point(found, TOLERANCE, p=np.inf)
        times: dict[int, int] = {}
        kept = np.zeros(len(found), dtype=bool)
        for place, same in enumerate(near):
            first = min(same)
            times[first] = times.get(first, 0) + 1
            kept[place] = times[first] <= len(same)
        return kept

    def refuse_missing(self, data: Dataset, n_found: int) -> None:
        """Raise DataError if `data`, in which `n_found` test structures were found, lack some of them."""
        if (missing := len(self.test) - n_found) > 0:
            raise DataError(
                f"{missing} of the {len(self.test)} test structures of {self.folder} are not in {data.source}: a later "
                "generation is tested on the same structures, so that its data contain those of the earlier one. Add "
                "its data, or name test structures with --test"
            )

    def same_test(self, structures: Sequence[Atoms]) -> bool:
        """Return whether `structures` are the test structures of the run."""
        found = signatures(structures)
        return len(found) == len(self.test) and bool(
            are_among(found, self.test).all() and are_among(self.test, found).all()
        )
