"""Generations of a stack: its errors on the same test structures, while labelled structures are added.

Each run keeps the generations before it, so that the learning curve outlives their folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elmlff_core import files
from elmlff_core.evaluation.model_errors import ModelErrors


@dataclass(frozen=True)
class Generation:
    """One run of a chain of runs, each of which goes on from the one before.

    Attributes
    ----------
    run : name of its folder
    n_train, n_valid : number of training and validation structures
    base_models : name of each base model -> its force RMSE per frame on the test structures, eV/Å
    linear : the same of the linear combination
    stack : the same of the run's stack, the meta-model with the lowest validation error
    title : title of this stack
    """

    run: str
    n_train: int
    n_valid: int
    base_models: dict[str, float]
    linear: float
    stack: float
    title: str

    @classmethod
    def of(cls, run: Path, n_train: int, n_valid: int, errors: Sequence[ModelErrors]) -> Generation:
        """Return the generation of a run with these `errors`."""
        base_models = {model.name: model.headline for model in errors if model.kind == "base model"}
        linear = next(model.headline for model in errors if model.meta == "linear")
        stack = next(model for model in errors if model.chosen)
        return cls(run.resolve().name, n_train, n_valid, base_models, linear, stack.headline, stack.name)


COLUMNS = ("run", "training structures", "model", "kind", "RMSE per frame on test structures (eV/Å)")


def rows_of(generations: Sequence[Generation]) -> list[tuple[str, int, str, str, float]]:
    """Return a row of `COLUMNS` for each model of each generation."""
    rows = []
    for one in generations:
        models = [(name, "base model", error) for name, error in one.base_models.items()]
        models += [("linear combination", "baseline", one.linear), (one.title, "stack", one.stack)]
        rows += [(one.run, one.n_train, name, kind, error) for name, kind, error in models]
    return rows


def write_generations(generations: Sequence[Generation], path: Path) -> None:
    """Write `rows_of` the generations as CSV."""
    rows = [(run, str(n), name, kind, f"{error:.6g}") for run, n, name, kind, error in rows_of(generations)]
    files.write_csv(path, [COLUMNS, *rows])
