"""Heat map of all subsets of the base models, after Fig. 2 of the paper.

Rows are subsets of the first half of the base models, columns are subsets of the other half.  Each cell is the union of
its row and its column; dots mark the base models of each row and column.  The map is drawn as SVG, for files and for
pages.  In a page, a script lets the reader choose the method and the split, and describes the cell under the pointer.
Without scripts, the first method and split are shown.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from elmlff_core.features.metrics import SPLIT_TITLES
from elmlff_core.report.figures import INK
from elmlff_core.report.page import Data, Drawing

Subset = tuple[str, ...]
SHOWN_SPLITS = {split: SPLIT_TITLES[split] for split in ("valid", "test", "train")}
N_COLOURS = 64
NO_VALUE, NO_DOT = "#e3e8ec", "#d0d7de"
# In a page these colours follow the reader's bright or dark scheme.
IN_PAGES = {INK: "var(--ink)", NO_VALUE: "var(--empty)", NO_DOT: "var(--faint)"}
INK_ON_BRIGHT, INK_ON_DARK = "#111", "#fff"  # on coloured cells, in every scheme
CELL, SMALL_CELL, DOT = 58, 26, 15  # pixels: cells with and without numbers, and dots of base models
MOST_WITH_NUMBERS = 8  # rows or columns; with more, numbers cannot be read


@dataclass(frozen=True)
class SubsetMap:
    """The data of a heat map.

    Attributes
    ----------
    models : names of the base models
    methods : names of the methods, in the order of the selection box
    errors : subset -> method -> split -> force RMSE per frame, eV/Å, including the empty subset
    costs : base model -> seconds per structure
    """

    models: Sequence[str]
    methods: Sequence[str]
    errors: Mapping[Subset, Mapping[str, Mapping[str, float]]]
    costs: Mapping[str, float]

    @property
    def grid(self) -> Grid:
        """The rows and columns."""
        return Grid.of(self.models)

    @property
    def cells(self) -> list[dict[str, Any]]:
        """The data of each cell, row by row."""
        return [
            {
                "subset": "+".join(subset) or "no base model: zero forces",
                # Zero forces have a much larger error: on the same colour scale all other cells would look alike.
                "scaled": bool(subset),
                "errors": self.errors.get(subset, {}),
                "cost": sum(self.costs[name] for name in subset),
            }
            for _, _, subset in self.grid.cells()
        ]


@dataclass(frozen=True)
class Grid:
    """Rows and columns of a heat map.

    Attributes
    ----------
    left, top : base models of the rows and of the columns
    rows, columns : subsets of `left` and `top`, the empty subset first
    """

    left: tuple[str, ...]
    top: tuple[str, ...]
    rows: list[Subset]
    columns: list[Subset]

    @classmethod
    def of(cls, models: Sequence[str]) -> Grid:
        """Make rows from the first half of `models` (the smaller one for odd numbers), columns from the others."""
        cut = len(models) // 2
        left, top = tuple(models[:cut]), tuple(models[cut:])
        return cls(left, top, list(_with_empty(left)), list(_with_empty(top)))

    def cells(self) -> Iterator[tuple[int, int, Subset]]:
        """Yield row, column and subset of every cell."""
        for (row, left), (column, top) in itertools.product(enumerate(self.rows), enumerate(self.columns)):
            yield row, column, left + top


def _with_empty(models: tuple[str, ...]) -> Iterator[Subset]:
    return itertools.chain.from_iterable(itertools.combinations(models, size) for size in range(len(models) + 1))


def shade(value: float, low: float, high: float, n_shades: int = N_COLOURS) -> int:
    """Return the index of the colour of `value` among `n_shades`, on a logarithmic scale from `low` to `high`."""
    if high <= low or low <= 0:
        return 0
    fraction = math.log(value / low) / math.log(high / low)
    return min(n_shades - 1, max(0, math.floor(fraction * n_shades)))


def colours() -> list[str]:
    """Return the colours from bright (small errors) to dark (large errors)."""
    from matplotlib import colormaps  # imported late: only drawing needs it
    from matplotlib.colors import to_hex

    colormap = colormaps["viridis_r"]
    return [to_hex(colormap(index / (N_COLOURS - 1))) for index in range(N_COLOURS)]


def heat_map(subsets: SubsetMap, data_of_all: Data | None = None) -> Drawing:
    """Return the heat map as a block of a page; `data_of_all` are its numbers to download."""
    grid = subsets.grid
    data = {
        "cells": subsets.cells,
        "columns": len(grid.columns),
        "colours": colours(),
        "nothing": IN_PAGES[NO_VALUE],
        "ink": [INK_ON_BRIGHT, INK_ON_DARK],
        "splits": SHOWN_SPLITS,
    }
    script = (files("elmlff_core") / "templates" / "report" / "heat_map.js").read_text(encoding="utf-8")
    # A browser ends a script at the first `</`, even inside a string.
    text = json.dumps(data).replace("<", "\\u003c")
    drawing = heat_map_svg(subsets, subsets.methods[0])
    for colour, variable in IN_PAGES.items():
        drawing = drawing.replace(colour, variable)
    markup = (
        f'<div class="heat-map">{_controls(subsets.methods)}'
        '<div class="scroll" tabindex="0" role="group" aria-label="heat map: the arrow keys go through its cells">'
        f'{drawing}</div><div class="tip" role="status" hidden></div>'
        f'<script type="application/json">{text}</script><script>{script}</script></div>'
    )
    caption = (
        "Force RMSE per frame of every subset in eV/Å, on a logarithmic colour scale. Each cell has the base "
        "models of its row and of its column. Grey cells were not evaluated or have no base model. The pointer or the "
        "arrow keys show details of a cell."
    )
    return Drawing(markup, caption, data_of_all)


def _controls(methods: Sequence[str]) -> str:
    def select(name: str, options: Mapping[str, str]) -> str:
        inside = "".join(f'<option value="{escape(key)}">{escape(title)}</option>' for key, title in options.items())
        return f'<label>{name} <select name="{name}">{inside}</select></label> '

    choice = select("method", {method: method for method in methods}) + select("errors", SHOWN_SPLITS)
    return f'<p class="controls">{choice}</p>'


def heat_map_svg(subsets: SubsetMap, method: str, split: str = "valid") -> str:
    """Return the heat map of the errors of `method` on `split` as SVG."""
    grid, cells = subsets.grid, subsets.cells
    large = max(len(grid.rows), len(grid.columns)) <= MOST_WITH_NUMBERS
    width = CELL if large else SMALL_CELL
    height = CELL * 2 // 3 if large else SMALL_CELL
    longest = max(map(len, (*grid.left, *grid.top)))
    # Names of the base models of rows are above their dots, rotated; those of columns are right of their dots.
    x0 = DOT * len(grid.left) + 12
    y0 = max(DOT * len(grid.top), 7 * longest if grid.left else 0) + 12
    known = [cell["errors"][method][split] for cell in cells if cell["scaled"] and method in cell["errors"]]
    low, high = min(known), max(known)
    palette = colours()
    parts = []
    for index, ((row, column, _), cell) in enumerate(zip(grid.cells(), cells, strict=True)):
        value = cell["errors"].get(method, {}).get(split)
        shown = value is not None and cell["scaled"]
        fill = palette[shade(value, low, high)] if shown else NO_VALUE
        x, y = x0 + column * width, y0 + row * height
        title = escape(cell["subset"]) + (f": {value:.4f} eV/Å" if value is not None else ": not evaluated")
        parts.append(
            f'<rect data-cell="{index}" x="{x}" y="{y}" width="{width - 1}" height="{height - 1}" fill="{fill}">'
            f"<title>{title}</title></rect>"
        )
        if large:
            label = f"{value:.4f}" if shown else ""
            ink = INK_ON_DARK if shown and shade(value, low, high) > N_COLOURS // 2 else INK_ON_BRIGHT
            parts.append(
                f'<text data-label="{index}" x="{x + width / 2:g}" y="{y + height / 2 + 4:g}" fill="{ink}" '
                f'text-anchor="middle" font-size="12" pointer-events="none">{label}</text>'
            )
    parts += _row_dots(grid, x0, y0, height)
    parts += _column_dots(grid, x0, y0, width)
    total_width = max(x0 + width * len(grid.columns) + 8 * longest + 8, x0 + 4 * N_COLOURS + 8)
    bottom = y0 + height * len(grid.rows) + 14
    parts += _scale(palette, x0, bottom, low, high)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {bottom + 40}" width="{total_width}" '
        f'height="{bottom + 40}" role="img" aria-label="errors of all subsets" font-family="sans-serif" fill="{INK}">'
        f"{''.join(parts)}</svg>"
    )


def _dot(x: float, y: float, filled: bool) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="4" fill="{INK if filled else NO_DOT}"/>'


def _row_dots(grid: Grid, x0: float, y0: float, height: float) -> Iterator[str]:
    for place, name in enumerate(grid.left):
        x = x0 - DOT * (len(grid.left) - place) + DOT / 2 - 4
        yield f'<text transform="translate({x + 4:g},{y0 - 6}) rotate(-90)" font-size="12">{escape(name)}</text>'
        for row, subset in enumerate(grid.rows):
            yield _dot(x, y0 + (row + 0.5) * height, name in subset)


def _column_dots(grid: Grid, x0: float, y0: float, width: float) -> Iterator[str]:
    end = x0 + width * len(grid.columns) + 4
    for place, name in enumerate(grid.top):
        y = y0 - DOT * (len(grid.top) - place) + DOT / 2 - 4
        yield f'<text x="{end}" y="{y + 4:g}" font-size="12">{escape(name)}</text>'
        for column, subset in enumerate(grid.columns):
            yield _dot(x0 + (column + 0.5) * width, y, name in subset)


def _scale(palette: Sequence[str], x: float, y: float, low: float, high: float) -> Iterator[str]:
    for place, colour in enumerate(palette):
        yield f'<rect x="{x + 4 * place}" y="{y}" width="4.5" height="10" fill="{colour}"/>'
    yield f'<text data-scale="low" x="{x}" y="{y + 24}" font-size="12">{low:.4f} eV/Å</text>'
    right = x + 4 * len(palette)
    yield f'<text data-scale="high" x="{right}" y="{y + 24}" font-size="12" text-anchor="end">{high:.4f} eV/Å</text>'
