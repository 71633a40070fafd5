"""Pictures of a sweep: heat map, errors by ensemble size, errors against cost, Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elmlff_core.report.heat_map import MOST_WITH_NUMBERS, Grid, errors_by_way
from elmlff_core.report.plots import BLUE, GREY, ORANGE, new_figure, plain_numbers
from elmlff_core.workflows.sweep.results import Sweep, WaySummary
from elmlff_core.workflows.sweep.shapley import ShapleyValue

GREEN = "#448844"
PART_TITLES = {"valid": "validation", "test": "test"}


def colour_of(way: str) -> str:
    """The same in every picture."""
    return {"each": ORANGE, "amortised": GREEN, "linear": BLUE}[way]


def heat_maps(sweep: Sweep) -> Figure:
    """Errors of all subsets on validation (top) and test structures, a column for each way."""
    grid, errors = Grid.of(sweep.models), errors_by_way(sweep)
    side = 1.1 + 0.2 * max(len(grid.left), len(grid.top)) + min(3.2, 0.75 * len(grid.columns))
    figure = new_figure(side * len(sweep.ways) + 0.6, 2 * (1.0 + 0.2 * len(grid.top) + min(3.2, 0.5 * len(grid.rows))))
    axes = figure.subplots(2, len(sweep.ways), squeeze=False)
    for row, part in enumerate(PART_TITLES):
        values = np.full((len(sweep.ways), len(grid.rows), len(grid.columns)), np.nan)
        for i, j, subset in grid.cells():
            for place, way in enumerate(sweep.ways):
                if subset and way in errors.get(subset, {}):
                    values[place, i, j] = errors[subset][way][part]
        # One scale for all ways, so that they can be compared.
        norm = LogNorm(np.nanmin(values), max(np.nanmax(values), np.nanmin(values) * 1.001))
        for place, way in enumerate(sweep.ways):
            image = _heat_map(axes[row, place], grid, values[place], norm)
            axes[row, place].set_xlabel(f"{way}, {PART_TITLES[part]}", fontsize=10)
        bar = figure.colorbar(image, ax=axes[row].tolist(), label="RMSE per frame (eV/Å)", shrink=0.8)
        plain_numbers(bar.ax.yaxis)
    return figure


def _heat_map(axes: Axes, grid: Grid, values: np.ndarray, norm: LogNorm) -> Any:
    image = axes.imshow(values, norm=norm, cmap="viridis_r", aspect="auto")
    axes.set_facecolor("#e9edf0")
    if max(values.shape) <= MOST_WITH_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                ink = "white" if norm(value) > 0.5 else "black"
                axes.text(j, i, f"{value:.4f}", ha="center", va="center", fontsize=7, color=ink)
    names = ["+".join(subset) or "–" for subset in grid.rows]
    axes.set_yticks(range(len(names)), names, fontsize=max(4.5, 8 - 0.2 * len(names)))
    names = ["+".join(subset) or "–" for subset in grid.columns]
    size = max(4.5, 8 - 0.2 * len(names))
    axes.set_xticks(range(len(names)), names, fontsize=size, rotation=90 if len(names) > 4 else 0)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return image


def size_curves(summaries: Sequence[WaySummary]) -> Figure:
    """Errors by number of bases: the best on validation, and the mean; its minimum is set off."""
    figure = new_figure(4.0 * len(summaries) + 0.6, 3.8)
    panels = figure.subplots(1, len(summaries), squeeze=False, sharey=True)[0]
    for axes, found in zip(panels, summaries, strict=True):
        sizes = [entry.size for entry in found.sizes]
        colour = colour_of(found.way)
        axes.plot(sizes, [entry.valid for entry in found.sizes], "--o", color=colour, label="best, on validation")
        axes.plot(sizes, [entry.test for entry in found.sizes], "-o", color=colour, label="the same, on test")
        axes.plot(sizes, [entry.mean_test for entry in found.sizes], ":", color=GREY, label="mean of the size, on test")
        best = found.recommended
        axes.plot([len(best.subset)], [best.valid], "*", color="black", markersize=13, label="lowest on validation")
        axes.set_title(found.way, fontsize=10)
        axes.set_xlabel("number of bases")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain_numbers(axes.yaxis)
    panels[0].set_ylabel("RMSE per frame (eV/Å)")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def cost_plot(sweep: Sweep, summaries: Sequence[WaySummary]) -> Figure:
    """Errors on validation against what the bases cost, and the front, numbered from its cheap end."""
    figure = new_figure(4.2 * len(summaries) + 0.6, 4.0)
    panels = figure.subplots(1, len(summaries), squeeze=False, sharey=True)[0]
    for axes, found in zip(panels, summaries, strict=True):
        entries = sweep.of(found.way)
        costs = [1000 * sweep.cost(entry.subset) for entry in entries]
        axes.scatter(costs, [entry.errors["valid"] for entry in entries], s=9, color=GREY, alpha=0.6, linewidths=0)
        front = found.pareto
        points = [1000 * choice.cost for choice in front], [choice.valid for choice in front]
        axes.plot(*points, "-o", color=colour_of(found.way), markersize=5, drawstyle="steps-post")
        for number, choice in enumerate(front, start=1):  # names would cover each other: they stand in a table
            # Above and below in turn, as neighbours on a front may be close.
            offset, align = (4, "bottom") if number % 2 else (-4, "top")
            axes.annotate(
                str(number), (1000 * choice.cost, choice.valid), (2, offset), fontsize=8,
                textcoords="offset points", va=align,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="time of the bases (ms per structure)")
        axes.margins(x=0.08, y=0.08)
        axes.set_title(found.way, fontsize=10)
        plain_numbers(axes.xaxis, axes.yaxis)
    panels[0].set_ylabel("RMSE per frame on validation (eV/Å)")
    return figure


def shapley_bars(values: Mapping[str, Mapping[str, ShapleyValue]]) -> Figure:
    """Shapley values on test structures by way: in all, and of joining others alone."""
    models = list(next(iter(values.values())))
    figure = new_figure(9, 1.2 + 0.28 * len(models) * max(1.2, len(values)))
    left, right = figure.subplots(1, 2, sharey=True)
    height = 0.8 / len(values)
    for place, (way, found) in enumerate(values.items()):
        at = np.arange(len(models)) + (place - (len(values) - 1) / 2) * height
        style = {"height": 0.9 * height, "color": colour_of(way), "label": way}
        left.barh(at, [found[name].value for name in models], **style)
        right.barh(at, [found[name].joining for name in models], **style)
    left.set_yticks(range(len(models)), models)
    left.invert_yaxis()
    for axes, title in ((left, "Shapley value"), (right, "of which: joining others")):
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("decrease of the error (eV/Å)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    if len(values) > 1:
        right.legend(frameon=False, fontsize=9)
    return figure
