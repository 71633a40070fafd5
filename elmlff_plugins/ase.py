"""Adapter `ase`: any ASE calculator, named as ``module:callable``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import Field, field_validator

from elmlff_core.errors import ForceFieldError, did_you_mean
from elmlff_core.hookspecs import ForceFieldPlugin, LoadRequest, Options, hookimpl
from elmlff_core.prediction import Prediction
from elmlff_plugins.backend_errors import backend_errors
from elmlff_plugins.elements import check_elements
from elmlff_plugins.fingerprint import existing_checkpoint, fingerprint

ADAPTER = "ase"


class ASEOptions(Options):
    """Which calculator: ``calculator = "tblite.ase:TBLite"``, and the keyword arguments to make it with.

    A checkpoint, where the model has one, is passed as the argument named by `checkpoint_argument`.  `elements` lists
    the chemical symbols that the calculator knows; without it, any is tried.
    """

    calculator: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    elements: list[str] | None = None
    checkpoint_argument: str | None = None

    @field_validator("elements")
    @classmethod
    def _are_symbols(cls, symbols: list[str] | None) -> list[str] | None:
        for symbol in symbols or []:
            if symbol not in atomic_numbers:
                raise ValueError(f"'{symbol}' is no chemical symbol")
        return symbols


class ASEForceField:
    """An ASE calculator as a base force field.

    Parameters
    ----------
    request : with options that name the calculator

    Raises
    ------
    ForceFieldError
        When the module or the callable does not exist, or the calculator cannot be made.
    """

    def __init__(self, request: LoadRequest) -> None:
        self.name = request.name
        options: ASEOptions = request.options
        module_name, _, path = options.calculator.partition(":")
        module = _import(module_name, self.name)
        make = _attribute(module, path, self.name)
        arguments = dict(options.arguments)
        checkpoint = None
        if request.checkpoint is not None:
            if options.checkpoint_argument is None:
                raise ForceFieldError(
                    f"model '{self.name}' has a checkpoint, but {options.calculator} is not told of it: name its "
                    f'keyword argument, checkpoint_argument = "..." under [models.{self.name}.options]'
                )
            checkpoint = existing_checkpoint(request.checkpoint, self.name, ADAPTER)
            arguments[options.checkpoint_argument] = str(checkpoint)
        with backend_errors(self.name, ADAPTER, f"make {options.calculator}"):
            self._calculator = make(**arguments)
        self._has_stress = "stress" in getattr(self._calculator, "implemented_properties", ())
        self.elements: frozenset[str] | None = None if options.elements is None else frozenset(options.elements)
        self.cutoff: float | None = None
        version = getattr(importlib.import_module(module_name.split(".")[0]), "__version__", "")
        self.fingerprint = fingerprint(
            "ase/1", "ase", checkpoint, options.calculator, sorted(options.arguments.items()), version
        )

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Energies and forces, and stresses where the calculator has them and all structures are periodic."""
        check_elements(structures, self.elements, self.name)
        has_stress = self._has_stress and all(atoms.pbc.all() for atoms in structures)
        energy: list[float] = []
        forces: list[np.ndarray] = []
        stress: list[np.ndarray] = []
        for index, atoms in enumerate(structures):
            # A copy without the labels and constraints of the original, but with charges, moments and info.
            copy = atoms.copy()
            copy.calc = self._calculator
            with backend_errors(self.name, ADAPTER, f"evaluate structure {index}"):
                forces.append(copy.get_forces(apply_constraint=False))
                energy.append(copy.get_potential_energy())
                if has_stress:
                    stress.append(copy.get_stress(apply_constraint=False))
        return Prediction.from_lists(forces, energy, np.reshape(stress, (-1, 6)) if has_stress else None)


def _import(name: str, model: str) -> ModuleType:
    """Import a module, telling one that does not exist from one that fails."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ForceFieldError(
                f"model '{model}' (adapter '{ADAPTER}'): there is no module '{error.name}'; install the package of its "
                "calculator in this Python environment"
            ) from error
        raise ForceFieldError(
            f"model '{model}' (adapter '{ADAPTER}'): module '{name}' needs '{error.name}', which is not installed"
        ) from error
    except Exception as error:
        raise ForceFieldError(
            f"model '{model}' (adapter '{ADAPTER}'): module '{name}' fails at import: {type(error).__name__}: {error}"
        ) from error


def _attribute(module: ModuleType, path: str, model: str) -> Any:
    """The callable at the dotted `path` in `module`."""
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise ForceFieldError(
                f"model '{model}' (adapter '{ADAPTER}'): {module.__name__} has no '{path}'{did_you_mean(part, public)}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise ForceFieldError(f"model '{model}' (adapter '{ADAPTER}'): {module.__name__}:{path} cannot be called")
    return found


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `ase`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="any ASE calculator, named as module:callable",
        options=ASEOptions,
        load=ASEForceField,
    )
