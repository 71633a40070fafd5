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


PERIODS = {  # cell -> shortest distance between images, Å, by hand
    "short": ([[0.3, 0, 0], [0, 9, 0], [0, 0, 9]], True, "0.3"),
    "flat": ([[4, 0, 0], [0, 4, 0], [4, 4, 0]], True, "0"),
    "skewed": ([[7, 0, 0], [7, 0.25, 0], [0, 0, 8]], True, "0.25"),
    "skewed slab": ([[7, 0, 0], [7, 0.25, 0], [0, 0, 0]], (True, True, False), "0.25"),
    "no vector": ([[7, 0, 0], [0, 0, 0], [0, 0, 0]], (True, True, False), "0"),
}


@pytest.mark.parametrize("name", PERIODS)
def test_an_atom_on_its_own_image_is_said(name: str) -> None:
    cell, pbc, period = PERIODS[name]
    bad = Atoms("H", cell=np.array(cell, float), pbc=pbc)
    with pytest.raises(DataError, match=rf"structure 3 of x has .* an atom are {period}\d* Å apart, less"):
        check_geometry([bad], first=3, source="x")


def test_cells_that_are_only_skewed_or_not_periodic_pass() -> None:
    skewed = bulk("Cu")
    skewed.set_cell(np.array([[1, 0, 0], [90, 1, 0], [-70, 50, 1]]) @ skewed.cell.array)  # the same lattice
    chain = Atoms("H", cell=[[3, 0, 0], [0, 0, 0], [0, 0, 0]], pbc=(True, False, False))
    check_geometry([skewed, chain, Atoms("H", cell=[0.1, 0.1, 0.1], pbc=False)])


def test_an_exploded_structure_reaches_no_base_model() -> None:
    options = {"calculator": "ase.calculators.lj:LennardJones"}
    model = named_model("lj", ModelConfig(adapter="ase", options=options))
    bad = molecule("CH4")
    bad.positions[0] = np.nan
    with pytest.raises(DataError, match="structure 4: atom 0"):
        predict_checked(model, [bad], first=4)
    assert "force_field" not in model.__dict__  # it was not even loaded
