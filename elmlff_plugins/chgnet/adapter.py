"""Adapter `chgnet`: pretrained CHGNet, with the weights of its wheel."""

from __future__ import annotations

from collections.abc import Iterator

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, Preset, hookimpl
from elmlff_plugins import references
from elmlff_plugins.chgnet.evaluation import ADAPTER, CHGNetForceField
from elmlff_plugins.chgnet.options import CHGNetOptions
from elmlff_plugins.environments import CHGNET_AND_SEVENNET
from elmlff_plugins.materials_project import ELEMENTS


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `chgnet`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="pretrained CHGNet, in batches",
        options=CHGNetOptions,
        load=CHGNetForceField,
        requires=("chgnet.model",),
        standalone="elmlff_plugins.chgnet.evaluation",
        runs=lambda request: (),  # the options name weights of the installed package alone
        citation=(references.CHGNET,),
        describes=True,
    )


@hookimpl
def elmlff_presets() -> Iterator[Preset]:
    """The CHGNet of the Materials Project."""
    yield Preset(
        name="chgnet",
        adapter=ADAPTER,
        summary="CHGNet 0.3.0, universal",
        options={"version": "0.3.0"},
        order=10,
        environment=CHGNET_AND_SEVENNET,
        elements=ELEMENTS,
        level_of_theory="PBE and PBE+U (MPtrj)",
        licence="BSD-3-Clause",
    )
