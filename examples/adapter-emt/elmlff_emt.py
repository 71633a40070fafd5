"""Adapter `emt`: effective medium theory (Jacobsen, Stoltze and Nørskov, 1996) for seven metals, from ASE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ase import Atoms

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, LoadRequest, Options, hookimpl
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.plugins.toolkit import backend_errors, check_elements, fingerprint

# ASE also has parameters of C, N and O, but only for its own tests.
METALS = frozenset({"Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"})


class EMTOptions(Options):
    """Options of `emt`; `asap_cutoff` uses the cutoff of the Asap code, which is the same for all elements."""

    asap_cutoff: bool = False


class EMTForceField:
    """Effective medium theory as a base force field."""

    elements: frozenset[str] | None = METALS
    cutoff: float | None = None  # it depends on the elements of a structure

    def __init__(self, request: LoadRequest) -> None:
        from ase.calculators.emt import EMT

        self.name = request.name
        self.fingerprint = fingerprint("emt/1", "ase", None, request.options)
        self._calculator = EMT(asap_cutoff=request.options.asap_cutoff)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict energies (eV), forces (eV/Å), and stresses (eV/Å³) if all structures are periodic."""
        check_elements(structures, self.elements, self.name)
        energy, forces, stress = [], [], []
        periodic = all(atoms.pbc.all() for atoms in structures)
        for index, given in enumerate(structures):
            atoms = given.copy()  # the given structure must not change
            atoms.calc = self._calculator
            with backend_errors(self.name, "emt", f"evaluate structure {index}"):
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
