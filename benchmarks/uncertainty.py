"""Of what the uncertainty of forces is best made: the spread of the base models, what a stack has itself, or both.

For each stack of finished runs, every raw uncertainty is calibrated on the validation structures of the run, and
compared with the errors on its test structures.  How much of the share of errors inside an interval is chance follows
from other divisions: validation and test structures are put together and divided at random again, many times, which
gives a mean and a standard deviation.  (Only where test structures are like the others does this tell anything.)::

    elmlff stack --models chgnet,7net-0 --meta egat,conservative --data mlearn-si --test mlearn-si/test --output run
    python benchmarks/uncertainty.py run

Nothing is trained here; base models are evaluated only where their features are not cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from finished import runs_of_command_line, stacks_and_features

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.calibration import Calibration
from elmlff_core.uncertainty.committee import committee_spread, raw_forces_std
from elmlff_core.uncertainty.quality import force_quality
from elmlff_core.uncertainty.uncertainty import Uncertainty

STATED = 0.9
N_DIVISIONS = 200


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


@dataclass(frozen=True)
class Structure:
    """What calibration sees of a structure: raw uncertainty (n,), errors (n, 3) and atomic numbers (n,)."""

    raw: np.ndarray
    error: np.ndarray
    numbers: np.ndarray


def structures_of(raw: Raw, features: Features, prediction: Prediction) -> list[Structure]:
    """Return the structures of `features` one by one."""
    arrays = raw.forces_std(features), prediction.forces - features.reference_forces, features.atomic_numbers
    bounds = np.cumsum(features.n_atoms)[:-1]
    return [Structure(*parts) for parts in zip(*(np.split(array, bounds) for array in arrays), strict=True)]


def share_inside(calibrated_on: Sequence[Structure], tested: Sequence[Structure]) -> float:
    """Return the share of the errors of `tested` structures inside the interval."""

    def joined(some: Sequence[Structure]) -> tuple[np.ndarray, ...]:
        return tuple(np.concatenate([getattr(one, name) for one in some]) for name in ("raw", "error", "numbers"))

    raw, error, numbers = joined(calibrated_on)
    calibration = Calibration.fit(raw, error, np.array([len(one.raw) for one in calibrated_on]), numbers)
    factor = calibration.factor(STATED)
    found = [np.linalg.norm(one.error, axis=1) <= factor * calibration.std(one.raw, one.numbers) for one in tested]
    return float(np.mean([inside.mean() for inside in found]))


def divided_anew(valid: Sequence[Structure], test: Sequence[Structure]) -> str:
    """Return mean and standard deviation of the share inside over random divisions of `valid` and `test`, as a cell."""
    if len(valid) < STATED / (1 - STATED):
        return "–"  # too few for an interval
    rng, everything = np.random.default_rng(0), [*valid, *test]
    shares = []
    for _ in range(N_DIVISIONS):
        drawn = [everything[number] for number in rng.permutation(len(everything))]
        shares.append(share_inside(drawn[: len(valid)], drawn[len(valid) :]))
    return f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares):.1f} %"


def row(raw: Raw, features: Mapping[str, Features], predictions: Mapping[str, Prediction]) -> str:
    """Return rank correlation, shares inside, and mean negative log-likelihood of an error component, as cells.

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
    parts = [structures_of(raw, features[split], predictions[split]) for split in ("valid", "test")]
    return f"{rank} | {100 * share:.1f} % | {divided_anew(*parts)} | {likelihood:.2f}"


def main() -> None:
    """Print the table of the runs of the command line."""
    runs = runs_of_command_line(__doc__)
    print("| run | stack | raw uncertainty | rank | inside 90 % | divided anew | −log likelihood |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for run in runs:
        stacks, features = stacks_and_features(run)
        for name, stack in stacks.items():
            predictions = {split: stack.combine(features[split]) for split in ("valid", "test")}
            for kind, raw in raws(stack):
                cells = row(raw, features, predictions)
                title = name if len(stacks) > 1 else stack.meta_name
                print(f"| {run.name} | {title} | {kind} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
