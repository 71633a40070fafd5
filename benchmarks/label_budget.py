"""What `elmlff select` is worth: errors on test structures over the number of labels, by the way they were chosen.

From the same first structures, generations of new ones are taken from the rest of the data: at random, by farthest
points alone, or by `select` with the stack of the generation before.  Each generation is a fit from the start; a tenth
of the labels is for validation.  Where `select` finds fewer than asked for in its window, farthest points fill up.
Base models are not trained anew, so give those that need no training.  Everything is kept in the folder, so that a run
that is stopped goes on.  `benchmarks/draw_learning_curves.py` draws the table::

    python benchmarks/label_budget.py chgnet,7net-0,7net-l3i5 mlearn-mo budget --test mlearn-mo/test
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from arguments import numbers, stacking_parser
from ase import Atoms

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.dataset import fingerprint_of
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.structures import Structures, flat_structures
from elmlff_core.data.splits import split_indices
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.fits.fit import fit_or_load, fits_of
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.selection.candidates import Candidates
from elmlff_core.selection.labelled import Labelled
from elmlff_core.selection.selection import select
from elmlff_core.selection.settings import SelectionSettings
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.inputs import Inputs, read_inputs

WAYS = ("random", "farthest", "select")
Bounds = tuple[float | None, float | None]  # of expected errors, eV/Å
USUAL: Bounds = (None, None)  # those of `select`
ALL: Bounds = (0.0, 1e6)


def main() -> None:
    """Compute the generations of the command line, and add their rows to ``errors.csv`` in the folder."""
    parser = stacking_parser(__doc__, folder="folder for all results")
    parser.add_argument("--test", required=True, help="labelled structures of the test")
    parser.add_argument("--meta", default="egat", help="the meta-model")
    parser.add_argument("--start", type=int, default=20, help="structures of the first generation")
    parser.add_argument("--add", type=int, default=20, help="structures of each further generation")
    parser.add_argument("--generations", type=int, default=5, help="generations after the first")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="seeds, comma-separated")
    parser.add_argument("--descriptors", default="soap", help="what atoms are compared by, as for `elmlff select`")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}, comma-separated")
    given = parser.parse_args()
    overlay = {
        "base_models": given.models.split(","),
        "data": {"train": given.data, "test": given.test},
        "meta": {"name": given.meta},
    }
    inputs = read_inputs(read_config(None, overlay, given.set))
    reporter = ConsoleReporter()
    cache, splits = FeatureCache(), inputs.splits
    assert splits.test_source is not None
    pool = dataset_features(inputs.base_models, splits.source, cache, reporter)
    test = dataset_features(inputs.base_models, splits.test_source, cache, reporter)
    for seed in given.seeds:
        for way in given.ways.split(","):
            course = Course(inputs, pool, test, way, seed, Path(given.folder), given.descriptors)
            course.run(given.start, given.add, given.generations)


@dataclass(frozen=True)
class Course:
    """The generations of one way of choosing, and of one seed.

    Attributes
    ----------
    inputs : settings and base models
    pool, test : predictions of the base models, with labels
    way : one of `WAYS`
    seed : seed of the first structures, of random choices, and of all fits
    folder : folder of all courses
    descriptors : what atoms are compared by
    """

    inputs: Inputs
    pool: Features
    test: Features
    way: str
    seed: int
    folder: Path
    descriptors: str

    def run(self, start: int, add: int, generations: int) -> None:
        """Fit and choose in turn; what an earlier run has chosen is read."""
        labelled = np.random.default_rng(self.seed).permutation(len(self.pool))[:start].tolist()
        for generation in range(generations + 1):
            # The first structures are the same for all ways, and so is their fit.
            stack = self.fitted(labelled, "first" if generation == 0 else self.way)
            if generation < generations:
                labelled += self.chosen(stack, labelled, min(add, len(self.pool) - len(labelled)))

    def fitted(self, labelled: Sequence[int], name: str) -> Stack:
        """Return the stack that is fitted to the structures `labelled`, and write its error.

        `name` is part of the name of its folder.
        """
        config = self.inputs.config.model_copy(update={"seed": self.seed})
        indices, n = np.array(labelled), len(labelled)
        train, valid = split_indices(n, config.data.valid_fraction, "random", np.random.default_rng(self.seed))
        features = {"train": self.pool.subset(indices[train]), "valid": self.pool.subset(indices[valid])}
        (fit,) = fits_of(resolve_meta_models(config, self.inputs.splits), config)
        meta = fit_or_load(fit, features, self.folder / "fits" / f"{self.seed}-{n}-{name}", ConsoleReporter()).meta
        self.write(n, mean_rmse_per_frame(in_blocks(self.test, meta.predict).forces, self.test))
        domain = Domain.fit(features["train"], features["valid"])
        calibrated = Uncertainty.fit(features["valid"], meta.predict(features["valid"]), meta, domain)
        models = [remembering(model, self.pool) for model in self.inputs.base_models]
        return Stack(models, fit.meta.name, fit.meta.options, meta, calibrated)

    def chosen(self, stack: Stack, labelled: Sequence[int], number: int) -> list[int]:
        """Return `number` more structures of the pool, and keep them in a file."""
        path = self.folder / "choices" / f"{self.seed}-{self.way}-{len(labelled)}.json"
        if path.exists():
            return list(json.loads(path.read_text()))
        rest = np.setdiff1d(np.arange(len(self.pool)), labelled)
        if self.way == "random":
            found = np.random.default_rng([self.seed, len(labelled)]).permutation(rest)[:number].tolist()
        else:
            found = []
            for bounds in (ALL,) if self.way == "farthest" else (USUAL, ALL):
                left = np.setdiff1d(rest, found)
                found += self.by_points(stack, [*labelled, *found], left, number - len(found), bounds)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
        return found

    def by_points(
        self, stack: Stack, labelled: Sequence[int], rest: np.ndarray, number: int, bounds: Bounds
    ) -> list[int]:
        """Return at most `number` of `rest` by `select`."""
        if not number:
            return []
        candidates = Candidates(
            self.structures(rest), ("pool",), np.zeros(len(rest), int), rest, np.zeros(len(rest), bool)
        )
        known = Labelled(self.structures(np.array(labelled)), "labelled")
        low, high = bounds
        settings = SelectionSettings(
            number=number, low=low, high=high, smallest_distance=0.0, closest=0.0, descriptors=self.descriptors
        )
        return [int(rest[index]) for index in select(stack, candidates, known, settings, ConsoleReporter()).chosen]

    def structures(self, indices: np.ndarray) -> Structures:
        """Return structures of the pool."""
        return flat_structures([self.pool.structures[int(index)] for index in indices])

    def write(self, n: int, error: float) -> None:
        """Add an error to the table, unless it is there."""
        path = self.folder / "errors.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        key = [str(n), str(self.seed), self.way]
        if path.exists() and any(row[:3] == key for row in csv.reader(path.open())):
            return
        with path.open("a") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(["structures", "seed", "model", "rmse_per_frame"])
            writer.writerow([*key, f"{error:.6f}"])


@dataclass(frozen=True)
class Remembered:
    """A base force field that knows what it has predicted for structures of the pool, and nothing else."""

    name: str
    elements: frozenset[str] | None
    cutoff: float | None
    fingerprint: str
    pool: Features

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each structure stands in the pool."""
        return {fingerprint_of([atoms]): index for index, atoms in enumerate(self.pool.structures)}

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Look the structures up: each of them in the pool, equal to the last digit."""
        indices = [self.places[fingerprint_of([atoms])] for atoms in structures]
        return self.pool.subset(indices).base_prediction(self.name)


def remembering(model: NamedModel, pool: Features) -> NamedModel:
    """Return `model` without its costs: the cache knows sets of structures, and every choice is from another one."""
    own = model.force_field
    copy = replace(model)
    copy.__dict__["force_field"] = Remembered(own.name, own.elements, own.cutoff, own.fingerprint, pool)
    return copy


if __name__ == "__main__":
    main()
