"""Figures: vector drawings in which text stays text, with the numbers that they show.

A drawing is written to files with fixed colours.  In a page its ink follows the reader's bright or dark scheme.
Matplotlib is imported by `new_figure` and `as_svg` alone, because it takes time.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1d2733"  # text and axes; the only colour that a page replaces
# These have a contrast of at least 3 with the bright and with the dark background of a page.
BLUE, ORANGE, GREEN, GREY = "#3d7cc9", "#dd7722", "#448844", "#858585"
SMALLEST = 0.7  # of the own width of a drawing, in a page
DPI = 150  # of the parts of a drawing that are pictures, such as clouds of many points

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "elmlff",  # the same drawing has the same bytes in every run
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
}


@dataclass(frozen=True)
class Plot:
    """A drawing and the numbers behind it.

    Attributes
    ----------
    svg : the drawing, one element ``svg``
    columns : titles of the numbers
    rows : the numbers, one entry for each column
    """

    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    @property
    def csv(self) -> str:
        """The numbers as CSV, with six digits."""
        return as_csv(self.columns, self.rows)


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table of numbers and words as CSV; numbers have six digits, and None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return a figure without a window; sizes are in inches."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def as_svg(figure: Figure) -> str:
    """Return the figure as an element ``svg`` with a transparent background."""
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a model may have a name with $
    file = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="svg", transparent=True, dpi=DPI, metadata={"Date": None})
    return _tidied(file.getvalue())


def _tidied(svg: str) -> str:
    """Return the element alone, without what would reach beyond it where it stands in a page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # A rule for every element would hold for the whole page.
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    # Matplotlib leaves out the fill of what is black, which is all text.
    svg = svg.replace("stroke: #000000", f"stroke: {INK}")
    svg = svg.replace("<svg ", f'<svg style="fill: {INK}; stroke-linejoin: round; stroke-linecap: butt" ', 1)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    return re.sub(r' d="([^"]*)"', lambda found: f' d="{_rounded(found[1])}"', svg)


def _rounded(path: str) -> str:
    """Return the coordinates of a path with two decimals."""
    return " ".join(re.sub(r"(\.\d\d)\d+", r"\1", path).split())


def for_page(svg: str, name: str, alternative: str) -> str:
    """Return a drawing for a page: its ink is the page's, and its identifiers begin with `name`.

    `alternative` is the text for readers who cannot see it.
    """
    from html import escape

    svg = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", svg).replace(INK, "var(--ink)")
    label = f'<svg role="img" aria-label="{escape(alternative)}" '
    return _with_widths(svg).replace("<svg ", label, 1)


def _with_widths(svg: str) -> str:
    """Return a drawing of Matplotlib that fills the page up to its own width, and shrinks so far as can be read."""
    width, height = (float(points) * 96 / 72 for points in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'width="{width:g}" height="{height:g}"', svg, count=1)
    limits = f"max-width: {width:g}px; min-width: {SMALLEST * width:.0f}px; "
    return svg.replace('<svg style="', f'<svg style="{limits}', 1)
