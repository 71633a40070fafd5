"""What a warm start is worth: the next generation of a stack fitted anew, or from the weights of the generation before.

Labels are drawn at random, a tenth of them for validation; later generations keep the training and validation
structures of earlier ones.  Each way goes its own way through the generations, from the same first fit.  Prints a row
for each fit: meta-model, seed, labels, way, errors on validation and on test structures (eV/Å), and processor time (s).
Base models are not trained anew, so give those that need no training::

    python benchmarks/warm_starts.py gfn1-xtb,gfn2-xtb methane warm --metas egat
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from arguments import numbers, stacking_parser

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.fits.meta_models import NamedMeta, resolve_meta_models
from elmlff_core.meta.neural import NeuralMeta
from elmlff_core.meta.training.loop import seeded, train_network
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import Inputs, read_inputs

# Share of the epochs of a usual fit, if the fit starts from the weights of the generation before.
WAYS = {"anew": None, "all epochs": 1.0, "a third": 1 / 3}
N_TEST = 300


def main() -> None:
    """Fit the generations of the command line, and add their rows to ``fits.csv`` in the folder."""
    parser = stacking_parser(__doc__, folder="folder for all results")
    parser.add_argument("--metas", default="egat", help="neural meta-models, comma-separated")
    parser.add_argument("--labels", type=numbers, default=(40, 60, 80), help="labels of each generation")
    parser.add_argument("--seeds", type=numbers, default=(0, 1), help="seeds, comma-separated")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}, comma-separated")
    given = parser.parse_args()
    overlay = {"base_models": given.models.split(","), "data": {"train": given.data}}
    inputs = read_inputs(read_config(None, overlay, given.set))
    pool = dataset_features(inputs.base_models, inputs.splits.source, FeatureCache(), ConsoleReporter())
    for seed in given.seeds:
        for meta in given.metas.split(","):
            course = Course(inputs, pool, meta, seed, Path(given.folder))
            first = course.fitted("anew", given.labels[0], None)
            for way in given.ways.split(","):
                before = first
                for n_labels in given.labels[1:]:
                    before = course.fitted(way, n_labels, before)


@dataclass(frozen=True)
class Course:
    """The generations of one meta-model and one seed, of structures and of weights."""

    inputs: Inputs
    pool: Features
    meta: str
    seed: int
    folder: Path

    def fitted(self, way: str, n_labels: int, before: NeuralMeta | None) -> NeuralMeta:
        """Return the fit to the first labels, and write its row."""
        order = np.random.default_rng(self.seed).permutation(len(self.pool))
        labelled, held_out = order[N_TEST : N_TEST + n_labels], np.arange(n_labels) % 10 == 0
        train, valid = self.pool.subset(labelled[~held_out]), self.pool.subset(labelled[held_out])
        named = self.named(labelled[~held_out])
        place = self.folder / f"{self.meta}-{self.seed}-{n_labels}-{way.replace(' ', '-')}"
        request = FitRequest(train, valid, named.training, place, self.seed, lambda _: None)
        started = time.process_time()
        share = WAYS[way]
        if before is None or share is None:
            meta = named.make()
            assert isinstance(meta, NeuralMeta)
            meta.fit(request)
        else:
            meta = warm(before, named, share, request)
        seconds = time.process_time() - started
        self.write(n_labels, way, meta, (valid, self.pool.subset(order[:N_TEST])), seconds)
        return meta

    def named(self, train: np.ndarray) -> NamedMeta:
        """Return the meta-model with the epochs for so many training structures."""
        config = self.inputs.config.model_copy(update={"meta": {"name": self.meta}})
        (named,) = resolve_meta_models(config, replace(self.inputs.splits, train_index=train))
        return named

    def write(self, n_labels: int, way: str, meta: NeuralMeta, parts: Sequence[Features], seconds: float) -> None:
        """Add a row to the table."""
        errors = [mean_rmse_per_frame(in_blocks(part, meta.predict).forces, part) for part in parts]
        row = [self.meta, self.seed, n_labels, way, *(f"{error:.5f}" for error in errors), f"{seconds:.1f}"]
        print(*row, flush=True)
        with (self.folder / "fits.csv").open("a") as file:
            csv.writer(file).writerow(row)


def warm(before: NeuralMeta, named: NamedMeta, share: float, request: FitRequest) -> NeuralMeta:
    """Return a fit that starts as `before`, whose network, weights of base models and guard it goes on with."""
    meta = named.make()
    assert isinstance(meta, NeuralMeta)
    (request.directory / "before").mkdir(parents=True, exist_ok=True)
    before.save(request.directory / "before")
    meta.load(request.directory / "before")
    assert meta.network is not None
    train, valid = meta._prepared(request.train), meta._prepared(request.valid)
    meta.energy = replace(meta._fit_energy(train), weights=meta.energy.weights)
    shorter = replace(request, training=named.longer(share).training)
    seeded(request.seed)
    graphs = meta._graphs(train), [meta._graphs(valid)]
    meta.network = train_network(meta.network, *graphs, shorter, meta._rotates(train))
    return meta


if __name__ == "__main__":
    main()
