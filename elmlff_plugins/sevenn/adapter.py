"""Adapter `sevenn`: pretrained SevenNet."""

from __future__ import annotations

from collections.abc import Iterator

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, Preset, hookimpl
from elmlff_plugins import references
from elmlff_plugins.environments import CHGNET_AND_SEVENNET
from elmlff_plugins.materials_project import ELEMENTS
from elmlff_plugins.sevenn.evaluation import ADAPTER, SevenNetForceField
from elmlff_plugins.sevenn.options import SevenNetOptions


@hookimpl
def elmlff_force_fields() -> Iterator[ForceFieldPlugin]:
    """The adapter `sevenn`."""
    yield ForceFieldPlugin(
        name=ADAPTER,
        summary="pretrained SevenNet, in batches",
        options=SevenNetOptions,
        load=SevenNetForceField,
        requires=("sevenn.util",),
        standalone="elmlff_plugins.sevenn.evaluation",
        runs=lambda request: (),  # the options name weights of the installed package, or of its authors, alone
        citation=(references.SEVENNET,),
        describes=True,
    )


@hookimpl
def elmlff_presets() -> Iterator[Preset]:
    """The models whose weights come with the wheel of SevenNet."""
    models = {
        "7net-0": ("SevenNet-0 (11 July 2024)", "PBE and PBE+U (MPtrj)", {}),
        "7net-l3i5": ("SevenNet-l3i5", "PBE and PBE+U (MPtrj)", {}),
        "7net-mf-0": ("SevenNet-MF-0", "PBE (MPtrj) of PBE and r2SCAN", {"modal": "PBE"}),
    }
    for order, (name, (summary, level, more)) in enumerate(models.items(), start=11):
        yield Preset(
            name=name,
            adapter=ADAPTER,
            summary=f"{summary}, universal",
            options={"model": name, **more},
            order=order,
            environment=CHGNET_AND_SEVENNET,
            elements=ELEMENTS,
            level_of_theory=level,
            licence="MIT",
            citation=(references.SEVENNET_MF,) if more else (),
        )
