"""How far one exploding base model moves the linear combination, with the guard and without it.

The forces of one base model after the other get random errors of 30 eV/Å on the test structures; the others stay as
they are.  Example::

    python benchmarks/exploding_base_models.py chgnet,7net-0,7net-l3i5 mlearn-si mlearn-si/test
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features
from elmlff_core.features.guard import Guard
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import force_metrics
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.prepare import prepare, read_inputs

SIZE = 30.0  # eV/Å, standard deviation of each component


def error(forces: np.ndarray, features: Features) -> float:
    """Return the RMSE per frame, eV/Å."""
    return force_metrics(forces, features.reference_forces, features.n_atoms).rmse_per_frame


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", help="base models, comma-separated")
    parser.add_argument("data", help="training structures")
    parser.add_argument("test", help="test structures")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as of elmlff stack")
    given = parser.parse_args()
    overlay = {"base_models": given.models.split(","), "data": {"train": given.data, "test": given.test}}
    config = read_config(None, overlay, given.set)
    features = prepare(read_inputs(config), Path("elmlff-models"), ConsoleReporter()).features
    train, test = features["train"], features["test"]
    guard = Guard.fit(train)
    plain, guarded = LinearCombination.fit(train), LinearCombination.fit(guard.apply(train))
    print("| exploding base model | least squares | with the guard |\n| --- | --- | --- |")
    for place, name in ((None, "none"), *enumerate(test.models)):
        forces = np.array(test.forces)
        if place is not None:
            forces[place] += SIZE * np.random.default_rng(0).normal(size=forces[place].shape)
        shown = replace(test, forces=forces)
        print(
            f"| {name} | {error(plain.apply(shown), test):.3f} | {error(guarded.apply(guard.apply(shown)), test):.3f} |"
        )


if __name__ == "__main__":
    main()
