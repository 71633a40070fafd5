"""Each check of the kit finds its fault, in a force field that is correct apart from this fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ForceFieldError
from elmlff_core.testing import Tolerances, check_force_field, example_structures
from elmlff_core.testing.force_field import CHECKS, ESSENTIAL

STRUCTURES = example_structures(["Ar"], spacing=3.8)


class Sound:
    """A smooth Lennard-Jones force field; each subclass has one fault."""

    name = "sound"
    elements: frozenset[str] | None = frozenset({"Ar"})
    cutoff: float | None = 8.5
    fingerprint = "0123456789abcdef01234567"

    def __init__(self) -> None:
        self.calculator = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.5, ro=6.0, smooth=True)

    def predict(self, structures: Sequence[Atoms]) -> Prediction:
        """Predict the structures, with stresses if all of them are periodic."""
        if any(set(atoms.get_chemical_symbols()) - {"Ar"} for atoms in structures):
            raise ForceFieldError("only argon")
        results = [self.evaluate(atoms.copy()) for atoms in structures]
        stress = [result[2] for result in results] if all(atoms.pbc.all() for atoms in structures) else None
        forces = [result[1] for result in results]
        lengths = [np.linalg.norm(one, axis=1, keepdims=True) for one in forces]
        return Prediction.from_lists(forces, [result[0] for result in results], stress, lengths)

    def evaluate(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray | None]:
        """Return energy, forces and stress of one structure."""
        atoms.calc = self.calculator
        stress = atoms.get_stress(apply_constraint=False) if atoms.pbc.all() else None
        return atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False), stress


def changed(**changes: Callable[[Prediction, Sequence[Atoms]], np.ndarray | None]) -> type[Sound]:
    """Make a force field whose predictions have some arrays changed."""

    class Changed(Sound):
        def predict(self, structures):
            sound = super().predict(structures)
            return replace(sound, **{name: change(sound, structures) for name, change in changes.items()})

    return Changed


def fields(structures: Sequence[Atoms], of: Callable[[Atoms], np.ndarray]) -> np.ndarray:
    return np.concatenate([of(atoms) for atoms in structures])


class Fingerprintless(Sound):
    fingerprint = "model.pth"


class DropsAnAtom(Sound):
    def evaluate(self, atoms):
        energy, forces, stress = super().evaluate(atoms)
        return energy, forces[:-1], stress


class Wraps(Sound):
    def predict(self, structures):
        for atoms in structures:
            atoms.positions += 0.1
        return super().predict(structures)


class ObeysConstraints(Sound):
    def evaluate(self, atoms):
        energy, _, stress = super().evaluate(atoms)
        return energy, atoms.get_forces(apply_constraint=True), stress


class MixesBatches(Sound):
    """The fault of ``reshape(n, -1)``: for structures of different sizes, rows belong to wrong atoms."""

    def predict(self, structures):
        sound = super().predict(structures)
        sizes = {len(atoms) for atoms in structures}
        return sound if len(sizes) == 1 else replace(sound, forces=sound.forces[::-1].copy())


class MinimumImage(Sound):
    """Uses only the nearest image of each atom, which is too few in a small cell."""

    def evaluate(self, atoms):
        n = len(atoms)
        vectors = atoms.get_all_distances(mic=bool(atoms.pbc.any()), vector=True)
        distances = np.linalg.norm(vectors, axis=-1) + 99 * np.eye(n)
        sixth = (3.4 / distances) ** 6
        slope = -24 * 0.0104 * (2 * sixth**2 - sixth) / distances
        forces = (slope / distances)[..., None] * vectors
        return 2 * 0.0104 * float((sixth**2 - sixth).sum()), forces.sum(axis=1), np.zeros(6)


class AcceptsAnyElement(Sound):
    def predict(self, structures):
        argon = [atoms.copy() for atoms in structures]
        for atoms in argon:
            atoms.numbers[:] = 18
        return super().predict(argon)


def first_atom(structures: Sequence[Atoms]) -> np.ndarray:
    return fields(structures, lambda atoms: np.eye(len(atoms), 3) * 0.1)


def absolute(structures: Sequence[Atoms]) -> np.ndarray:
    return fields(structures, lambda atoms: 0.05 * np.sin(atoms.positions.sum(axis=1, keepdims=True)) * np.ones(3))


def unwrapped(structures: Sequence[Atoms]) -> np.ndarray:
    """Return distances without periodic images, which change when one atom moves by a lattice vector."""
    return fields(structures, lambda atoms: 0.01 * (atoms.positions - atoms.positions.mean(axis=0)))


def along_x(structures: Sequence[Atoms]) -> np.ndarray:
    return fields(structures, lambda atoms: np.tile([0.05, 0.0, 0.0], (len(atoms), 1)))


FAULTS: dict[str, type[Sound]] = {
    "attributes": Fingerprintless,
    "shapes": DropsAnAtom,
    "finite": changed(forces=lambda sound, _: np.where(sound.forces > 0, np.nan, sound.forces)),
    "inputs": Wraps,
    "constraints": ObeysConstraints,
    "batched": MixesBatches,
    "permutation": changed(forces=lambda sound, given: sound.forces + first_atom(given)),
    "translation": changed(forces=lambda sound, given: sound.forces + absolute(given)),
    "lattice_vectors": changed(forces=lambda sound, given: sound.forces + unwrapped(given)),
    "rotation": changed(forces=lambda sound, given: sound.forces + along_x(given)),
    "descriptors": changed(descriptors=lambda sound, _: sound.forces.astype(np.float32)),
    "size_consistency": MinimumImage,
    "one_atom": changed(forces=lambda sound, given: sound.forces + along_x(given)),
    "isolated_atom": changed(forces=lambda sound, given: sound.forces + along_x(given)),
    "unknown_element": AcceptsAnyElement,
    "forces_are_gradients": changed(forces=lambda sound, _: 23.06 * sound.forces),
    "stress_is_strain_derivative": changed(stress=lambda sound, _: None if sound.stress is None else -sound.stress),
}


def test_the_sound_one_passes():
    report = check_force_field(Sound(), STRUCTURES)
    assert {check.status for check in report.checks if check.name != "reference"} == {"passed"}


def test_every_check_has_a_fault_here():
    assert set(FAULTS) | {"reference"} == {*ESSENTIAL, *CHECKS}


@pytest.mark.parametrize("check", FAULTS)
def test_the_fault_is_caught(check):
    report = check_force_field(FAULTS[check](), STRUCTURES, raise_on_failure=False)
    assert check in report.failed, report
    with pytest.raises(AssertionError, match=check):
        report.raise_for_failures()


@pytest.mark.parametrize(
    ("factor", "unit"), [(23.060548, "kcal/mol"), (1 / 51.422067, "Hartree/Bohr"), (-1.0, "minus one")]
)
def test_wrong_units_are_named(factor, unit):
    wrong = changed(forces=lambda sound, _: factor * sound.forces, energy=lambda sound, _: factor * sound.energy)
    report = check_force_field(
        wrong(), STRUCTURES, reference=Sound().predict(STRUCTURES), tolerances=Tolerances(), raise_on_failure=False
    )
    # Energy and forces are consistent, so only the comparison with the reference finds the fault.
    assert report.failed == (["reference", "stress_is_strain_derivative"])
    assert unit in report["reference"].note


def test_wrong_energies_against_the_reference_are_caught():
    wrong = changed(energy=lambda sound, _: sound.energy + 0.5)
    report = check_force_field(wrong(), STRUCTURES, reference=Sound().predict(STRUCTURES), raise_on_failure=False)
    assert "energies differ by 0.5 eV" in report["reference"].note


def test_a_check_that_raises_fails_and_the_others_still_run():
    class Fragile(Sound):
        def predict(self, structures):
            if len(structures[0]) == 1:
                raise RuntimeError("no neighbours")
            return super().predict(structures)

    report = check_force_field(Fragile(), STRUCTURES, raise_on_failure=False)
    assert report.failed == ["one_atom", "isolated_atom"]
    assert report["one_atom"].note == "RuntimeError: no neighbours"
    assert report["rotation"].status == "passed"


def test_a_refusal_is_no_failure_and_a_hidden_exception_is():
    class Refuses(Sound):
        def predict(self, structures):
            if len(structures[0]) == 1:
                if structures[0].pbc.any():
                    raise ForceFieldError("one atom makes no sense here")
                try:
                    raise RuntimeError("segmentation")
                except RuntimeError as error:
                    raise ForceFieldError("backend failed") from error
            return super().predict(structures)

    report = check_force_field(Refuses(), STRUCTURES, raise_on_failure=False)
    assert report["one_atom"].status == "skipped"
    assert report["isolated_atom"].status == "failed"


def test_skipped_and_reported_checks_are_not_judged():
    fault = FAULTS["rotation"]
    report = check_force_field(
        fault(), STRUCTURES, reported=["rotation"], raise_on_failure=False,
        skip={"one_atom": "a field", "isolated_atom": "a field", "forces_are_gradients": "a field"},
    )  # fmt: skip
    assert report.failed == []
    assert report["rotation"].status == "reported"
    assert report["rotation"].figure.value > 0.01
    assert report["one_atom"].note == "a field"


def test_a_misspelt_check_is_refused():
    with pytest.raises(ValueError, match="no check is called rotatoin"):
        check_force_field(Sound(), STRUCTURES, reported=["rotatoin"])


def test_noisy_energies_are_not_differentiated():
    rng = np.random.default_rng(0)

    class Noisy(Sound):
        def predict(self, structures):
            sound = super().predict(structures)
            return replace(sound, energy=sound.energy + rng.normal(scale=3e-4, size=len(structures)))

    loose = Tolerances(energy=1.0)
    report = check_force_field(Noisy(), STRUCTURES, tolerances=loose, raise_on_failure=False)
    assert report["forces_are_gradients"].status == "skipped"
    assert "noisy" in report["forces_are_gradients"].note


@pytest.mark.parametrize(
    ("check", "array", "factor"),
    [("forces_are_gradients", "forces", 1.0005), ("stress_is_strain_derivative", "stress", 1.01)],
)
def test_double_precision_is_held_to_its_own_precision(check, array, factor):
    def nearly(sound, _):
        found = getattr(sound, array)
        return None if found is None else factor * found

    report = check_force_field(changed(**{array: nearly})(), STRUCTURES, raise_on_failure=False)
    assert report.failed == [check]
    assert report[check].figure.limit < 2e-5


def test_single_precision_is_held_to_its_own():
    """The limit follows from the rounding of energies: 6 times its effect on a slope over a step of 0.01 Å."""
    shift = 400.0  # eV for each atom, as the total energies that DFT codes print

    def single(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32).astype(np.float64)

    def total(sound: Prediction, structures: Sequence[Atoms]) -> np.ndarray:
        return single(sound.energy + shift * np.array([len(atoms) for atoms in structures]))

    rounded = changed(energy=total, forces=lambda sound, _: single(sound.forces))
    loose = Tolerances(finite_difference_noise=10.0)
    check = check_force_field(rounded(), STRUCTURES[:1], tolerances=loose)["forces_are_gradients"]
    assert check.status == "passed"
    spacing = np.spacing(np.float32(8 * shift))  # rounding errors are uniform in a spacing: its twelfth is the variance
    slope = np.sqrt(2 * (45**2 + 9**2 + 1)) / 60 / 0.01 * spacing / np.sqrt(12)
    assert 6 * slope < check.figure.limit < 15 * slope


def test_the_structure_and_its_supercell_are_named():
    report = check_force_field(MinimumImage(), STRUCTURES, raise_on_failure=False)
    assert "the 2x1x1 supercell of structure" in str(report["size_consistency"])

    class Crowded(Sound):
        """Adds an energy to every structure of more than six atoms."""

        def evaluate(self, atoms):
            energy, forces, stress = super().evaluate(atoms)
            return energy + (0.3 if 8 < len(atoms) < 12 else 0.0), forces, stress

    report = check_force_field(Crowded(), STRUCTURES, raise_on_failure=False)
    assert report["size_consistency"].note == (
        "energies differ by 0.3 eV (limit 0.0001) in two copies of structure 2 (Ar5), 60 Å apart"
    )


def test_no_energies_skip_what_needs_them():
    report = check_force_field(changed(energy=lambda *_: None)(), STRUCTURES)
    assert report["forces_are_gradients"].status == "skipped"
