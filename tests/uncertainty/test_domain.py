"""The domain of a stack, on copper: lattice constants, defects and base models that the fit has not seen."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.uncertainty.domain import ALARMS, CEILING, Domain, conformal_limit, spread_out
from elmlff_core.uncertainty.surroundings import CUTOFF, channels, surroundings
from elmlff_core.uncertainty.uncertainty import Uncertainty, widened

LATTICE = 3.61


def copper(seed: int, scale: float = 1.0) -> Atoms:
    """Make a rattled cell of copper with EMT's forces, at the usual lattice constant times `scale`."""
    atoms = bulk("Cu", cubic=True, a=LATTICE * scale) * (2, 2, 2)
    atoms.rattle(0.08, seed=seed)
    return atoms


def emt_forces(atoms: Atoms) -> np.ndarray:
    atoms = atoms.copy()
    atoms.calc = EMT()
    return atoms.get_forces()


def features(structures: list[Atoms], seed: int = 0) -> Features:
    """Return two base models that err by a few per cent of EMT's forces."""
    rng = np.random.default_rng(seed)
    reference = Prediction.from_lists([emt_forces(atoms) for atoms in structures])
    forces = np.stack([reference.forces * (1 + 0.05 * rng.normal(size=(len(reference.forces), 1))) for _ in range(3)])
    return Features(structures, ("a", "b", "c"), forces, {}, reference)


@pytest.fixture(scope="module")
def train() -> Features:
    return features([copper(seed) for seed in range(120)])


@pytest.fixture(scope="module")
def valid() -> Features:
    return features([copper(seed) for seed in range(500, 520)], 1)


@pytest.fixture(scope="module")
def domain(train: Features, valid: Features) -> Domain:
    return Domain.fit(train, valid)


def flagged(domain: Domain, tested: Features) -> np.ndarray:
    return np.maximum.reduceat(domain.outside(tested).score, tested.offsets[:-1]) > 1


def test_surroundings_keep_with_rotations_translations_and_the_order_of_atoms():
    atoms = molecule("CH3CH2OH")
    table = channels(np.array([1, 6, 8]))
    found = surroundings([atoms], table)
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.rotate(37, (1, 2, 3))
    moved.translate((0.3, -5, 2))
    assert surroundings([moved], table) == pytest.approx(found[order], abs=1e-5)
    assert np.linalg.norm(found[0] - found[1]) > 0.1, "the two carbon atoms are different"


def test_a_lone_neighbour_counts_in_its_shell_alone():
    pair = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 0.6 * CUTOFF]])
    numbers = surroundings([pair], channels(np.array([29, 79]))).reshape(2, 3, 2, 8)
    assert not numbers[0, :, 0].any(), "no copper around copper"
    assert not numbers[1, :, 1].any(), "no gold around gold"
    assert numbers[0, 0, 1] == pytest.approx(numbers[1, 0, 0])
    # One neighbour has the same length in every moment, whatever its direction.
    assert numbers[0, 1, 1] == pytest.approx(numbers[0, 0, 1], rel=1e-5)
    assert numbers[0, 2, 1] == pytest.approx(numbers[0, 0, 1], rel=1e-5)
    assert int(numbers[0, 0, 1].argmax()) in (3, 4), "0.6 of the cutoff lies between the shells at 0.54 and 0.66"


def test_blocks_of_a_large_structure_give_the_same(monkeypatch):
    atoms = copper(0) * (2, 2, 2)
    whole = surroundings([atoms], channels(np.array([29])))
    monkeypatch.setattr("elmlff_core.uncertainty.surroundings.BLOCK_PAIRS", 100)
    assert np.array_equal(surroundings([atoms], channels(np.array([29]))), whole)


@pytest.mark.parametrize("scale", [0.94, 0.97, 1.03, 1.06])
def test_copper_at_a_lattice_constant_that_the_fit_has_not_seen_is_outside(domain, scale):
    tested = features([copper(seed, scale) for seed in range(900, 905)], 2)
    assert flagged(domain, tested).all()
    assert (domain.outside(tested).suspect == -1).mean() > 0.9, "its surroundings, and no base model"


def test_structures_like_the_training_ones_are_outside_as_seldom_as_stated(domain):
    tested = features([copper(seed) for seed in range(1000, 1300)], 3)
    assert domain.alarms == pytest.approx(2 / 141)
    # 300 draws at the stated rate exceed four times the expected number less than once in a million.
    assert flagged(domain, tested).mean() <= 4 * domain.alarms


def test_atoms_around_a_vacancy_are_outside_and_those_far_away_are_not(domain):
    atoms = copper(2000) * (2, 2, 2)
    place = atoms.positions[0].copy()
    del atoms[0]
    outside = domain.outside(features([atoms]))
    probe = atoms + Atoms("Cu", positions=[place])
    distances = probe.get_distances(len(atoms), range(len(atoms)), mic=True)
    assert set(np.flatnonzero(outside.surroundings > 1)) <= set(np.flatnonzero(distances < CUTOFF))
    assert (outside.surroundings[distances < 2.9] > 1).mean() > 0.5
    # The forces on all atoms in reach of one outside are less certain.
    widening = outside.widening
    assert (widening > 1).sum() > (outside.score > 1).sum()
    assert (widening >= 1).all()


def test_a_base_model_that_explodes_is_named(domain, valid):
    forces = valid.forces.copy()
    forces[1, 7] += [0, 25.0, 0]
    outside = domain.outside(replace(valid, forces=forces))
    assert np.flatnonzero(outside.score > 1).tolist() == [7]
    assert outside.suspect[7] == 1


def test_with_in_sample_features_disagreement_is_calibrated_on_validation_alone(train, valid):
    agreeing = replace(train, forces=np.repeat(train.reference_forces[None], 3, axis=0))
    assert flagged(Domain.fit(agreeing, valid, in_sample=True), valid).mean() < 0.1
    assert Domain.fit(agreeing, valid, in_sample=True).alarms == pytest.approx(1 / 141 + 1 / 21)


def test_an_element_that_the_fit_has_not_seen_is_outside(domain):
    atoms = copper(3000)
    atoms.numbers[5] = 47
    outside = domain.outside(features([atoms]))
    assert outside.score[5] == 1e3


def test_one_base_model_has_surroundings_alone(train, valid):
    domain = Domain.fit(train.of_models(["a"]), valid.of_models(["a"]))
    outside = domain.outside(features([copper(0, 1.05)]).of_models(["a"]))
    assert not outside.disagreement.any()
    assert outside.any


def test_the_domain_is_the_same_when_read_again(domain, valid, tmp_path: Path):
    domain.save(tmp_path / "domain.safetensors")
    again = Domain.load(tmp_path / "domain.safetensors").outside(valid)
    assert np.array_equal(again.score, domain.outside(valid).score)
    (tmp_path / "domain.safetensors").write_bytes(b"not one")
    with pytest.raises(ElmlffError, match="stack again"):
        Domain.load(tmp_path / "domain.safetensors")


def test_intervals_widen_outside_and_hold_there(train, valid, domain):
    combination = LinearCombination.fit(train)

    def predicted(tested: Features) -> Prediction:
        # A stack whose error grows with the distance from the lattice constant of its fit.
        volumes = np.repeat([atoms.get_volume() / 32 for atoms in tested.structures], tested.n_atoms)
        strain = (volumes / (LATTICE**3 / 4)) ** (1 / 3) - 1
        return Prediction(tested.n_atoms, combination.apply(tested) * (1 + 5 * strain)[:, None])

    plain = Uncertainty.fit(valid, predicted(valid))
    aware = Uncertainty.fit(valid, predicted(valid), domain=domain)
    inside = features([copper(seed) for seed in range(700, 703)], 4)
    assert np.array_equal(aware.forces_std(inside), plain.forces_std(inside))
    stretched = features([copper(seed, 1.05) for seed in range(700, 703)], 5)
    errors = np.linalg.norm(predicted(stretched).forces - stretched.reference_forces, axis=1)
    assert (errors < plain.forces_interval(stretched, 0.9)).mean() < 0.5
    assert (errors < aware.forces_interval(stretched, 0.9)).mean() > 0.8


def test_far_outside_uncertainties_have_the_size_of_forces(train, valid, domain):
    combination = LinearCombination.fit(train)
    aware = Uncertainty.fit(valid, Prediction(valid.n_atoms, combination.apply(valid)), domain=domain)
    crushed = features([copper(seed, 0.8) for seed in range(3)], 6)
    forces = combination.apply(crushed)
    lengths = np.linalg.norm(forces, axis=1)
    outside = domain.outside(crushed, forces)
    assert (outside.score > 10).all()
    assert (aware.forces_std(crushed) > 20 * lengths).all(), "without the forces there is no ceiling"
    found, plain = aware.forces_std(crushed, outside=outside), replace(aware, domain=None).forces_std(crushed)
    usual = np.sqrt((train.reference_forces**2).sum(axis=1).mean())
    assert found == pytest.approx(CEILING * np.maximum(lengths, usual), rel=1e-6)
    assert (found > 5 * plain).all(), "a guard sees it"
    errors = np.linalg.norm(forces - crushed.reference_forces, axis=1)
    assert (errors < aware.force.factor(0.9) * found).mean() > 0.9


def test_what_base_models_disagree_by_is_no_widening_and_stays():
    std, usual, ceiling = np.array([0.05, 0.05, 0.3, 7.0]), np.full(4, 0.1), np.full(4, 2.0)
    found = widened(std, usual, np.array([1.0, 8.0, 1000.0, 1000.0]), ceiling)
    assert found == pytest.approx([0.05, 0.8, 2.0, 7.0])


def test_far_outside_an_energy_grows_by_no_larger_factor_than_a_force(train, valid, domain):
    combination, names = LinearCombination.fit(train), ("a", "b", "c")
    rng = np.random.default_rng(0)

    def with_energies(tested: Features) -> tuple[Features, Prediction]:
        energies = rng.normal(size=len(tested))
        base = {name: energies + 0.1 * rng.normal(size=len(tested)) for name in names}
        labelled = replace(tested, energies=base, reference=replace(tested.reference, energy=energies))
        return labelled, Prediction(tested.n_atoms, combination.apply(tested), np.mean(list(base.values()), axis=0))

    aware = Uncertainty.fit(*with_energies(valid), domain=domain)
    crushed, prediction = with_energies(features([copper(seed, 0.8) for seed in range(3)], 6))
    outside = domain.outside(crushed, prediction.forces)
    plain = replace(aware, domain=None)
    limit = aware.energy.scale * outside.ceiling.reshape(3, -1).max(axis=1) / aware.force.element_scales[29]
    found = aware.energy_std(crushed, outside)
    assert (found <= np.maximum(plain.energy_std(crushed), limit) * (1 + 1e-9)).all()
    assert (found > 5 * plain.energy_std(crushed)).all()
    assert (aware.energy_std(crushed) > 5 * found).all(), "without the forces there is no ceiling"


def test_limits_by_hand():
    values = np.arange(1.0, 1001.0)
    assert conformal_limit(values) == (996.0, ALARMS)  # the 996th of 1,001 places
    assert conformal_limit(values[:9]) == (9.0, 0.1)
    assert conformal_limit(np.append(values[:9], np.inf)) == (9.0, 0.1)
    assert conformal_limit(np.array([]))[1] == 0.0


def test_spread_out_points_begin_with_the_first_and_reach_the_ends():
    points = np.array([[0.0], [0.1], [0.2], [5.0], [2.4]])
    assert spread_out(points, 3).tolist() == [0, 3, 4]
    assert sorted(spread_out(points, 9).tolist()) == [0, 1, 2, 3, 4]


def test_a_domain_can_be_pickled(domain, valid):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pickle.loads(pickle.dumps(domain)).outside(valid).score, domain.outside(valid).score)
