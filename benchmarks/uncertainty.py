"""Of what the uncertainty of forces is best made: the spread of the base models, what a stack has itself, or both.

For each stack of finished runs, every raw uncertainty is calibrated on the validation structures of the run, and
compared with the errors on its test structures::

    elmlff stack --models chgnet,7net-0 --meta egat,conservative --data mlearn-si --test mlearn-si/test --output run
    python benchmarks/uncertainty.py run

Nothing is trained here; base models are evaluated only where their features are not cached.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from finished import stacks_and_features

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.committee import committee_spread, raw_forces_std
from elmlff_core.uncertainty.quality import force_quality
from elmlff_core.uncertainty.uncertainty import Uncertainty

STATED = 0.9


class Raw:
    """A raw uncertainty in place of a meta-model."""

    def __init__(self, forces_std: Callable[[Features], np.ndarray]) -> None:
        self.forces_std = forces_std


def raws(stack: Stack) -> Iterator[tuple[str, Raw]]:
    """Yield the raw uncertainties that a stack may take, with their names."""

    def spread(features: Features) -> np.ndarray:
        return committee_spread(features.forces)

    def own(features: Features) -> np.ndarray:
        return raw_forces_std(features, stack.meta)[0]

    yield "base models", Raw(spread)
    if stack.uncertainty is not None and stack.uncertainty.kind not in ("committee", "constant"):
        yield stack.uncertainty.kind, Raw(own)
        yield (
            f"{stack.uncertainty.kind} and base models",
            Raw(lambda features: np.hypot(own(features), spread(features))),
        )


def row(raw: Raw, features: Mapping[str, Features], predictions: Mapping[str, Prediction]) -> str:
    """Return rank correlation, share inside, and mean negative log-likelihood of an error component, as cells.

    `features` and `predictions` are those of the splits ``valid``, on which `raw` is calibrated, and ``test``.
    """
    uncertainty, test = Uncertainty.fit(features["valid"], predictions["valid"], raw), features["test"]
    quality = force_quality(uncertainty, test, predictions["test"], raw)
    std = uncertainty.forces_std(test, raw)[:, None]
    error = predictions["test"].forces - test.reference_forces
    likelihood = (np.log(std) + error**2 / (2 * std**2)).mean()  # but for a constant
    inside = next(found for found in quality.coverage if found.stated == STATED)
    share = inside.normal if inside.conformal is None else inside.conformal
    rank = "-" if quality.spearman is None else f"{quality.spearman:.2f}"
    return f"{rank} | {100 * share:.1f} % | {likelihood:.2f}"


def main() -> None:
    """Print the table of the runs of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    print("| run | stack | raw uncertainty | rank | inside 90 % | −log likelihood |")
    print("| --- | --- | --- | --- | --- | --- |")
    for run in parser.parse_args().runs:
        stacks, features = stacks_and_features(run)
        for stack in stacks.values():
            predictions = {split: stack.combine(features[split]) for split in ("valid", "test")}
            for name, raw in raws(stack):
                cells = row(raw, features, predictions)
                print(f"| {run.name} | {stack.meta_name} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
