"""Page: a report as one HTML file that contains its figures and styles and needs no network.

A page is a list of sections of typed blocks, so all reports of elmlff are built from the same few kinds of blocks.
Beside the page, the folder ``figures`` has each figure as SVG and its numbers as CSV.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from elmlff_core.errors import ElmlffError
from elmlff_core.files import write_text
from elmlff_core.report.figures import Plot, for_page

FIGURES_FOLDER = "figures"
MOST_EMBEDDED = 500_000  # bytes of CSV in a page; more is in the folder of the figures alone
MOST_ROWS_TOGETHER = 30  # of a table that is printed on one sheet


@dataclass(frozen=True)
class Text:
    """A paragraph; `key` highlights it."""

    kind: ClassVar[str] = "text"
    text: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """A table of formatted cells.

    Attributes
    ----------
    head : titles of the columns, which may contain line breaks
    rows : cells of each row, one per column
    caption : text above the table
    text_columns : number of leading columns that are left-aligned text; the others are right-aligned numbers
    key_rows : indices, from 0, of highlighted rows
    """

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    text_columns: int = 1
    key_rows: Sequence[int] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"row {list(row)} has {len(row)} cells, the table has {len(self.head)} columns")

    @property
    def together(self) -> bool:
        """Whether it is short enough to be printed on one sheet."""
        return len(self.rows) <= MOST_ROWS_TOGETHER


@dataclass(frozen=True)
class Data:
    """The numbers of a figure as CSV; `name` is the name of the file without its ending."""

    name: str
    csv: str

    @property
    def address(self) -> str | None:
        """The CSV as an address that needs no network, or None if it is too large for a page."""
        data = self.csv.encode()
        return None if len(data) > MOST_EMBEDDED else f"data:text/csv;base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Picture:
    """A plot with a caption and an alternative text for readers who cannot see it.

    Attributes
    ----------
    name : name of its files without their endings, unique in the page: small letters, digits and ``_``
    plot : the drawing and its numbers
    caption : text below it
    alternative : what it shows
    """

    kind: ClassVar[str] = "picture"
    name: str
    plot: Plot
    caption: str
    alternative: str = ""

    @property
    def markup(self) -> str:
        """The drawing for a page."""
        return for_page(self.plot.svg, self.name, self.alternative or self.caption)

    @property
    def data(self) -> Data:
        """Its numbers."""
        return Data(self.name, self.plot.csv)


@dataclass(frozen=True)
class Listing:
    """Text in a fixed-width font with its line breaks, for example settings."""

    kind: ClassVar[str] = "listing"
    text: str


@dataclass(frozen=True)
class Drawing:
    """Markup that is not escaped and may contain scripts: its author must escape all text from users."""

    kind: ClassVar[str] = "drawing"
    markup: str
    caption: str
    data: Data | None = None


Block = Text | Table | Picture | Listing | Drawing


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report: title, subtitle and sections."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    @property
    def pictures(self) -> Iterator[Picture]:
        """All plots of the page."""
        blocks = itertools.chain.from_iterable(section.blocks for section in self.sections)
        return (block for block in blocks if isinstance(block, Picture))


def render(page: Page) -> str:
    """Return the page as HTML; everything except drawings is escaped."""
    from jinja2 import Environment, StrictUndefined  # imported late: only writing a page needs it

    templates = files("elmlff_core") / "templates" / "report"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((templates / "page.html").read_text(encoding="utf-8"))
    return template.render(
        page=page, style=(templates / "page.css").read_text(encoding="utf-8"), figures_folder=FIGURES_FOLDER
    )


def write_page(page: Page, path: Path, optional: Sequence[str] = ()) -> None:
    """Write `page` to `path`, and its figures to the folder ``figures`` beside it.

    Parameters
    ----------
    page : the page
    path : path of the HTML file
    optional : names of figures that such a page does not always have; an earlier one's are removed

    Raises
    ------
    ElmlffError
        A file cannot be written.
    """
    write_figures(page, path.parent / FIGURES_FOLDER, optional)
    write_text(path, render(page))


def write_figures(page: Page, folder: Path, optional: Sequence[str] = ()) -> None:
    """Write each plot of `page` as SVG and CSV to `folder`, and remove those of `optional` that it does not have."""
    pictures = list(page.pictures)
    try:
        for name in set(optional) - {picture.name for picture in pictures}:
            for ending in ("svg", "csv"):
                (folder / f"{name}.{ending}").unlink(missing_ok=True)
        if pictures:
            folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ElmlffError(f"cannot write figures to {folder}: {error.strerror or error}") from error
    for picture in pictures:
        write_text(folder / f"{picture.name}.svg", picture.plot.svg)
        write_text(folder / f"{picture.name}.csv", picture.data.csv)
