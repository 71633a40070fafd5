"""Uncertainties, compared with errors of a known distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from scipy.stats import chi, rankdata

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_record, write_record
from elmlff_core.uncertainty.calibration import PRIOR_ATOMS, Calibration, weighted_quantiles
from elmlff_core.uncertainty.committee import committee_spread
from elmlff_core.uncertainty.quality import energy_quality, force_quality
from elmlff_core.uncertainty.uncertainty import Uncertainty, UncertaintyRecord

SCALES = {"H": 0.5, "C": 2.0}


def committee(n_structures: int, seed: int) -> tuple[Features, Prediction]:
    """Make two base models, and a stack with normal errors, whose deviation is SCALES times the committee spread."""
    rng = np.random.default_rng(seed)
    structures = [Atoms("CH3", positions=rng.normal(size=(4, 3))) for _ in range(n_structures)]
    n_atoms, n_rows = np.full(n_structures, 4), 4 * n_structures
    reference = rng.normal(size=(n_rows, 3))
    apart = rng.uniform(0.1, 2.0, size=(n_rows, 1)) * np.array([1.0, 0.0, 0.0])
    # The base models are at +-d along x and deviate from their mean by d, so the committee spread is d / sqrt(3).
    forces = np.stack([reference + apart, reference - apart])
    scale = np.tile([SCALES["C"], SCALES["H"], SCALES["H"], SCALES["H"]], n_structures)
    error = (scale * apart[:, 0] / np.sqrt(3))[:, None] * rng.normal(size=(n_rows, 3))
    energy = rng.normal(size=n_structures)
    half = rng.uniform(0.1, 2.0, size=n_structures) * rng.choice([-1, 1], size=n_structures)
    energies = {"a": energy + half + 7.0, "b": energy - half - 3.0}  # two zeros of energy
    predicted = energy + 0.3 * half * rng.normal(size=n_structures)
    features = Features(structures, ("a", "b"), forces, energies, Prediction(n_atoms, reference, energy), "synthetic")
    return features, Prediction(n_atoms, reference + error, predicted)


def test_committee_spread_by_hand():
    forces = np.array([[[1.0, 0, 0], [0, 2, 2]], [[-1.0, 0, 0], [0, 2, 2]]])
    assert committee_spread(forces) == pytest.approx([np.sqrt(1 / 3), 0])
    assert np.array_equal(committee_spread(forces[:1]), [0, 0])


def test_the_known_scale_of_each_element_is_found_and_carries_over():
    uncertainty = Uncertainty.fit(*committee(1500, 0))
    test, _ = committee(20, 1)
    # C is a quarter of the atoms: the shrinkage towards 0.5 of the others changes its 2.0 by about 1 %.
    median = np.median(np.linspace(0.1, 2.0, 1001)) / np.sqrt(3)  # scales are those at the median committee spread
    assert uncertainty.force.element_scales[6] == pytest.approx(2.0 * median, rel=0.06)
    assert uncertainty.force.element_scales[1] == pytest.approx(0.5 * median, rel=0.06)
    apart = (test.forces[0] - test.forces[1])[:, 0] / 2
    expected = apart / np.sqrt(3) * np.tile([2.0, 0.5, 0.5, 0.5], 20)
    assert uncertainty.forces_std(test) == pytest.approx(expected, rel=0.06)


def test_intervals_of_normal_errors_are_those_of_the_chi_distribution():
    uncertainty = Uncertainty.fit(*committee(3000, 0))
    for coverage in (0.5, 0.68, 0.9, 0.95):
        assert uncertainty.force.factor(coverage) == pytest.approx(chi(3).ppf(coverage), rel=0.04)
        assert uncertainty.energy.factor(coverage) == pytest.approx(chi(1).ppf(coverage), rel=0.12)


def shifted(features: Features, zero: float) -> Features:
    energies = {**features.energies, "a": features.energies["a"] + zero * features.n_atoms}
    return Features(features.structures, features.models, features.forces, energies, features.reference)


def test_energies_are_aligned_before_their_spread_is_taken():
    features, prediction = committee(500, 0)
    test, _ = committee(30, 1)
    plain = Uncertainty.fit(features, prediction).energy_std(test)
    moved = Uncertainty.fit(shifted(features, 50.0), prediction).energy_std(shifted(test, 50.0))
    assert moved == pytest.approx(plain, rel=1e-6)
    # The zeros of the base models differ by 10 eV.  After alignment each differs from the mean by half the distance.
    mean = (features.energies["a"] - features.energies["b"]).mean()
    half = np.abs(test.energies["a"] - test.energies["b"] - mean) / 2
    assert np.array_equal(rankdata(plain), rankdata(np.maximum(half, np.sort(half)[(plain == plain.min()).sum() - 1])))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_known_exponent_is_found(exponent):
    rng = np.random.default_rng(0)
    raw = np.exp(rng.normal(scale=1.0, size=6000))
    numbers = rng.choice([1, 8], size=6000)
    std = np.where(numbers == 1, 0.1, 0.4) * raw**exponent
    calibration = Calibration.fit(raw, std[:, None] * rng.normal(size=(6000, 3)), np.full(1000, 6), numbers)
    assert calibration.exponent == pytest.approx(exponent, abs=0.051)
    usual = raw > calibration.floor
    assert calibration.std(raw, numbers)[usual] == pytest.approx(std[usual], rel=0.15)


def test_coverage_holds_for_heavy_tailed_errors_that_atoms_of_a_structure_share():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        n_atoms = rng.integers(1, 30, size=41)
        shared = np.repeat(rng.standard_t(2, size=41), n_atoms)  # the variance is infinite
        error = (shared + 0.1 * rng.normal(size=len(shared)))[:, None]
        valid = int(n_atoms[:40].sum())
        calibration = Calibration.fit(np.ones(valid), error[:valid], n_atoms[:40])
        radius = calibration.factor(0.8) * calibration.std(np.ones(len(error) - valid))
        covered.append(float((np.abs(error[valid:, 0]) <= radius).mean()))
    # 200 new structures: the standard error of their mean coverage is 0.028.
    assert 0.8 - 0.06 < np.mean(covered) < 0.8 + 1 / 41 + 0.06


def test_too_few_structures_for_a_coverage_give_no_interval():
    features, prediction = committee(9, 0)
    uncertainty = Uncertainty.fit(features, prediction)
    assert np.isfinite(uncertainty.forces_interval(features, 0.9)).all()  # 0.9 * (1 + 1/9) = 1
    assert np.isinf(uncertainty.forces_interval(features, 0.91)).all()
    with pytest.raises(ElmlffError, match="not between 0 and 1"):
        uncertainty.forces_interval(features, 90)


def test_a_rare_element_is_shrunk_towards_all_atoms():
    error = np.ones((101, 1))
    error[-1] = 10.0
    calibration = Calibration.fit(np.ones(101), error, np.ones(101, dtype=int), np.array([1] * 100 + [6]))
    overall = (100 * 1 + 100) / 101
    assert calibration.scale == pytest.approx(np.sqrt(overall))
    expected = np.sqrt((100 + PRIOR_ATOMS * overall) / (1 + PRIOR_ATOMS))
    assert calibration.element_scales[6] == pytest.approx(expected)
    assert calibration.std(np.ones(1), np.array([8])) == pytest.approx([calibration.scale])  # an element without data


def test_weighted_quantiles_against_repetition():
    rng = np.random.default_rng(0)
    values, counts = rng.normal(size=12), rng.integers(1, 5, size=12)
    repeated = np.sort(np.repeat(values, counts))
    levels = np.array([0.0, 0.1, 0.5, 0.77, 1.0])
    expected = repeated[np.maximum(np.ceil(levels * len(repeated)).astype(int) - 1, 0)]
    assert np.array_equal(weighted_quantiles(values, counts / counts.sum(), levels), expected)


def test_one_base_model_gives_a_constant_for_each_element():
    features, prediction = committee(200, 0)
    uncertainty = Uncertainty.fit(features.of_models(["a"]), prediction)
    std = uncertainty.forces_std(features.of_models(["a"]))
    assert uncertainty.kind == "constant"
    assert len(np.unique(std)) == 2
    with pytest.raises(ElmlffError, match="calibrated for a constant raw uncertainty"):
        uncertainty.forces_std(features)


class WithHead:
    """A meta-model with a learnt standard deviation of half the committee spread."""

    def forces_std(self, features: Features) -> np.ndarray | None:
        return committee_spread(features.forces) / 2


class WithoutHead(WithHead):
    def forces_std(self, features: Features) -> np.ndarray | None:
        return None


def test_a_learnt_standard_deviation_replaces_the_committee_spread():
    features, prediction = committee(200, 0)
    learnt = Uncertainty.fit(features, prediction, WithHead())
    plain = Uncertainty.fit(features, prediction, WithoutHead())
    assert (learnt.kind, plain.kind) == ("learnt", "committee")
    assert learnt.force.reference == pytest.approx(plain.force.reference / 2)
    assert np.allclose(learnt.forces_std(features, WithHead()), plain.forces_std(features))


def test_round_trip_through_a_file(tmp_path):
    features, prediction = committee(40, 0)
    uncertainty = Uncertainty.fit(features, prediction)
    write_record(tmp_path / "uncertainty.json", uncertainty.as_record())
    again = Uncertainty.from_record(read_record(tmp_path / "uncertainty.json", UncertaintyRecord))
    assert np.array_equal(again.forces_interval(features, 0.9), uncertainty.forces_interval(features, 0.9))
    assert np.array_equal(again.energy_std(features), uncertainty.energy_std(features))


def test_quality_of_errors_that_match_their_uncertainty():
    uncertainty = Uncertainty.fit(*committee(1500, 0))
    features, prediction = committee(1500, 1)
    quality = force_quality(uncertainty, features, prediction)
    for reliability in quality.reliability:
        assert reliability.observed == pytest.approx(reliability.predicted, rel=0.12)
    for coverage in quality.coverage:
        assert coverage.conformal == pytest.approx(coverage.stated, abs=0.03)
        assert coverage.normal == pytest.approx(coverage.stated, abs=0.03)
    std = uncertainty.forces_std(features)
    magnitude = np.linalg.norm(prediction.forces - features.reference_forces, axis=1)
    assert quality.spearman == pytest.approx(np.corrcoef(rankdata(std), rankdata(magnitude))[0, 1])
    assert energy_quality(uncertainty, features, prediction).n == 1500
    assert energy_quality(uncertainty, features, replace(prediction, energy=None)) is None
