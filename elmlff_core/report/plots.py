"""Plots of a run: training and learning curves, residuals, errors by force, and calibration of uncertainties."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from elmlff_core.evaluation.errors_in_detail import DetailedErrors
from elmlff_core.evaluation.generations import COLUMNS, Generation, rows_of
from elmlff_core.evaluation.learning_curve import LearningCurve
from elmlff_core.files import read_numbers
from elmlff_core.report.figures import BLUE, GREY, INK, ORANGE, Plot, as_svg, new_figure
from elmlff_core.uncertainty.quality import UncertaintyQuality

MARKERS = "osv^D<>ph*"
N_BINS = 61  # odd, so that one bin is around zero
ELEMENT_COLUMNS = 3


def plain_numbers(*axes: Axis) -> None:
    """Label logarithmic axes with plain numbers; the number of labels depends on the range in decades."""
    for axis in axes:
        low, high = axis.get_view_interval()
        if 0 < low < high < 4 * low:
            axis.set_major_locator(MaxNLocator(5))
        else:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def training_curve(source: Path, levels: Mapping[str, float]) -> Plot:
    """Plot training and validation error over epochs, with horizontal lines for other models.

    Parameters
    ----------
    source : CSV file written by the training
    levels : name of a base model or baseline -> its validation error, eV/Å
    """
    rows = read_numbers(source, ("epoch", "train_rmse", "valid_rmse_per_frame"))
    epochs = [row["epoch"] for row in rows]
    figure = new_figure(6, 4)
    axes = figure.subplots()
    axes.plot(epochs, [row["train_rmse"] for row in rows], color=BLUE, label="training RMSE, during the epoch")
    axes.plot(epochs, [row["valid_rmse_per_frame"] for row in rows], color=ORANGE, label="validation RMSE per frame")
    for (name, level), line in zip(levels.items(), ("--", ":"), strict=False):
        axes.axhline(level, color=GREY, linestyle=line, linewidth=1, label=f"{name} on validation")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("force error (eV/Å)")
    plain_numbers(axes.yaxis)
    _legend(axes)
    columns = ("epoch", "training RMSE (eV/Å)", "validation RMSE per frame (eV/Å)")
    cells = [(int(row["epoch"]), row["train_rmse"], row["valid_rmse_per_frame"]) for row in rows]
    return Plot(as_svg(figure), columns, cells)


def learning_curve_plot(curves: Sequence[LearningCurve]) -> Plot:
    """Plot test and validation errors over the number of training structures."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for place, curve in enumerate(curves):
        colour, marker = (ORANGE, "o") if place else (BLUE, "s")
        sizes = [point.n_structures for point in curve.points]
        test, valid = [point.test for point in curve.points], [point.valid for point in curve.points]
        axes.plot(sizes, test, f"-{marker}", color=colour, label=f"{curve.name}, test")
        axes.plot(sizes, valid, f"--{marker}", color=colour, markerfacecolor="none", label=f"{curve.name}, validation")
    _over_sizes(axes, sizes)
    columns = ("model", "training structures", "fits", "test (eV/Å)", "validation (eV/Å)")
    rows = [(curve.name, p.n_structures, p.n_fits, p.test, p.valid) for curve in curves for p in curve.points]
    return Plot(as_svg(figure), columns, rows)


def generations_plot(generations: Sequence[Generation]) -> Plot:
    """Plot the test errors of base models, linear combination and stack over the training structures of each run."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    sizes = [one.n_train for one in generations]
    names = list(dict.fromkeys(name for one in generations for name in one.base_models))
    for name, marker in zip(names, itertools.cycle(MARKERS[2:]), strict=False):
        points = [(one.n_train, one.base_models[name]) for one in generations if name in one.base_models]
        axes.plot(*zip(*points, strict=True), f":{marker}", color=GREY, label=name)
    axes.plot(sizes, [one.linear for one in generations], "--s", color=BLUE, label="linear combination")
    axes.plot(sizes, [one.stack for one in generations], "-o", color=ORANGE, label="stack")
    _over_sizes(axes, sizes)
    return Plot(as_svg(figure), COLUMNS, rows_of(generations))


def _over_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """Finish a plot of errors over numbers of training structures."""
    axes.set(xscale="log", yscale="log", xlabel="number of training structures", ylabel="RMSE per frame (eV/Å)")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plain_numbers(axes.yaxis)
    _legend(axes)


def residuals_by_element(symbols: np.ndarray, errors: Mapping[str, np.ndarray], n_atoms: Mapping[str, int]) -> Plot:
    """Plot how the errors of force components are distributed for each element.

    Parameters
    ----------
    symbols : (n_rows,) chemical symbol of each atom
    errors : title -> (n_rows, 3), eV/Å; the last one is highlighted
    n_atoms : element -> number of atoms, in the order of the plots
    """
    n_columns = min(ELEMENT_COLUMNS, len(n_atoms))
    n_rows = -(-len(n_atoms) // n_columns)
    figure = new_figure(3.3 * n_columns + 0.5, 2.9 * n_rows + 0.3)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    rows: list[tuple[object, ...]] = []
    for axes, (symbol, count) in zip(panels, n_atoms.items(), strict=False):
        own = {title: error[symbols == symbol].ravel() for title, error in errors.items()}
        limit = max(float(np.quantile(np.abs(np.concatenate(list(own.values()))), 0.995)), 1e-6)
        edges = np.linspace(-limit, limit, N_BINS + 1)
        for place, (title, error) in enumerate(own.items()):
            share = np.histogram(error, edges)[0] / len(error)
            last = place == len(own) - 1
            colour, style = (ORANGE, "-") if last else ((BLUE, "-"), (GREY, "--"))[place % 2]
            axes.stairs(share * 100, edges, color=colour, linestyle=style, fill=False, label=title)
            middles = 0.5 * (edges[1:] + edges[:-1])
            rows += [(symbol, title, *pair) for pair in zip(middles.tolist(), share.tolist(), strict=True)]
        axes.set_title(f"{symbol}, {count:,} atoms", fontsize=10)
        axes.set_xlabel("error of force components (eV/Å)")
    for axes in panels[::n_columns]:
        axes.set_ylabel("share (%)")
    for axes in panels[len(n_atoms) :]:
        axes.set_axis_off()
    _legend(panels[0])
    return Plot(as_svg(figure), ("element", "model", "error (eV/Å), middle of the bin", "share"), rows)


def errors_by_force(errors: Sequence[DetailedErrors], stack: str) -> Plot:
    """Plot RMSE against the magnitude of the reference force for each prediction; `stack` is highlighted."""
    figure = new_figure(8, 4)
    axes = figure.subplots()
    others = [entry for entry in errors if entry.name != stack]
    opacities = np.linspace(0.85, 0.35, max(len(others), 1))
    rows: list[tuple[object, ...]] = []
    for place, entry in enumerate([*others, *(entry for entry in errors if entry.name == stack)]):
        middles = [0.5 * (force_bin.lower + force_bin.upper) for force_bin in entry.bins]
        rmse = [force_bin.error.rmse for force_bin in entry.bins]
        chosen = entry.name == stack
        style = {"color": ORANGE, "linewidth": 2.0} if chosen else {"color": INK, "alpha": opacities[place]}
        marker = "o" if chosen else MARKERS[place % len(MARKERS)]
        axes.plot(middles, rmse, **{"linewidth": 1.0, **style}, marker=marker, markersize=4, label=entry.name)
        rows += [(entry.name, one.lower, one.upper, one.error.n_atoms, one.error.rmse) for one in entry.bins]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("magnitude of the reference force, middle of the bin (eV/Å)")
    axes.set_ylabel("RMSE of the components (eV/Å)")
    plain_numbers(axes.xaxis, axes.yaxis)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return Plot(as_svg(figure), ("model", "force from (eV/Å)", "to (eV/Å)", "atoms", "RMSE (eV/Å)"), rows)


def calibration(quality: UncertaintyQuality, unit: str) -> Plot:
    """Plot observed against predicted errors in bins (left), and observed against stated coverage (right)."""
    figure = new_figure(8, 3.8)
    left, right = figure.subplots(1, 2)
    predicted = np.array([entry.predicted for entry in quality.reliability])
    observed = np.array([entry.observed for entry in quality.reliability])
    both = np.concatenate([predicted, observed])
    both = both[both > 0]
    if len(both):
        ends = np.array([both.min() / 1.3, both.max() * 1.3])
        left.plot(ends, ends, color=GREY, linewidth=0.8)
        left.set(xlim=ends, ylim=ends, xscale="log", yscale="log")
        plain_numbers(left.xaxis, left.yaxis)
    left.plot(predicted, observed, color=ORANGE, marker="o", markersize=5)
    left.set(xlabel=f"predicted standard deviation ({unit})", ylabel=f"observed RMSE ({unit})")
    left.set_aspect("equal")
    left.set_title("size of errors, bins of equal number", fontsize=10)
    stated = [entry.stated for entry in quality.coverage]
    right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    found = [(entry.stated, entry.conformal) for entry in quality.coverage if entry.conformal is not None]
    if found:
        right.plot(*zip(*found, strict=True), color=ORANGE, marker="o", markersize=5, label="conformal intervals")
    normal = [entry.normal for entry in quality.coverage]
    right.plot(stated, normal, color=BLUE, marker="s", markersize=4, linestyle="--", label="normal distribution")
    right.set(xlim=(0.4, 1), ylim=(0.4, 1), xlabel="stated coverage", ylabel="fraction of test errors inside")
    right.set_ylim(min(0.4, *normal, *(inside for _, inside in found)), 1)
    right.set_title("coverage", fontsize=10)
    _legend(right)
    rows: list[tuple[object, ...]]
    rows = [("size of errors", one.predicted, one.observed, None) for one in quality.reliability]
    rows += [("coverage", one.stated, one.conformal, one.normal) for one in quality.coverage]
    columns = ("part", "predicted or stated", "observed, or in the conformal interval", "in the normal interval")
    return Plot(as_svg(figure), columns, rows)


def _legend(axes: object) -> None:
    axes.legend(frameon=False, fontsize=8)  # type: ignore[attr-defined]
