"""The description on PyPI: README.md with absolute links, because there are no files of the repository beside it.

Everything else about the package is in pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

FOLDER = Path(__file__).resolve().parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")


def absolute_links(text: str, repository: str) -> str:
    """Return Markdown with relative links replaced by links into `repository`; pictures get the address of the file."""

    def absolute(link: re.Match[str]) -> str:
        picture, title, target = link.groups()
        return f"{picture}[{title}]({repository}/{'raw' if picture else 'blob'}/HEAD/{target})"

    return LINK.sub(absolute, text)


if __name__ == "__main__":
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=absolute_links((FOLDER / "README.md").read_text(encoding="utf-8"), project["urls"]["Source"]),
        long_description_content_type="text/markdown",
    )
