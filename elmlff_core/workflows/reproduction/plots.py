"""Plots of a reproduction: errors against published errors, and the energies of the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elmlff_core.report.figures import BLUE, GREY, ORANGE, Plot, as_svg, new_figure
from elmlff_core.report.plots import plain_numbers
from elmlff_core.workflows.reproduction.results import FRAME_TITLES, Reproduction

SPLIT_COLOURS = {"train": ORANGE, "test": BLUE}
BINS = 60


def published_plot(results: Reproduction) -> Plot:
    """Plot errors of meta-models against published errors of the same subsets, on training and unseen frames."""
    pairs = {
        method: [(value, entry.errors) for entry in results.sweep.of(method) if (value := results.published_for(entry))]
        for method in ("per-subset", "masked")
    }
    methods = {method: known for method, known in pairs.items() if known}
    figure = new_figure(4.2 * len(methods) + 0.4, 4.2)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, (method, known) in zip(panels, methods.items(), strict=True):
        for split, title in FRAME_TITLES.items():
            ours = [errors[split] for _, errors in known]
            axes.scatter([value for value, _ in known], ours, s=22, color=SPLIT_COLOURS[split], label=title, alpha=0.8)
        low, high = min(value for value, _ in known), max(value for value, _ in known)
        axes.plot([low, high], [low, high], color=GREY, linewidth=1, label="equal")
        axes.set(xscale="log", yscale="log", xlabel="published (eV/Å)", title=method)
        axes.margins(x=0.15, y=0.15)
        plain_numbers(axes.xaxis, axes.yaxis)
    panels[0].set_ylabel("this run (eV/Å)")
    panels[0].legend(frameon=False, fontsize=9)
    rows = [
        (method, value, *(errors[split] for split in FRAME_TITLES))
        for method, known in methods.items()
        for value, errors in known
    ]
    return Plot(as_svg(figure), ("method", "published (eV/Å)", *(f"{t} (eV/Å)" for t in FRAME_TITLES.values())), rows)


def energy_distributions(energies: Mapping[str, np.ndarray]) -> Plot:
    """Plot the energy distributions of training (with validation) and test structures, Figure 3."""
    known = np.concatenate([energies["train"], energies["valid"]])
    lowest = min(known.min(), energies["test"].min())
    highest = max(known.max(), energies["test"].max())
    edges = np.linspace(0.0, max(highest - lowest, 1e-6), BINS + 1)
    figure = new_figure(6.4, 3.8)
    axes = figure.subplots()
    for values, split, title in ((known, "train", "training and validation"), (energies["test"], "test", "test")):
        axes.hist(
            values - lowest, edges.tolist(), density=True, histtype="stepfilled", alpha=0.5, color=SPLIT_COLOURS[split],
            label=f"{title}, {len(values):,} frames",
        )  # fmt: skip
    axes.set_xlabel(f"energy above the lowest, {lowest:.2f} eV (eV)")
    axes.set_ylabel("density (1/eV)")
    axes.legend(frameon=False, fontsize=9)
    rows = [(split, energy) for split, values in energies.items() for energy in (values - lowest).tolist()]
    return Plot(as_svg(figure), ("split", "energy above the lowest (eV)"), rows)
