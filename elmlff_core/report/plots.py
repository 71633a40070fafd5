"""Plots of a run: parity of forces, learning curve, errors by force, and calibration of uncertainties."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from elmlff_core.evaluation.errors_in_detail import DetailedErrors
from elmlff_core.features.metrics import force_metrics
from elmlff_core.files import write_bytes
from elmlff_core.uncertainty.quality import UncertaintyQuality

BLUE, ORANGE, GREY = "#3366aa", "#dd7722", "#888888"
DPI = 150
MOST_POINTS = 100_000  # largest number of atoms in one parity plot
COLUMNS = 4  # parity plots side by side; more cannot be read on a page


def new_figure(width: float, height: float) -> Figure:
    """Return a figure without a window; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """Return the figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return buffer.getvalue()


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


def parity(reference: np.ndarray, predictions: Mapping[str, np.ndarray], n_atoms: np.ndarray, path: Path) -> None:
    """Plot predicted against reference force components and, below, the errors, with a column for each prediction.

    If there are more than `MOST_POINTS` atoms, only evenly spaced ones are drawn.

    Parameters
    ----------
    reference : (n_rows, 3), eV/Å
    predictions : title -> (n_rows, 3), eV/Å; the last one is highlighted
    n_atoms : (n_structures,) int, number of atoms of each structure
    path : path of the PNG
    """
    n_columns = min(COLUMNS, len(predictions))
    n_bands = -(-len(predictions) // n_columns)
    figure = new_figure(3.4 * n_columns, 5.6 * n_bands)
    axes = figure.subplots(
        2 * n_bands, n_columns, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [1.7, 1] * n_bands}
    )
    shown = slice(None, None, -(-len(reference) // MOST_POINTS) or 1)
    known = reference[shown].ravel()
    limit = 1.05 * np.abs(known).max() or 1.0  # labels may all be zero
    errors = np.concatenate([forces[shown].ravel() - known for forces in predictions.values()])
    error_limit = max(1.1 * np.quantile(np.abs(errors), 0.999), 1e-6)
    for place, (title, forces) in enumerate(predictions.items()):
        band, column = divmod(place, n_columns)
        top, bottom = axes[2 * band : 2 * band + 2, column]
        colour = ORANGE if place == len(predictions) - 1 else BLUE
        found = force_metrics(forces, reference, n_atoms)
        style = {"s": 2, "alpha": 0.25, "color": colour, "rasterized": True, "linewidths": 0}
        top.scatter(known, forces[shown].ravel(), **style)
        top.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=0.8)
        top.set_title(f"{title}\n{found.rmse_per_frame:.4f} eV/Å per frame", fontsize=10)
        top.set_ylim(-limit, limit)
        bottom.scatter(known, forces[shown].ravel() - known, **style)
        bottom.axhline(0, color=GREY, linewidth=0.8)
        bottom.set_ylim(-error_limit, error_limit)
        bottom.set_xlim(-limit, limit)
        bottom.set_xlabel("reference force (eV/Å)")
        bottom.tick_params(labelbottom=True)
        if column == 0:
            top.set_ylabel("predicted force (eV/Å)")
            bottom.set_ylabel("error (eV/Å)")
        else:
            top.tick_params(labelleft=False)
            bottom.tick_params(labelleft=False)
    for place in range(len(predictions), n_bands * n_columns):
        for row in range(2):
            axes[2 * (place // n_columns) + row, place % n_columns].set_axis_off()
    write_bytes(path, as_png(figure))


def learning_curve(source: Path, levels: Mapping[str, float], path: Path) -> None:
    """Plot training and validation error over epochs, with horizontal lines for other models.

    Parameters
    ----------
    source : CSV file written by the training
    levels : name of a base model or baseline -> its validation error, eV/Å
    path : path of the PNG
    """
    with source.open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
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
    axes.legend(frameon=False, fontsize=9)
    write_bytes(path, as_png(figure))


def errors_by_force(errors: Sequence[DetailedErrors], stack: str) -> Figure:
    """Plot RMSE against the magnitude of the reference force for each prediction; `stack` is highlighted."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    others = [entry for entry in errors if entry.name != stack]
    shades = np.linspace(0.25, 0.75, max(len(others), 1))
    markers = "osv^D<>ph*"
    for place, entry in enumerate([*others, *(entry for entry in errors if entry.name == stack)]):
        middles = [0.5 * (force_bin.lower + force_bin.upper) for force_bin in entry.bins]
        rmse = [force_bin.error.rmse for force_bin in entry.bins]
        chosen = entry.name == stack
        colour = ORANGE if chosen else str(shades[place])
        marker = "o" if chosen else markers[place % len(markers)]
        width = 2.0 if chosen else 1.0
        axes.plot(middles, rmse, color=colour, marker=marker, markersize=4, linewidth=width, label=entry.name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("magnitude of the reference force, middle of the bin (eV/Å)")
    axes.set_ylabel("RMSE of the components (eV/Å)")
    plain_numbers(axes.xaxis, axes.yaxis)
    axes.legend(frameon=False, fontsize=8)
    return figure


def calibration(quality: UncertaintyQuality, unit: str) -> Figure:
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
    right.legend(frameon=False, fontsize=9)
    return figure
