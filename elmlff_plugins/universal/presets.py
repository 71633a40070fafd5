"""Presets that the adapter `ase` runs: semi-empirical methods, and universal networks with weights to download."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ase.data import chemical_symbols

from elmlff_core.contracts.hookspecs import Preset, hookimpl
from elmlff_plugins import references
from elmlff_plugins.environments import MACE, MATTERSIM, ORB, TBLITE, UPET
from elmlff_plugins.materials_project import ELEMENTS

CALCULATORS = "elmlff_plugins.universal.calculators"
MACE_OFF_ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
XTB_ELEMENTS = tuple(chemical_symbols[1:87])


def options(calculator: str, elements: tuple[str, ...], **arguments: Any) -> Mapping[str, Any]:
    """Return the options of the adapter `ase` for one of the calculators."""
    found = {"calculator": calculator, "arguments": arguments, "elements": list(elements) or None}
    if calculator.startswith(f"{CALCULATORS}:"):
        found["checkpoint_argument"] = "weights"  # a checkpoint in the settings replaces the download
    return found


@hookimpl
def elmlff_presets() -> Iterator[Preset]:
    """Semi-empirical methods and universal networks."""
    for order, (name, method, paper) in enumerate(
        (("gfn1-xtb", "GFN1-xTB", references.GFN1_XTB), ("gfn2-xtb", "GFN2-xTB", references.GFN2_XTB)), start=20
    ):
        yield Preset(
            name=name,
            adapter="ase",
            summary=f"{method}, semi-empirical",
            options=options("tblite.ase:TBLite", XTB_ELEMENTS, method=method, verbosity=0),
            order=order,
            citation=(paper, references.TBLITE),
            environment=TBLITE,
            elements=XTB_ELEMENTS,
            level_of_theory=method,
            licence="LGPL-3.0-or-later",
        )
    yield Preset(
        name="mace-mp-0",
        adapter="ase",
        summary="MACE-MP-0 medium, universal",
        options=options(f"{CALCULATORS}:mace_mp", ELEMENTS, model="medium"),
        order=30,
        citation=(references.MACE, references.MACE_MP),
        environment=MACE,
        elements=ELEMENTS,
        level_of_theory="PBE and PBE+U (MPtrj)",
        licence="MIT",
        download="weights, 45 MB",
    )
    yield Preset(
        name="mace-off23",
        adapter="ase",
        summary="MACE-OFF23 medium, organic molecules",
        options=options(f"{CALCULATORS}:mace_off", MACE_OFF_ELEMENTS, model="medium"),
        order=31,
        citation=(references.MACE, references.MACE_OFF),
        environment=MACE,
        elements=MACE_OFF_ELEMENTS,
        level_of_theory="ωB97M-D3(BJ)/def2-TZVPPD (SPICE)",
        licence="ASL (academic)",
        download="weights",
    )
    yield Preset(
        name="orb-v3",
        adapter="ase",
        summary="Orb v3 conservative, unlimited neighbours, universal",
        options=options(f"{CALCULATORS}:orb_v3", ELEMENTS, model="conservative-inf-omat"),
        order=32,
        citation=(references.ORB_V3,),
        environment=ORB,
        elements=ELEMENTS,
        level_of_theory="PBE and PBE+U (OMat24)",
        licence="Apache-2.0",
        download="weights",
    )
    yield Preset(
        name="mattersim-1m",
        adapter="ase",
        summary="MatterSim 1M, universal",
        options=options(f"{CALCULATORS}:mattersim", (), model="MatterSim-v1.0.0-1M"),
        order=33,
        citation=(references.MATTERSIM,),
        environment=MATTERSIM,
        level_of_theory="PBE and PBE+U (0 to 5,000 K, to 1,000 GPa)",
        licence="MIT",
        download="weights",
    )
    yield Preset(
        name="upet",
        adapter="ase",
        summary="PET-MAD small 1.6.0, universal",
        options=options(f"{CALCULATORS}:upet", (), model="pet-mad-s", version="1.6.0"),
        order=34,
        citation=(references.PET_MAD,),
        environment=UPET,
        level_of_theory="r2SCAN",
        licence="BSD-3-Clause",
        download="weights",
    )
    yield Preset(
        name="dpa4-mini",
        adapter="ase",
        summary="DPA4 mini of DeePMD-kit, universal",
        options=options(f"{CALCULATORS}:dpa", (), model="DPA4-Mini-OMat24-v20260805"),
        order=35,
        citation=(references.DEEPMD_KIT, references.DPA3),
        level_of_theory="PBE and PBE+U (OMat24)",
        licence="see DeePMD-kit",
        download="weights",
    )
