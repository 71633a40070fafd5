"""ASE calculators as base force fields: the module of the adapter `ase` that also runs without elmlff installed.

A worker under another interpreter imports this file.  Therefore this file and its imports use only Python 3.9, numpy
and ase.
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
    request : request whose options name the calculator

    Raises
    ------
    ForceFieldError
        The module or the callable does not exist, or the calculator cannot be made.
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
                    f"model '{self.name}' has a checkpoint, but no keyword argument that passes it to "
                    f'{options.calculator}: set checkpoint_argument = "..." under [models.{self.name}.options]'
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
            "ase/2",
            "ase",
            checkpoint,
            options.calculator,
            sorted(options.arguments.items()),
            version,
            None if options.elements is None else sorted(options.elements),
        )

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies and forces, and stresses if the calculator has them and all structures are periodic."""
        check_elements(structures, self.elements, self.name)
        has_stress = self._has_stress and all(atoms.pbc.all() for atoms in structures)
        energy: list[float] = []
        forces: list[np.ndarray] = []
        stress: list[np.ndarray] = []
        for index, atoms in enumerate(structures):
            # The copy has charges, moments and info, but not the labels of the original; its constraints are ignored.
            copy = atoms.copy()
            copy.calc = self._calculator
            with backend_errors(self.name, ADAPTER, f"evaluate structure {index}"), self._reset_after_failure():
                forces.append(copy.get_forces(apply_constraint=False))
                energy.append(copy.get_potential_energy())
                if has_stress:
                    stress.append(copy.get_stress(apply_constraint=False))
        return Prediction.from_lists(forces, energy, np.reshape(stress, (-1, 6)) if has_stress else None)

    @contextmanager
    def _reset_after_failure(self) -> Iterator[None]:
        """Reset the calculator after a failure; otherwise it could return the incomplete results in the next call."""
        try:
            yield
        except Exception:
            if hasattr(self._calculator, "reset"):
                self._calculator.reset()
            raise


def _import(name: str, model: str) -> ModuleType:
    """Import a module; the error shows whether it does not exist or its import failed."""
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
    """Return the callable at the dotted `path` in `module`."""
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
    """Load a calculator in a worker without elmlff, where `request` is an object with the fields of LoadRequest."""
    return ASEForceField(request)
