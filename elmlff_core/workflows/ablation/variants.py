"""Variants of `gat` without residuals, and without the last layers too: Table 3 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elmlff_core.meta.options import GATOptions
from elmlff_core.settings.reading import validated

MOST_LAYERS_LESS = 5


@dataclass(frozen=True)
class Variant:
    """A variant of `gat`.

    Attributes
    ----------
    name : name of its folder
    title : title in the table
    options : options of `gat`
    """

    name: str
    title: str
    options: dict[str, Any]


def gat_variants(given: Mapping[str, Any]) -> list[Variant]:
    """Return `gat` with the `given` options, without residuals, and then without its last one to five layers too.

    The remaining layers do not change: only layers that average their heads in the whole network do so in a variant.
    """
    options = validated(GATOptions, given, "the options of meta-model 'gat'")
    variants = [
        Variant("full", "gat", dict(given)),
        Variant("no-residuals", "without residuals", {**given, "residual": False}),
    ]
    for n_less in range(1, min(MOST_LAYERS_LESS, len(options.channels) - 1) + 1):
        less = {
            "channels": list(options.channels[:-n_less]),
            "averaged_layers": max(0, options.averaged_layers - n_less),
        }
        layers = "layer" if n_less == 1 else "layers"
        title = f"without residuals and the last {'' if n_less == 1 else f'{n_less} '}{layers}"
        variants.append(Variant(f"no-residuals-minus-{n_less}", title, {**given, "residual": False, **less}))
    return variants
