"""Five-fold cross-validation of a stack of universal models on MPF-TP, as in the model card of MatterSim.

The error is the norm of the difference of forces, averaged over the atoms of each structure and then over structures.
Every structure is predicted once by a stack that was fitted without it.  Published, zero-shot: MatterSim-v1 0.418 (1M)
and 0.364 (5M).  Example::

    python benchmarks/mpf_tp.py chgnet,7net-0,7net-l3i5 mpf-tp linear
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from arguments import stacking_parser

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.fits.fit import Fit, fit_or_load
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import read_inputs

FOLDER = Path("mpf-tp-folds")
N_FOLDS = 5
VALIDATION = 0.1  # of the structures that are not in the fold


def norms(forces: np.ndarray, features: Features) -> np.ndarray:
    """Return the mean norm of the force error of each structure: (n_structures,), eV/Å."""
    errors = np.linalg.norm(forces - features.reference_forces, axis=1)
    return np.add.reduceat(errors, features.offsets[:-1]) / features.n_atoms


def row(name: str, errors: np.ndarray) -> str:
    """Return one row of the table."""
    return f"| {name} | {errors.mean():.3f} | {np.median(errors):.3f} | {errors.max():.1f} |"


def main() -> None:
    """Print a table."""
    given = stacking_parser(__doc__, metas="meta-models, comma-separated").parse_args()
    overlay = {"base_models": given.models.split(","), "data": {"train": given.data}, "meta": {"name": given.metas}}
    config = read_config(None, overlay, given.set)
    inputs, reporter = read_inputs(config), ConsoleReporter()
    features = dataset_features(inputs.base_models, inputs.splits.source, FeatureCache(), reporter)
    for model in inputs.base_models:
        model.close()
    print("| model | mean norm, eV/Å | median over structures | worst structure |\n| --- | --- | --- | --- |")
    for index, name in enumerate(features.models):
        print(row(name, norms(features.forces[index], features)))
    print(row("mean", norms(features.forces.mean(axis=0), features)), flush=True)
    order = np.random.default_rng(0).permutation(len(features))
    for meta in resolve_meta_models(inputs.config, inputs.splits):
        errors, left_out = np.full(len(features), np.nan), 0
        for number in range(N_FOLDS):
            held_out, others = order[number::N_FOLDS], np.delete(order, np.s_[number::N_FOLDS])
            n_valid = round(VALIDATION * len(others))
            train = features.subset(others[n_valid:])
            # An element that occurs in no training structure cannot be predicted by the fit.
            known = features.of_known_elements(train, held_out)
            left_out += len(held_out) - len(known)
            valid = features.subset(features.of_known_elements(train, others[:n_valid]))
            tested = features.subset(known)
            fit = Fit(meta, number, part=f"fold{number}")
            fitted = fit_or_load(fit, {"train": train, "valid": valid}, FOLDER / fit.name, reporter)
            errors[known] = norms(in_blocks(tested, fitted.meta.predict).forces, tested)
        print(row(f"stack ({meta.name})", errors[np.isfinite(errors)]), flush=True)
        print(f"{left_out} structures with an element that the other folds lack were left out")


if __name__ == "__main__":
    main()
