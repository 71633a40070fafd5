"""Parity plots: predicted against reference values and, below them, the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from elmlff_core.report.figures import BLUE, GREY, ORANGE, Plot, as_svg, new_figure

COLUMNS = 4  # plots side by side; more cannot be read on a page
MOST_POINTS = 90_000  # of one plot
MOST_VECTORS = 300  # up to this number of points they are no picture inside the drawing
FEW_POINTS = 3_000  # these are drawn larger


@dataclass(frozen=True)
class Values:
    """Reference values of one quantity, and where each belongs.

    Attributes
    ----------
    quantity : its name, ``force``
    unit : ``eV/Å``
    reference : (n,) float64
    places : title of a column of the data -> (n,), for example ``structure`` -> index of the structure
    """

    quantity: str
    unit: str
    reference: np.ndarray
    places: Mapping[str, np.ndarray | Sequence[str]]


def parity(
    values: Values, predictions: Mapping[str, np.ndarray], subtitles: Mapping[str, str], highlighted: str
) -> Plot:
    """Plot predictions and errors against reference values, with a column of plots for each prediction.

    If there are more than `MOST_POINTS`, only evenly spaced ones are drawn.

    Parameters
    ----------
    values : the reference
    predictions : title -> (n,) float64
    subtitles : title -> its error in words
    highlighted : title of the prediction in another colour
    """
    n_columns = min(COLUMNS, len(predictions))
    n_bands = -(-len(predictions) // n_columns)
    figure = new_figure(max(3.4 * n_columns, 3.9), 5.6 * n_bands)
    axes = figure.subplots(
        2 * n_bands, n_columns, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [1.7, 1] * n_bands}
    )
    shown = slice(None, None, -(-len(values.reference) // MOST_POINTS) or 1)
    known = values.reference[shown]
    errors = {title: predicted[shown] - known for title, predicted in predictions.items()}
    limits, error_limit = _limits(known, errors), _error_limit(errors)
    few, rasterized = len(known) <= FEW_POINTS, len(known) > MOST_VECTORS
    for place, (title, error) in enumerate(errors.items()):
        band, column = divmod(place, n_columns)
        top, bottom = axes[2 * band : 2 * band + 2, column]
        colour = ORANGE if title == highlighted else BLUE
        style = {"s": 9 if few else 3, "alpha": 0.7 if few else 0.3, "color": colour, "linewidths": 0}
        top.scatter(known, known + error, rasterized=rasterized, **style)
        top.plot(limits, limits, color=GREY, linewidth=0.8)
        top.set_title(f"{title}\n{subtitles[title]}", fontsize=10)
        top.set_ylim(limits)
        bottom.scatter(known, error, rasterized=rasterized, **style)
        bottom.axhline(0, color=GREY, linewidth=0.8)
        bottom.set(xlim=limits, ylim=(-error_limit, error_limit))
        bottom.set_xlabel(f"reference {values.quantity} ({values.unit})")
        bottom.tick_params(labelbottom=True)
        if column == 0:
            top.set_ylabel(f"predicted {values.quantity} ({values.unit})")
            bottom.set_ylabel(f"error ({values.unit})")
        else:
            top.tick_params(labelleft=False)
            bottom.tick_params(labelleft=False)
    for place in range(len(predictions), n_bands * n_columns):
        for row in range(2):
            axes[2 * (place // n_columns) + row, place % n_columns].set_axis_off()
    columns = [*values.places, f"reference ({values.unit})", *(f"{title} ({values.unit})" for title in predictions)]
    arrays = [*(place[shown] for place in values.places.values()), known, *(known + error for error in errors.values())]
    return Plot(as_svg(figure), columns, list(zip(*(np.asarray(array).tolist() for array in arrays), strict=True)))


def _limits(known: np.ndarray, errors: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return limits for the reference values and nearly all predictions."""
    ends = [np.quantile(known + error, (0.001, 0.999)) for error in errors.values()]
    low, high = (float(end) for end in (np.min([known.min(), *np.ravel(ends)]), np.max([known.max(), *np.ravel(ends)])))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _error_limit(errors: Mapping[str, np.ndarray]) -> float:
    """Return a limit within which nearly all errors are: single outliers do not decide on the scale."""
    return max(1.1 * float(np.quantile(np.abs(np.concatenate(list(errors.values()))), 0.999)), 1e-6)
