"""Page: a report as one HTML file that contains its pictures and styles and needs no network.

A page is a list of sections of typed blocks, so all reports of elmlff are built from the same few kinds of blocks.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from elmlff_core.files import write_text

PNG = b"\x89PNG\r\n\x1a\n"
PIXELS_PER_INCH = 150  # resolution of pictures; browsers use 96 pixels per inch


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


@dataclass(frozen=True)
class Picture:
    """A PNG with a caption and an alternative text for readers who cannot see it."""

    kind: ClassVar[str] = "picture"
    png: bytes
    caption: str
    alternative: str

    def __post_init__(self) -> None:
        if not self.png.startswith(PNG):
            raise ValueError(f"the picture '{self.caption}' is not a PNG")

    @property
    def base64(self) -> str:
        """The bytes in base64."""
        return base64.b64encode(self.png).decode()

    @property
    def width(self) -> int:
        """Width in CSS pixels, so that text in the picture is as large as text beside it."""
        (pixels,) = struct.unpack(">I", self.png[16:20])
        return round(pixels * 96 / PIXELS_PER_INCH)


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


def render(page: Page) -> str:
    """Return the page as HTML; everything except drawings is escaped."""
    from jinja2 import Environment, StrictUndefined  # imported late: only writing a page needs it

    source = (files("elmlff_core") / "templates" / "report" / "page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(page=page)


def write_page(page: Page, path: Path) -> None:
    """Write `page` to `path`; raises ElmlffError if that is not possible."""
    write_text(path, render(page))
