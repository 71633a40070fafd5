"""Learning curves: errors on test structures over the number of training structures, with base models trained anew.

For each number of structures and each seed, a random part of the training data trains the base models that need it, and
then the meta-models; a tenth of the part is for validation.  If no base model is trained, ``auto`` is what `elmlff
stack` would choose without ``--meta``.  Everything is kept in the folder, so that a run that is stopped goes on, and
one with more points adds them.  `benchmarks/draw_learning_curves.py` draws the table::

    python benchmarks/learning_curves.py chgnet,7net-0,7net-l3i5,nep mlearn-mo curves --test mlearn-mo/test
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from arguments import numbers, stacking_parser

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import NamedModel
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.data.splits import Splits, split_indices
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.metrics import mean_rmse_per_frame, metrics
from elmlff_core.fits.auto import has_energies, tried
from elmlff_core.fits.choice import N_FOLDS, choose
from elmlff_core.fits.fit import Fit, Fitted, fit_or_load, fits_of
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import Inputs, read_inputs

SIZES = (10, 20, 50, 100, 200)  # the last one, of more structures than there are, is all of them
SEEDS = (0, 1, 2)
METAS = "best,mean,linear,ace,conservative-ace,egat,conservative"
COLUMNS = ("rmse_per_frame", "rmse", "energy_rmse_per_atom")


def main() -> None:
    """Compute the points of the command line, and add their rows to ``errors.csv`` in the folder."""
    parser = stacking_parser(__doc__, folder="folder for all results")
    parser.add_argument("--test", required=True, help="labelled structures of the test")
    parser.add_argument("--sizes", type=numbers, default=SIZES, help="numbers of training structures, comma-separated")
    parser.add_argument("--seeds", type=numbers, default=SEEDS, help="seeds, comma-separated")
    parser.add_argument("--metas", default=METAS, help="meta-models, comma-separated")
    parser.add_argument("--base-models-only", action="store_true", help="train the base models, and stop")
    given = parser.parse_args()
    overlay = {
        "base_models": given.models.split(","),
        "data": {"train": given.data, "test": given.test},
        "meta": {"name": given.metas},
        "geometry_only": True,
    }
    inputs = read_inputs(read_config(None, overlay, given.set))
    for seed in given.seeds:
        for size in given.sizes:
            point = Point(inputs, min(size, len(inputs.splits.source)), seed, Path(given.folder))
            base_models = train_base_models(point.inputs, point.folder / "models", point.reporter)
            if not given.base_models_only:
                point.fit(base_models)


class Point:
    """One number of training structures and one seed.

    Parameters
    ----------
    inputs : settings, base models and data; a part of its training and validation structures is taken
    size : number of training structures, those for validation included
    seed : seed of the choice of structures, and of all trainings
    folder : folder of all points
    """

    def __init__(self, inputs: Inputs, size: int, seed: int, folder: Path) -> None:
        source, test = inputs.splits.source, inputs.splits.test_source
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(source))[:size]  # a larger part of the same seed contains the smaller ones
        train, valid = split_indices(size, inputs.config.data.valid_fraction, "random", rng)
        splits = Splits(source, test, chosen[train], chosen[valid], np.arange(len(test)))
        self.inputs = Inputs(inputs.config.model_copy(update={"seed": seed}), splits, inputs.base_models)
        self.size, self.seed, self.folder = size, seed, folder
        self.reporter = ConsoleReporter()

    def fit(self, base_models: Sequence[NamedModel]) -> None:
        """Fit all meta-models, and write the errors on test structures, also of the one that ``auto`` would choose."""
        config, splits = self.inputs.config, self.inputs.splits
        features = base_features(base_models, splits, FeatureCache(), self.reporter)
        test = features["test"]
        alignment = EnergyCombination.fit(features["train"])
        for name in test.models:
            self.write(name, alignment.aligned_prediction(name, test), test)
        fits = [self.fitted(fit, features) for fit in fits_of(resolve_meta_models(config, splits), config)]
        for one in fits:
            self.write(one.fit.title, in_blocks(one.fit.seen(test), one.meta.predict), test)
        if not any(model.needs_training for model in self.inputs.base_models):
            chosen = self.choice(features, fits)
            self.write("auto", in_blocks(test, chosen.meta.predict), test)

    @property
    def fits_folder(self) -> Path:
        """The folder of the fits of this point."""
        return self.folder / "fits" / f"{self.size}-{self.seed}"

    def fitted(self, fit: Fit, features: Mapping[str, Features]) -> Fitted:
        """Return `fit`, fitted to the training and validation structures."""
        return fit_or_load(fit, features, self.fits_folder / fit.name, self.reporter)

    def choice(self, features: Mapping[str, Features], fits: Sequence[Fitted]) -> Fitted:
        """Return the one of `fits` that ``auto`` chooses: by cross-validation, then by validation structures."""
        config = self.inputs.config.model_copy(update={"meta": {"name": "auto"}})
        folds = self.inputs.splits.training_folds(N_FOLDS, config.data)
        metas = tried(config, self.inputs.splits, has_energies(features["train"])).compared
        found = choose(metas, features, folds, self.fits_folder / "choice", self.seed, self.reporter)
        self.reporter.say(f"{self.size} structures, seed {self.seed}: {found}")
        names, valid = {meta.name for meta in found.metas}, features["valid"]
        left = [one for one in fits if one.fit.meta.name in names and not one.fit.geometry_only]
        return min(left, key=lambda one: mean_rmse_per_frame(in_blocks(valid, one.meta.predict).forces, valid))

    def write(self, name: str, prediction: Prediction, test: Features) -> None:
        """Add the errors of `prediction` to the table, unless they are in it."""
        path = self.folder / "errors.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        key = [str(self.size), str(self.seed), name]
        if path.exists() and any(row[:3] == key for row in csv.reader(path.open())):
            return
        found = metrics(prediction, test)
        with path.open("a") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(["structures", "seed", "model", *COLUMNS])
            writer.writerow([*key, *(f"{found[column]:.6f}" if column in found else "" for column in COLUMNS)])


if __name__ == "__main__":
    main()
