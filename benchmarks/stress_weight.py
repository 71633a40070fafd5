"""Test errors of `conservative` over the weight of stresses in its training, beside those of the closed-form stacks.

The data need labels of stress, and the base models must give it.  ``alloy`` makes 200 strained cells of Cu-Au with four
atoms, labelled by effective medium theory, and ``silicon`` 150 of Si with eight, labelled by SevenNet-l3i5.  Examples::

    python benchmarks/stress_weight.py soft,hard alloy 0,0.1 --set training.epochs=40 --set meta.width=32
    python benchmarks/stress_weight.py chgnet,7net-0 silicon 0,0.1 --set training.epochs=40 --set meta.width=32
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np
from arguments import stacking_parser
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import in_blocks
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.metrics import metrics
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.prepare import prepare

SHOWN = {"rmse": 1, "energy_rmse_per_atom": 1000, "stress_rmse": 1000}  # times this
MORSE = "ase.calculators.morse:MorsePotential"
MODELS = {
    name: {"adapter": "ase", "options": {"calculator": MORSE, "arguments": {"epsilon": epsilon, "r0": r0}}}
    for name, epsilon, r0 in (("soft", 0.3, 2.7), ("hard", 0.5, 2.65))
}


def strained(atoms: Atoms, smallest: float, largest: float, rng: np.random.Generator) -> Atoms:
    """Strain a cell at random, and change its lengths by a factor between `smallest` and `largest`."""
    strain = rng.normal(scale=0.03, size=(3, 3))
    strain = np.eye(3) * rng.uniform(smallest, largest) + (strain + strain.T) / 2
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


def shifted(atoms: Atoms, scale: float, rng: np.random.Generator) -> Atoms:
    """Shift atoms at random, with the standard deviation `scale` (Å)."""
    atoms.positions += rng.normal(scale=scale, size=atoms.positions.shape)
    return atoms


def alloy(rng: np.random.Generator) -> Atoms:
    """Make a cell of Cu with up to two of four atoms replaced by Au."""
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[rng.permutation(4)[: rng.integers(0, 3)]] = 79
    return shifted(strained(atoms, 0.98, 1.08, rng), 0.1, rng)


def silicon(rng: np.random.Generator) -> Atoms:
    """Make a cell of Si."""
    atoms = strained(bulk("Si", cubic=True), 0.95, 1.05, rng)
    return shifted(atoms, rng.uniform(0.05, 0.25), rng)


def sevennet() -> Calculator:
    """Return SevenNet-l3i5."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-l3i5", device="cpu")


CASES = {"alloy": (alloy, 200, EMT), "silicon": (silicon, 150, sevennet)}


def written(case: str) -> Path:
    """Write the labelled structures of a case, unless they are there, and return their file."""
    path = Path(f"{case}.extxyz")
    if not path.exists():
        make, number, calculator = CASES[case][0], CASES[case][1], CASES[case][2]()
        rng, frames = np.random.default_rng(0), []
        for _ in range(number):
            frames.append(make(rng))
            names = ("energy", "forces", "stress")
            labels = {name: calculator.get_property(name, frames[-1]) for name in names}
            frames[-1].calc = SinglePointCalculator(frames[-1], **labels)
        ase.io.write(path, frames)
    return path


def row(name: str, errors: Sequence[dict[str, float]]) -> str:
    """Return one row of the table: means over seeds, and their standard deviations."""
    cells = []
    for metric, factor in SHOWN.items():
        values = factor * np.array([one[metric] for one in errors])
        spread = f" ±{values.std(ddof=1):.4f}" if len(values) > 1 else ""
        cells.append(f"{values.mean():.4f}{spread}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print a table."""
    parser = stacking_parser(__doc__, weights="values of training.stress_weight, comma-separated")
    given = parser.parse_args()
    data = str(written(given.data)) if given.data in CASES else given.data
    overlay: dict[str, Any] = {
        "base_models": given.models.split(","),
        "data": {"train": data},
        "meta": {"name": "conservative"},
    }
    overlay["models"] = {name: MODELS[name] for name in overlay["base_models"] if name in MODELS}
    inputs = read_inputs(read_config(None, overlay, given.set))
    features = prepare(inputs, Path("elmlff-models"), Path("tasks"), ConsoleReporter()).features
    features["test"] = features["test"].subset(features["test"].of_known_elements(features["train"]))
    features["valid"] = features["valid"].subset(features["valid"].of_known_elements(features["train"]))
    (meta,) = resolve_meta_models(inputs.config.model_copy(update={"seeds": 1}), inputs.splits)
    closed = resolve_meta_models(inputs.config.model_copy(update={"meta": {"name": "mean,linear"}}), inputs.splits)
    print("| meta-model | forces, eV/Å | energy, meV/atom | stress, meV/Å³ |\n| --- | --- | --- | --- |")
    fits = [(one.name, one, one.training, 1) for one in closed]
    for weight in map(float, given.weights.split(",")):
        training = meta.training.model_copy(update={"stress_weight": weight})
        fits.append((f"conservative, stress_weight {weight:g}", meta, training, inputs.config.seeds))
    for name, one, training, n_seeds in fits:
        errors = []
        for seed in range(n_seeds):
            fitted = one.make()
            with TemporaryDirectory() as folder:
                request = FitRequest(features["train"], features["valid"], training, Path(folder), seed, lambda _: None)
                fitted.fit(request)
            errors.append(metrics(in_blocks(features["test"], fitted.predict), features["test"]))
        print(row(name, errors), flush=True)


if __name__ == "__main__":
    main()
