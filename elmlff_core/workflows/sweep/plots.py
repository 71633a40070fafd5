"""Plots of a sweep: errors by number of base models, errors against cost, and Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from elmlff_core.report.figures import BLUE, GREEN, GREY, INK, ORANGE, Plot, as_svg, new_figure
from elmlff_core.report.plots import plain_numbers
from elmlff_core.workflows.sweep.results import MethodResults, Sweep
from elmlff_core.workflows.sweep.shapley import ShapleyValue


def colour_of(method: str) -> str:
    """Return the colour of a method, the same in all plots."""
    return {"per-subset": ORANGE, "masked": GREEN, "least-squares": BLUE}[method]


def size_curves(results: Sequence[MethodResults]) -> Plot:
    """Plot the lowest and the mean error for each number of base models; the recommended subset is marked."""
    figure = new_figure(4.0 * len(results) + 0.6, 3.8)
    panels = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axes, found in zip(panels, results, strict=True):
        sizes = [entry.size for entry in found.sizes]
        colour = colour_of(found.method)
        axes.plot(sizes, [entry.valid for entry in found.sizes], "--o", color=colour, label="best: validation error")
        axes.plot(sizes, [entry.test for entry in found.sizes], "-o", color=colour, label="best: test error")
        axes.plot(sizes, [entry.mean_test for entry in found.sizes], ":", color=GREY, label="mean test error")
        best = found.recommended
        axes.plot([len(best.subset)], [best.valid], "*", color=INK, markersize=13, label="lowest validation error")
        axes.set_title(found.method, fontsize=10)
        axes.set_xlabel("number of base models")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain_numbers(axes.yaxis)
    panels[0].set_ylabel("RMSE per frame (eV/Å)")
    panels[0].legend(frameon=False, fontsize=8)
    rows = [
        (found.method, one.size, one.n_subsets, "+".join(one.best), one.valid, one.test, one.mean_valid, one.mean_test)
        for found in results
        for one in found.sizes
    ]
    head = ("method", "base models", "subsets", "best", "its validation", "its test", "mean validation", "mean test")
    return Plot(as_svg(figure), head, rows)


def cost_plot(sweep: Sweep, results: Sequence[MethodResults]) -> Plot:
    """Plot validation errors against the cost of the base models, with the numbered Pareto front, cheap ones first."""
    figure = new_figure(4.2 * len(results) + 0.6, 4.0)
    panels = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    for axes, found in zip(panels, results, strict=True):
        entries = sweep.of(found.method)
        costs = [1000 * sweep.cost(entry.subset) for entry in entries]
        axes.scatter(costs, [entry.errors["valid"] for entry in entries], s=9, color=GREY, alpha=0.6, linewidths=0)
        front = found.pareto
        points = [1000 * choice.cost for choice in front], [choice.valid for choice in front]
        axes.plot(*points, "-o", color=colour_of(found.method), markersize=5, drawstyle="steps-post")
        for number, choice in enumerate(front, start=1):  # names would overlap: they are in a table
            # Alternately above and below, because neighbours on a front may be close.
            offset, align = (4, "bottom") if number % 2 else (-4, "top")
            axes.annotate(
                str(number), (1000 * choice.cost, choice.valid), (2, offset), fontsize=8,
                textcoords="offset points", va=align,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="computing time of the base models (ms per structure)")
        axes.margins(x=0.08, y=0.08)
        axes.set_title(found.method, fontsize=10)
        plain_numbers(axes.xaxis, axes.yaxis)
    panels[0].set_ylabel("validation RMSE per frame (eV/Å)")
    rows = [
        (entry.method, "+".join(entry.subset), 1000 * sweep.cost(entry.subset), entry.errors["valid"])
        for entry in sweep.entries
    ]
    return Plot(as_svg(figure), ("method", "base models", "ms per structure", "validation (eV/Å)"), rows)


def shapley_bars(values: Mapping[str, Mapping[str, ShapleyValue]]) -> Plot:
    """Plot Shapley values on test structures by method: the total, and the contribution of joining others."""
    models = list(next(iter(values.values())))
    figure = new_figure(9, 1.2 + 0.28 * len(models) * max(1.2, len(values)))
    left, right = figure.subplots(1, 2, sharey=True)
    height = 0.8 / len(values)
    for place, (method, found) in enumerate(values.items()):
        at = np.arange(len(models)) + (place - (len(values) - 1) / 2) * height
        style = {"height": 0.9 * height, "color": colour_of(method), "label": method}
        left.barh(at, [found[name].value for name in models], **style)
        right.barh(at, [found[name].joining for name in models], **style)
    left.set_yticks(range(len(models)), models)
    left.invert_yaxis()
    for axes, title in ((left, "Shapley value"), (right, "contribution of joining others")):
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("decrease of the error (eV/Å)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    if len(values) > 1:
        right.legend(frameon=False, fontsize=9)
    rows = [
        (method, name, found[name].value, found[name].joining) for method, found in values.items() for name in models
    ]
    return Plot(as_svg(figure), ("method", "base model", "Shapley value (eV/Å)", "joining others (eV/Å)"), rows)
