"""ASE calculators as base force fields: the part of the adapter `ase` that also runs where elmlff is not installed.

A worker under another interpreter imports this file, so it and all it imports keep to Python 3.9, numpy and ase.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ForceFieldError, did_you_mean
from elmlff_core.plugins.toolkit import backend_errors, check_elements, existing_checkpoint, fingerprint

if TYPE_CHECKING:
    from elmlff_core.contracts.hookspecs import LoadRequest
    from elmlff_plugins.ase.options import ASEOptions

ADAPTER = "ase"


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
            with backend_errors(self.name, ADAPTER, f"evaluate structure {index}"), self._forgetting_failures():
                forces.append(copy.get_forces(apply_constraint=False))
                energy.append(copy.get_potential_energy())
                if has_stress:
                    stress.append(copy.get_stress(apply_constraint=False))
        return Prediction.from_lists(forces, energy, np.reshape(stress, (-1, 6)) if has_stress else None)

    @contextmanager
    def _forgetting_failures(self) -> Iterator[None]:
        """ASE's calculators keep what a failed calculation left, and give it as the result when asked again."""
        try:
            yield
        except Exception:
            if hasattr(self._calculator, "reset"):
                self._calculator.reset()
            raise


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


def load(request: LoadRequest) -> ASEForceField:
    """What a worker without elmlff calls; `request` then only looks like a LoadRequest."""
    return ASEForceField(request)
