"""Tables of numbers on screens of any width: no number is cut."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

PER_COLUMN = 3  # characters of the frame and of the spaces around a cell


def print_in_parts(console: Console, table: Table, n_text: int = 1) -> None:
    """Print `table`; if it is too wide for the screen, in parts that all have its first `n_text` columns.

    Between words and in the first columns lines may break, in numbers not.  The title is above the first part and the
    caption below the last.
    """
    columns = range(len(table.columns))
    natural = [_widest(table.columns[place], lines=True) for place in columns]
    if _total(natural) <= console.width:
        console.print(table)
        return
    least = [_widest(table.columns[place], lines=False) for place in columns]
    parts = _parts(least, n_text, console.width)
    for number, part in enumerate(parts):
        shown = Table(
            title=table.title if number == 0 else None, title_justify=table.title_justify,
            caption=table.caption if number == len(parts) - 1 else None, caption_justify=table.caption_justify,
        )  # fmt: skip
        spare = max(0, console.width - _total([least[place] for place in part]))
        for place in part:
            more = min(spare, natural[place] - least[place])
            spare -= more
            column = table.columns[place]
            shown.add_column(column.header, justify=column.justify, width=least[place] + more)
        rows = zip(*(table.columns[place].cells for place in part), strict=True)
        for row, cells in zip(table.rows, rows, strict=True):
            shown.add_row(*cells, style=row.style, end_section=row.end_section)
        console.print(shown)


def _parts(widths: Sequence[int], n_text: int, screen: int) -> list[list[int]]:
    """Divide columns into the fewest parts that fit, with nearly equal numbers of columns."""
    text, others = list(range(n_text)), list(range(n_text, len(widths)))
    parts: list[list[int]] = [text]
    for n_parts in range(1, len(others) + 1):
        size = -(-len(others) // n_parts)
        parts = [text + others[first : first + size] for first in range(0, len(others), size)]
        if all(_total([widths[place] for place in part]) <= screen for part in parts):
            break
    return parts


def _widest(column: Column, lines: bool) -> int:
    """Return the length of the longest line, or of the longest word, of a column."""
    texts = [str(column.header), *map(str, column.cells)]
    return max((cell_len(part) for text in texts for part in (text.splitlines() if lines else text.split())), default=1)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + PER_COLUMN * len(widths) + 1
