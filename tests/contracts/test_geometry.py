"""Positions and cells that native code could not take are refused, with structure and atom."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.base_models.named import named_model
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.contracts.structures import check_geometry
from elmlff_core.errors import DataError
from elmlff_core.settings.config import ModelConfig


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 1e6])
def test_an_atom_out_of_this_world_is_named(value: float) -> None:
    bad = molecule("CH4")
    bad.positions[3, 1] = value
    with pytest.raises(DataError, match="structure 8: atom 3 is at"):
        check_geometry([molecule("H2O"), bad], first=7)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_a_cell_out_of_this_world_is_named(value: float) -> None:
    bad = bulk("Cu", cubic=True)
    bad.cell[2, 2] = value
    with pytest.raises(DataError, match="structure 0 has the cell"):
        check_geometry([bad])


def test_sane_structures_pass_wherever_they_are() -> None:
    far = molecule("CH4")
    far.positions += 1e7
    check_geometry([far, bulk("Cu") * (20, 1, 1), Atoms(), Atoms("H", positions=[[1e9, 0, 0]])])


def test_an_exploded_structure_reaches_no_base_model() -> None:
    options = {"calculator": "ase.calculators.lj:LennardJones"}
    model = named_model("lj", ModelConfig(adapter="ase", options=options))
    bad = molecule("CH4")
    bad.positions[0] = np.nan
    with pytest.raises(DataError, match="structure 4: atom 0"):
        predict_checked(model, [bad], first=4)
    assert "force_field" not in model.__dict__  # it was not even loaded
