"""Run the conformance kit of elmlff on the adapter; `check_force_field` is a fixture of elmlff."""

import pytest
from ase.build import bulk

from elmlff_core.contracts.hookspecs import LoadRequest
from elmlff_core.plugins.registry import registry
from elmlff_core.testing import example_structures


def loaded(**options):
    plugin = registry().force_field("emt")
    return plugin.load(LoadRequest("mine", checkpoint=None, options=plugin.options(**options)))


@pytest.mark.parametrize("symbols", [["Cu"], ["Al", "Ni", "Pd"], ["Ag", "Au", "Pt"]])
def test_it_keeps_the_contract(check_force_field, symbols):
    check_force_field(loaded(), example_structures(symbols))


def test_lattice_constant_of_copper():
    # EMT was fitted to the lattice constant of copper, 3.61 Å: the energy is lower there than 2 % to either side.
    energies = loaded().predict([bulk("Cu", a=factor * 3.61) for factor in (0.98, 1.0, 1.02)]).energy
    assert energies.argmin() == 1
