"""Plots of a run: parity of forces, and the learning curve."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from elmlff_core.training.metrics import force_metrics

BLUE, ORANGE, GREY = "#3366aa", "#dd7722", "#888888"


def parity(reference: np.ndarray, predictions: Mapping[str, np.ndarray], n_atoms: np.ndarray, path: Path) -> None:
    """Predicted against reference force components, and below them the errors: one column per prediction.

    Parameters
    ----------
    reference : (n_rows, 3), eV/Å
    predictions : title -> (n_rows, 3), eV/Å
    n_atoms : (n_structures,)
    path : of the PNG
    """
    figure = Figure(figsize=(3.4 * len(predictions), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        2, len(predictions), squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": [1.7, 1]}
    )
    limit = 1.05 * np.abs(reference).max()
    errors = np.concatenate([(forces - reference).ravel() for forces in predictions.values()])
    spread = max(1.1 * np.quantile(np.abs(errors), 0.999), 1e-6)
    for column, (title, forces) in enumerate(predictions.items()):
        top, bottom = axes[:, column]
        colour = ORANGE if column == len(predictions) - 1 else BLUE
        found = force_metrics(forces, reference, n_atoms)
        style = {"s": 2, "alpha": 0.25, "color": colour, "rasterized": True, "linewidths": 0}
        top.scatter(reference.ravel(), forces.ravel(), **style)
        top.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=0.8)
        top.set_title(f"{title}\n{found.rmse_per_frame:.4f} eV/Å per frame", fontsize=10)
        top.set_ylim(-limit, limit)
        bottom.scatter(reference.ravel(), (forces - reference).ravel(), **style)
        bottom.axhline(0, color=GREY, linewidth=0.8)
        bottom.set_ylim(-spread, spread)
        bottom.set_xlim(-limit, limit)
        bottom.set_xlabel("reference force (eV/Å)")
    axes[0, 0].set_ylabel("predicted force (eV/Å)")
    axes[1, 0].set_ylabel("error (eV/Å)")
    figure.savefig(path, dpi=150)


def learning_curve(source: Path, levels: Mapping[str, float], path: Path) -> None:
    """Training and validation error over epochs, with horizontal lines for what the stack has to beat.

    Parameters
    ----------
    source : the CSV that the training wrote
    levels : name -> validation error of a base or control, eV/Å
    path : of the PNG
    """
    with source.open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(epochs, [row["train_rmse"] for row in rows], color=BLUE, label="training RMSE, during the epoch")
    axes.plot(epochs, [row["valid_rmse_per_frame"] for row in rows], color=ORANGE, label="validation RMSE per frame")
    for (name, level), line in zip(levels.items(), ("--", ":"), strict=False):
        axes.axhline(level, color=GREY, linestyle=line, linewidth=1, label=f"{name} on validation")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("force error (eV/Å)")
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)
