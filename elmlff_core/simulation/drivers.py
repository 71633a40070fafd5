"""What moves the atoms: the stack, or one of its base models while the stack looks on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.stack.calculator import StackCalculator, why_no_stress
from elmlff_core.stack.stack import STACK_FILE, load_stack


class BaseModelCalculator(Calculator):
    """ASE calculator of one base model: forces (eV/Å), and energy (eV) and stress (eV/Å³) where it gives them."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, model: NamedModel, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model = model

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("forces",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute ``results`` for `atoms`; ElmlffError if the model cannot be applied to them."""
        super().calculate(atoms, properties, system_changes)
        self.results: dict[str, Any] = predict_checked(self.model, [self.atoms]).results_of(0)
        if "energy" in self.results:
            self.results["free_energy"] = self.results["energy"]


def driver_of(observer: StackCalculator, name: str | None) -> Calculator:
    """Return the calculator that moves the atoms: the base model `name` of the stack, or the stack itself.

    `name` may also be the folder of another stack of one base model, such as a student of `elmlff distill`.

    Raises
    ------
    ConfigError
        There is no such base model or folder, or the stack in it has several base models.
    ElmlffError
        That stack cannot be loaded, or would run code that the user has not allowed.
    """
    if name is None:
        return observer
    for model in observer.stack.base_models:
        if model.name == name:
            return BaseModelCalculator(model)
    if not is_folder(name):
        raise ConfigError(f"the stack has no base model '{name}'{did_you_mean(name, observer.stack.names)}")
    models = load_stack(name).base_models
    if len(models) > 1:
        raise ConfigError(f"the stack in {name} has {len(models)} base models: a driver is one, such as a student")
    return BaseModelCalculator(models[0])


def is_folder(driver: str) -> bool:
    """Return whether a driver is the folder of a stack, and not the name of a base model."""
    return (Path(driver).expanduser() / STACK_FILE).is_file()


def check_stress(atoms: Atoms, observer: StackCalculator) -> None:
    """Raise ConfigError, with the reason and what to do, if the calculator of `atoms` gives no stress of them."""
    try:
        atoms.get_stress()
    except PropertyNotImplementedError as error:
        if atoms.calc is observer:
            raise ConfigError(why_no_stress(observer.stack, atoms)) from error
        raise ConfigError("the driver gives no stress of this structure: choose another driver, or none") from error
