"""Errors, alarms and coverage of a stack inside and outside what it was fitted on.

Without arguments: copper labelled by EMT, with a Lennard-Jones and a Morse potential as base models, fitted at one
lattice constant and tested at others and at a larger rattle.  With a dataset and base models: each group of structures
(the key ``group`` of an extended XYZ file, as in the mlearn datasets) is left out of the fit and then tested, for the
linear combination.  Examples::

    python benchmarks/out_of_domain.py
    python benchmarks/out_of_domain.py chgnet,7net-0,7net-l3i5 train.extxyz
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
from arguments import stacking_parser
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import dataset_features
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.data.labels import dataset_from_structures
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.stack import Stack, load_stack
from elmlff_core.uncertainty.domain import Domain
from elmlff_core.uncertainty.quality import (
    UncertaintyQuality,
    force_quality,
    qualities_by_domain,
    structures_outside,
)
from elmlff_core.uncertainty.uncertainty import Uncertainty
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.stack.workflow import build_stack

FOLDER = Path("out-of-domain")
STATED = 0.9
LATTICES = (0.94, 0.97, 1.0, 1.03, 1.06)
POTENTIALS = {
    "lj": ("ase.calculators.lj:LennardJones", {"sigma": 2.3, "epsilon": 0.4, "rc": 6.0}),
    "morse": (
        "ase.calculators.morse:MorsePotential",
        {"epsilon": 0.35, "r0": 2.8, "rho0": 4.0, "rcut1": 4.5, "rcut2": 5.5},
    ),
}
HEAD = (
    "| stack | tested on | RMSE per frame, eV/Å | structures outside | 90 % intervals hold inside | outside | outside, "
    "not widened |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def copper(seed: int, scale: float = 1.0, rattle: float = 0.1) -> Atoms:
    """Make a rattled cell of 32 atoms, labelled by EMT."""
    atoms = bulk("Cu", cubic=True, a=3.61 * scale) * (2, 2, 2)
    atoms.rattle(rattle, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def row(title: str, tested_on: str, uncertainty: Uncertainty, meta: object, features: Features) -> str:
    """Return one row of the table."""
    prediction = meta.predict(features)
    error = mean_rmse_per_frame(prediction.forces, features)
    outside = uncertainty.outside(features, prediction.forces)
    plain = replace(uncertainty, domain=None)
    qualities = qualities_by_domain(uncertainty, features, prediction, meta, outside)
    far = np.flatnonzero(structures_outside(outside, features))
    unwidened = force_quality(plain, features, prediction, meta, chosen=far) if len(far) else None
    shares = [_coverage(quality) for quality in (qualities.get("inside"), qualities.get("outside"), unwidened)]
    return f"| {title} | {tested_on} | {error:.4f} | {len(far)} of {len(features)} | {' | '.join(shares)} |"


def _coverage(quality: UncertaintyQuality | None) -> str:
    if quality is None:
        return "-"
    return f"{100 * next(entry.normal for entry in quality.coverage if entry.stated == STATED):.0f} %"


def of_copper() -> None:
    """Fit stacks at one lattice constant and print the table."""
    FOLDER.mkdir(exist_ok=True)
    ase.io.write(FOLDER / "train.extxyz", [copper(seed) for seed in range(80)])
    models = {
        name: {"adapter": "ase", "trust": True, "options": {"calculator": calculator, "arguments": arguments}}
        for name, (calculator, arguments) in POTENTIALS.items()
    }
    config = read_config(None, {
        "models": models, "base_models": list(models), "meta": {"name": "linear,egat,conservative"},
        "data": {"train": str(FOLDER / "train.extxyz"), "test_fraction": 0.1},
    }, [])  # fmt: skip
    build_stack(config, FOLDER / "run", reporter=ConsoleReporter())
    tested = {f"lattice constant × {scale}": [copper(1000 + i, scale) for i in range(10)] for scale in LATTICES}
    tested["rattled by 0.2 Å"] = [copper(1000 + i, rattle=0.2) for i in range(10)]
    print(HEAD)
    for name in ("linear", "egat", "conservative"):
        stack: Stack = load_stack(FOLDER / "run" / "stacks" / name, trust=True)
        for title, structures in tested.items():
            data = dataset_from_structures(structures, title)
            print(row(name, title, stack.uncertainty, stack.meta, stack.features(structures, data)), flush=True)


def of_groups(models: str, path: str, assignments: list[str]) -> None:
    """Leave one group after the other out of the fit of the linear combination and print the table."""
    groups = np.array([atoms.info["group"] for atoms in ase.io.read(path, ":")])
    config = read_config(None, {"base_models": models.split(","), "data": {"train": path}}, assignments)
    inputs = read_inputs(config)
    features = dataset_features(inputs.base_models, inputs.splits.source, FeatureCache(), ConsoleReporter())
    print(HEAD)
    for group in np.unique(groups):
        others = np.random.default_rng(0).permutation(np.flatnonzero(groups != group))
        n_valid = len(others) // 7
        train, valid = features.subset(np.sort(others[n_valid:])), features.subset(np.sort(others[:n_valid]))
        meta = make_meta("linear", {})
        meta.fit(FitRequest(train, valid, None, FOLDER, 0, lambda _: None))
        uncertainty = Uncertainty.fit(valid, meta.predict(valid), meta, Domain.fit(train, valid))
        left_out = features.subset(np.flatnonzero(groups == group))
        print(row("linear", f"{group}, left out of the fit", uncertainty, meta, left_out), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        given = stacking_parser(__doc__).parse_args()
        of_groups(given.models, given.data, given.set)
    else:
        of_copper()
