"""How far one exploding base model moves the linear combination, with the guard and without it.

The forces of one base model after the other get random errors of 30 eV/Å on the test structures; the others stay as
they are.  Example::

    python benchmarks/exploding_base_models.py chgnet,7net-0,7net-l3i5 mlearn-si mlearn-si/test
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from arguments import stacking_parser

from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.features.guard import Guard
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.inputs import read_inputs
from elmlff_core.workflows.prepare import prepare

SIZE = 30.0  # eV/Å, standard deviation of each component


def main() -> None:
    """Print a table."""
    given = stacking_parser(__doc__, test="test structures").parse_args()
    overlay = {"base_models": given.models.split(","), "data": {"train": given.data, "test": given.test}}
    config = read_config(None, overlay, given.set)
    features = prepare(read_inputs(config), Path("elmlff-models"), Path("tasks"), ConsoleReporter()).features
    train, test = features["train"], features["test"]
    guard = Guard.fit(train)
    plain, guarded = LinearCombination.fit(train), LinearCombination.fit(guard.apply(train))
    print("| exploding base model | least squares | with the guard |\n| --- | --- | --- |")
    for place, name in ((None, "none"), *enumerate(test.models)):
        forces = np.array(test.forces)
        if place is not None:
            forces[place] += SIZE * np.random.default_rng(0).normal(size=forces[place].shape)
        shown = replace(test, forces=forces)
        errors = [mean_rmse_per_frame(found, test) for found in (plain.apply(shown), guarded.apply(guard.apply(shown)))]
        print(f"| {name} | {errors[0]:.3f} | {errors[1]:.3f} |")


if __name__ == "__main__":
    main()
