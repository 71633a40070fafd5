"""Page: a report as one HTML file, with pictures and style inside, that needs no network and can be sent to anyone.

A page is a short list of typed sections, so that every report of elmlff is made of the same few parts.
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
PIXELS_PER_INCH = 150  # of pictures, where they do not say; shown at 96, as browsers take an inch


@dataclass(frozen=True)
class Text:
    """A paragraph; `key` sets it off, for what a reader in a hurry must see."""

    kind: ClassVar[str] = "text"
    text: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """A table of ready-made cells.

    Attributes
    ----------
    head : titles of the columns, which may break their lines
    rows : as many cells each
    caption : above it
    text_columns : the first so many are set left, the others right, as numbers are
    key_rows : places, from 0, of rows that are set off
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
    """A PNG, what it shows, and what it says to who cannot see it."""

    kind: ClassVar[str] = "picture"
    png: bytes
    caption: str
    alternative: str

    def __post_init__(self) -> None:
        if not self.png.startswith(PNG):
            raise ValueError(f"the picture '{self.caption}' is no PNG")

    @property
    def base64(self) -> str:
        """The bytes as text."""
        return base64.b64encode(self.png).decode()

    @property
    def width(self) -> int:
        """In CSS pixels, so that text in the picture is as large as text beside it."""
        (pixels,) = struct.unpack(">I", self.png[16:20])
        return round(pixels * 96 / PIXELS_PER_INCH)


@dataclass(frozen=True)
class Listing:
    """Text as it is, in a fixed width: settings, for one."""

    kind: ClassVar[str] = "listing"
    text: str


@dataclass(frozen=True)
class Drawing:
    """Markup of our own, scripts included, which is taken as it is: who makes it escapes what comes from users."""

    kind: ClassVar[str] = "drawing"
    markup: str
    caption: str


Block = Text | Table | Picture | Listing | Drawing


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    subtitle: str
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page as HTML; everything in it but drawings is escaped."""
    from jinja2 import Environment, StrictUndefined  # not before a page is written: listings need no templates

    source = (files("elmlff_core") / "templates" / "report" / "page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(page=page)


def write_page(page: Page, path: Path) -> None:
    """Write `page` to `path`; ElmlffError where that cannot be written."""
    write_text(path, render(page))
