"""Adapter `emt`: effective medium theory (Jacobsen, Stoltze and Nørskov, 1996) for seven metals, from ASE."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import ase
from ase import Atoms

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest, Options, hookimpl
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ForceFieldError

# ASE has parameters of C, N and O too, for tests of its own and nothing else.
METALS = frozenset({"Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"})


class EMTOptions(Options):
    """`asap_cutoff` takes the cutoff of the Asap code, for all elements the same."""

    asap_cutoff: bool = False


class EMTForceField:
    """Effective medium theory as a base force field."""

    elements: frozenset[str] | None = METALS
    cutoff: float | None = None  # follows from the elements at hand

    def __init__(self, request: LoadRequest) -> None:
        from ase.calculators.emt import EMT

        self.name = request.name
        self.fingerprint = hashlib.sha256(f"emt/1 {ase.__version__} {request.options!r}".encode()).hexdigest()
        self._calculator = EMT(asap_cutoff=request.options.asap_cutoff)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Energies (eV), forces (eV/Å), and stresses (eV/Å³) where all structures are periodic."""
        energy, forces, stress = [], [], []
        periodic = all(atoms.pbc.all() for atoms in structures)
        for index, given in enumerate(structures):
            if unknown := sorted(set(given.get_chemical_symbols()) - METALS):
                raise ForceFieldError(f"model '{self.name}' does not know {', '.join(unknown)} of structure {index}")
            # A copy, for the structure that is given must stay as it is.
            atoms = given.copy()
            atoms.calc = self._calculator
            energy.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces(apply_constraint=False))
            if periodic:
                stress.append(atoms.get_stress(apply_constraint=False))
        return Prediction.from_lists(forces, energy, stress if periodic else None)


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `emt`."""
    yield ForceFieldPlugin(
        name="emt",
        summary="effective medium theory for Al, Ni, Cu, Pd, Ag, Pt and Au",
        options=EMTOptions,
        load=EMTForceField,
        requires=("ase",),
    )
