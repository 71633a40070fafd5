"""`couple`: a stack gives LAMMPS its forces, energy and virial, through ``fix external pf/callback``."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from elmlff_core.errors import ConfigError, DataError, ElmlffError
from elmlff_core.lammps.elements import described, elements_of_types
from elmlff_core.lammps.signals import Signals
from elmlff_core.stack.calculator import NO_ENERGY, StackCalculator, why_no_stress
from elmlff_core.stack.stack import Stack

FIX = "elmlff"
PER_ATOM = "forces_uncertainty"  # d_forces_uncertainty in dumps
ENERGY_UNITS = {"metal": 1.0, "real": units.mol / units.kcal}  # energy of LAMMPS for 1 eV; lengths are Å in both
TO_LAMMPS = [0, 1, 2, 5, 4, 3]  # ASE: xx, yy, zz, yz, xz, xy; LAMMPS: xx, yy, zz, xy, xz, yz
# LAMMPS goes on after a Python error in a callback, with whatever the forces are then.  A second fix stops it in the
# same step, in `run`, `minimize` and their first evaluation: it acts on no atom, and LAMMPS evaluates its variable
# right after the callback.  The formula divides by zero unless the stack has predicted this step.
PREDICTED_STEP, CHECK, NO_ATOMS = "elmlff_predicted_step", "elmlff_has_predicted_this_step", "elmlff_no_atoms"
FORMULA = f"variable {CHECK} equal 1/(v_{PREDICTED_STEP}==step)"
SETUP = f"""
fix {FIX} all external pf/callback 1 1
fix_modify {FIX} energy yes virial yes
group {NO_ATOMS} empty
variable {PREDICTED_STEP} internal -1
{FORMULA}
fix {FIX}_check {NO_ATOMS} indent 1.0 sphere v_{CHECK} 0 0 1.0 units box
"""
# Without writedata, files of write_data would have a section that only an input with this fix can read.
SETUP_UNCERTAINTY = f"fix {FIX}_per_atom all property/atom d_{PER_ATOM} writedata no"
CALLS = ("command", "commands_list", "commands_string", "file")  # of LAMMPS' Python class, that execute commands


class Coupling:
    """A stack as the force field of one instance of LAMMPS; made by `couple`.

    Attributes
    ----------
    calculator : the `StackCalculator`; after a step, its ``results`` and ``prediction`` are those of this step, with
        atoms in the order of their ids
    calls : how many times LAMMPS has asked for forces
    types : how types became elements, in words; empty before the first step
    """

    def __init__(self, lmp: Any, stack: Stack, elements: Sequence[str] | None) -> None:
        self.calculator = StackCalculator(stack)
        self.calls = 0
        self.types = ""
        self._lmp, self._elements = lmp, elements
        self._numbers: np.ndarray | None = None  # of the types, found again in every call of LAMMPS
        self._energy_unit = 1.0
        self._failure: BaseException | None = None
        self._signals = Signals()
        self._has_warned_of_energy = False
        self._no_pressure = ""  # the reason

    def attach(self) -> None:
        """Make the fixes; also after ``clear`` or ``unfix``, which remove them."""
        self._energy_unit = _energy_unit(self._lmp)
        self._lmp.commands_string(SETUP)
        if self.calculator.stack.uncertainty is not None:
            self._lmp.commands_string(SETUP_UNCERTAINTY)
            self._lmp.fix_external_set_vector_length(FIX, 3)
            self._set_vector([0.0, 0.0, 0.0])  # LAMMPS leaves it uninitialised
        self._lmp.set_fix_external_callback(FIX, self._callback)

    @property
    def is_attached(self) -> bool:
        """Return whether LAMMPS has the fix of the stack."""
        return bool(self._lmp.has_id("fix", FIX))

    def report_errors(self) -> None:
        """Let the functions of LAMMPS that execute commands raise the error of the stack that has stopped them."""
        for name in CALLS:
            setattr(self._lmp, name, self._reporting(getattr(self._lmp, name)))

    def _reporting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def reporting(*arguments: Any) -> Any:
            self._numbers = None  # masses, labels and types may be other ones now
            try:
                with self._signals.held():
                    return function(*arguments)
            except Exception as error:
                if self._failure is not None:
                    failure, self._failure = self._failure, None
                    self._arm()
                    raise failure from None
                if f"Variable {CHECK}" in str(error):
                    self._arm()
                    raise ElmlffError(
                        "LAMMPS was stopped: the stack was not asked for forces in this step. "
                        "Leave out `run_style respa`, and see that there are atoms"
                    ) from error
                raise

        return reporting

    def _arm(self) -> None:
        """Make the variable of the check again: LAMMPS holds one whose evaluation has failed for a circular one."""
        self._lmp.commands_string(f"variable {CHECK} delete\n{FORMULA}")

    def _callback(self, _: object, step: int, n_local: int, ids: np.ndarray, x: np.ndarray, forces: np.ndarray) -> None:
        """Fill `forces` (n_local, 3); LAMMPS would ignore an error that leaves this function."""
        forces[:] = 0.0
        self._lmp.set_internal_variable(PREDICTED_STEP, -1.0)
        try:
            with self._signals.at_once():
                self._predict(np.asarray(ids).reshape(-1), x, forces)
        except BaseException as error:  # KeyboardInterrupt too
            self._failure = error
            return
        self._lmp.set_internal_variable(PREDICTED_STEP, float(step))

    def _predict(self, ids: np.ndarray, positions: np.ndarray, forces: np.ndarray) -> None:
        """Give LAMMPS forces, energy, virial and uncertainties, in its units."""
        self.calls += 1
        order = np.argsort(ids)
        atoms = self._structure(positions[order], order)
        self.calculator.calculate(atoms)
        results = self.calculator.results
        forces[order] = results["forces"] * self._energy_unit
        energy = results.get("energy", np.nan)
        if np.isnan(energy) and not self._has_warned_of_energy:
            self._has_warned_of_energy = True
            warnings.warn(f"LAMMPS shows nan as energy: {NO_ENERGY}", stacklevel=2)
        self._lmp.fix_external_set_energy_global(FIX, energy * self._energy_unit)
        self._lmp.fix_external_set_virial_global(FIX, self._virial(atoms, results) * self._energy_unit)
        self._give_uncertainties(order)

    def _structure(self, positions: np.ndarray, order: np.ndarray) -> Atoms:
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        sides = np.array(high) - low
        cell = np.array([[sides[0], 0, 0], [xy, sides[1], 0], [xz, yz, sides[2]]])
        if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
            reason = self._no_pressure or "the simulation is unstable; is the timestep too long?"
            raise DataError(f"the box or the positions of LAMMPS are not finite: {reason}")
        if self._numbers is None:
            self._numbers, how = elements_of_types(self._lmp, self._elements)
            self.types = described(self._numbers, how)
        types = np.array(self._lmp.numpy.extract_atom("type")[: len(order)])[order]
        self._check_known(types)
        return Atoms(self._numbers[types], positions - low, cell=cell, pbc=np.array(periodic, dtype=bool))

    def _check_known(self, types: np.ndarray) -> None:
        assert self._numbers is not None
        known = self.calculator.stack.elements
        if known is None:
            return
        missing = sorted(set(Atoms(numbers=self._numbers[np.unique(types)]).get_chemical_symbols()) - known)
        if missing:
            raise ConfigError(
                f"the stack does not know {', '.join(missing)}, only {', '.join(sorted(known))}: {self.types}"
            )

    def _virial(self, atoms: Atoms, results: dict[str, Any]) -> np.ndarray:
        """Return the virial (6,), eV, in the order of LAMMPS; nan where it is not known.

        A pressure without it would be wrong and look right.
        """
        if "stress" in results:
            return -atoms.get_volume() * results["stress"][TO_LAMMPS]
        if not atoms.pbc.any():  # then it follows from the forces, whatever they are
            products = atoms.positions.T @ results["forces"]
            return ((products + products.T) / 2)[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        if not self._no_pressure:
            self._no_pressure = why_no_stress(self.calculator.stack, atoms)
            warnings.warn(f"LAMMPS shows nan as pressure, and cannot control it: {self._no_pressure}", stacklevel=2)
        return np.full(6, np.nan)

    def _give_uncertainties(self, order: np.ndarray) -> None:
        found = self.calculator.prediction
        assert found is not None
        if found.forces_std is None:
            return
        per_atom = self._lmp.numpy.extract_atom(f"d_{PER_ATOM}")
        per_atom[order] = found.forces_std * self._energy_unit
        self._set_vector([
            float(found.forces_std.max()) * self._energy_unit,
            float("nan" if found.energy_std is None else found.energy_std[0]) * self._energy_unit,
            float("nan" if found.outside is None else found.outside.max()),
        ])  # fmt: skip

    def _set_vector(self, values: Sequence[float]) -> None:
        for index, value in enumerate(values, start=1):
            self._lmp.fix_external_set_vector(FIX, index, value)


def couple(lmp: Any, stack: Stack | str | Path, elements: Sequence[str] | None = None, trust: bool = False) -> Coupling:
    """Make `stack` the force field of a running LAMMPS, beside the pair style that it may have.

    Call it when the box exists, and before fixes that change forces, such as ``setforce``: LAMMPS applies fixes in the
    order in which they were defined.  ``replicate`` must come before it.

    LAMMPS then has the fix ``elmlff`` with energy and virial.  If the stack has calibrated uncertainties,
    ``f_elmlff[1]`` is the largest standard deviation of a force component of any atom, ``f_elmlff[2]`` that of the
    energy, ``f_elmlff[3]`` the largest `outside`, and ``d_forces_uncertainty`` the standard deviation for each atom,
    all in the units of LAMMPS.  If the box is periodic and the stack gives no stress of it, the virial is nan.

    An error of the stack stops LAMMPS in the same step.  ``command``, ``commands_list``, ``commands_string`` and
    ``file`` of `lmp` then raise it.  Ctrl-C works in the same way.

    Parameters
    ----------
    lmp : instance of ``lammps.lammps``, in one process
    stack : a loaded stack, or the folder of a stack
    elements : symbols of the atom types 1, 2, ...; None takes the labels of ``labelmap atom``, or else the masses
    trust : as for `load_stack`, if `stack` is a folder

    Raises
    ------
    ElmlffError
        There is no box, LAMMPS runs in several processes or in other units than metal or real, it has a stack already,
        or the stack cannot be loaded.
    """
    if lmp.extract_setting("world_size") > 1:
        raise ConfigError("LAMMPS runs in several MPI processes, and a stack needs all atoms in one: start one process")
    if not lmp.extract_setting("box_exist"):
        raise ConfigError("LAMMPS has no box yet: couple the stack after create_box, read_data or read_restart")
    if lmp.has_id("fix", FIX):
        raise ConfigError(f"LAMMPS has a fix '{FIX}' already: one stack for each instance")
    coupling = Coupling(lmp, StackCalculator(stack, trust).stack, elements)
    coupling.report_errors()
    coupling.attach()
    return coupling


def _energy_unit(lmp: Any) -> float:
    name = lmp.extract_global("units")
    if name not in ENERGY_UNITS:
        raise ConfigError(
            f"LAMMPS has `units {name}`, and a stack works in {' and '.join(ENERGY_UNITS)}: use one of them"
        )
    return ENERGY_UNITS[name]
