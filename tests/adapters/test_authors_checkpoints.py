"""Checkpoints of the authors of the paper, compared with the ASE calculator of each backend and with the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.errors import ForceFieldError

ADAPTERS = {"nep": "nep", "painn": "painn", "sch1": "schnet", "sch2": "schnet", "sch3": "schnet"}


def checkpoint(shared: Path, name: str) -> Path:
    return shared / "models" / "methanol-cu100" / ("nep.txt" if name == "nep" else f"{name}.best_inference_model")


def own_calculator(path: Path, name: str) -> Any:
    """Return the calculator of the backend."""
    if name == "nep":
        from calorine.calculators import CPUNEP

        return CPUNEP(str(path))
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import ASENeighborList

    return SpkCalculator(
        str(path), neighbor_list=ASENeighborList(cutoff=5.0), energy_unit="eV", position_unit="Ang", stress_key="stress"
    )


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore:Model was saved without version information")
def test_predictions_are_those_of_the_own_calculator(
    name: str, shared: Path, methanol: Dataset, load: Callable[..., Any]
) -> None:
    structures = methanol.structures[::7]
    found = load(ADAPTERS[name], checkpoint(shared, name), name, trust=True).predict(structures)
    calculator = own_calculator(checkpoint(shared, name), name)
    for index, atoms in enumerate(structures):
        copy = atoms.copy()
        copy.calc = calculator
        assert found.energy[index] == pytest.approx(copy.get_potential_energy(), abs=2e-4)
        np.testing.assert_allclose(found.forces_of(index), copy.get_forces(), atol=2e-4)
        np.testing.assert_allclose(found.stress[index], copy.get_stress(), atol=2e-6)


# Force RMSE per frame, averaged over all 3,106 frames, eV/Å.
@pytest.mark.parametrize(
    ("name", "expected"), [("nep", 0.0599), ("painn", 0.0338), ("sch1", 0.1298), ("sch2", 0.1772), ("sch3", 0.1283)]
)
def test_errors_are_near_those_over_all_frames(
    name: str, expected: float, shared: Path, methanol: Dataset, load: Callable[..., Any]
) -> None:
    found = load(ADAPTERS[name], checkpoint(shared, name), name, trust=True).predict(methanol.structures)
    errors = [np.sqrt(np.mean((found.forces_of(i) - methanol.forces_of(i)) ** 2)) for i in range(len(methanol))]
    # Only one frame in 150 is used, so the mean has a statistical error.
    assert np.mean(errors) == pytest.approx(expected, abs=3 * np.std(errors) / np.sqrt(len(errors)))


def test_a_pickle_needs_trust(shared: Path, load: Callable[..., Any]) -> None:
    with pytest.raises(ForceFieldError, match=r"runs any code .* set trust = true under \[models\.mine\]"):
        load("painn", checkpoint(shared, "painn"), "mine")


def test_a_network_of_the_other_family_is_refused(shared: Path, load: Callable[..., Any]) -> None:
    with pytest.raises(ForceFieldError, match='holds a PaiNN; set adapter = "painn"'):
        load("schnet", checkpoint(shared, "painn"), trust=True)


def test_fingerprints_follow_bytes_and_settings(shared: Path, load: Callable[..., Any], tmp_path: Path) -> None:
    original = checkpoint(shared, "nep")
    copy = tmp_path / "copy.txt"
    copy.write_bytes(original.read_bytes())
    changed = tmp_path / "changed.txt"
    changed.write_text(original.read_text().replace("-4.3079462e-02", "-4.3079463e-02", 1))
    assert load("nep", copy).fingerprint == load("nep", original).fingerprint
    assert load("nep", changed).fingerprint != load("nep", original).fingerprint
    painn = checkpoint(shared, "painn")
    single, double = (load("painn", painn, trust=True, precision=p).fingerprint for p in ("float32", "float64"))
    assert single != double
