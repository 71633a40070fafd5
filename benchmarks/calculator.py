"""Time of a step of molecular dynamics with a stack, compared with the sum of the calculators of its base models.

python benchmarks/calculator.py --base-model nep=nep.txt --base-model painn=painn.pt --data frames.extxyz
"""

from __future__ import annotations

from collections.abc import Callable

from ase import Atoms
from ase.calculators.calculator import Calculator
from base_models import own_calculator, parse
from measuring import Comparison, medians, shown

from elmlff_core.base_models.named import NamedModel, named_model
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.stack.calculator import StackCalculator
from elmlff_core.stack.stack import Stack, make_meta

N_STRUCTURES = 16


def main() -> None:
    """Measure with different structures, because calculators keep the results of the last structure."""
    models, structures = parse(__doc__, N_STRUCTURES)
    workers = [named_model(model.name, model.config.model_copy(update={"python": "self"})) for model in models]
    calculators = [own_calculator(model) for model in models]
    times = medians(
        {
            "stack": steps(stack_of(models, structures), structures),
            "workers": steps(stack_of(workers, structures), structures),
            "base models": lambda: [steps(calculator, structures)() for calculator in calculators],
        }
    )
    names = "+".join(model.name for model in models)
    for way, bound in (("stack", 1.10), ("workers", 1.0)):
        where = ", each base model in a worker" if way == "workers" else ""
        Comparison(
            f"StackCalculator of {names}, {len(structures[0])} atoms{where}", "sum of the base models' calculators",
            shown(times[way] / len(structures)), shown(times["base models"] / len(structures)),
            times[way] / times["base models"], bound, "at most",
        ).print()  # fmt: skip
    for model in workers:
        model.close()


def steps(calculator: Calculator, structures: list[Atoms]) -> Callable[[], None]:
    """Return a function that computes the forces of one structure after the other."""

    def run() -> None:
        for atoms in structures:
            copy = atoms.copy()
            copy.set_constraint()
            copy.calc = calculator
            copy.get_forces()

    return run


def stack_of(models: list[NamedModel], structures: list[Atoms]) -> StackCalculator:
    """Make a stack with a linear combination, so that the time is that of the base models and of calling them."""
    predictions = {model.name: model.force_field.predict(structures) for model in models}
    first = next(iter(predictions.values()))
    features = Features.from_predictions(structures, predictions)
    labelled = Features(
        features.structures,
        features.models,
        features.forces,
        features.energies,
        Prediction(first.n_atoms, first.forces),
    )
    meta = make_meta("linear", {})
    meta.fit(FitRequest(labelled, labelled, None, None, 0, lambda _: None))
    return StackCalculator(Stack(models, "linear", {}, meta, None))


if __name__ == "__main__":
    main()
