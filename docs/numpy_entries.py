"""Extension of griffe, which reads docstrings for the reference: entries on one line.

Docstrings of elmlff write an entry as ``name : description``, since types stand in signatures.  The numpy style takes
what follows the colon as a type; here it becomes the description, and the type is that of the signature.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"^(Parameters|Attributes|Returns)\n-{3,}\n", re.MULTILINE)
NEXT_SECTION = re.compile(r"^\w[\w ]*\n-{3,}\n", re.MULTILINE)
ENTRY = re.compile(r"^(\w[\w, ]*) : (?=\S)", re.MULTILINE)
# reStructuredText's sign of an example, which Markdown shows as two colons.
EXAMPLE = re.compile(r"::\n\n(?=    )")


def with_descriptions(docstring: str) -> str:
    """`docstring` with the description of each entry on a line of its own."""
    start = SECTION.search(docstring)
    if start is None:
        return docstring
    end = NEXT_SECTION.search(docstring, start.end())
    stop = len(docstring) if end is None else end.start()
    returned = start.group(1) == "Returns"

    def on_two_lines(entry: re.Match[str]) -> str:
        # A returned value has a colon after its name; of several on one line griffe reads no names.
        names = entry.group(1)
        return f"{names} :\n    " if returned and "," not in names else f"{names}\n    "

    entries = ENTRY.sub(on_two_lines, docstring[start.end() : stop])
    return docstring[: start.end()] + entries + with_descriptions(docstring[stop:])


class OneLineEntries(griffe.Extension):
    """Rewrite docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **arguments: Any) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(":\n\n", with_descriptions(obj.docstring.value))
