"""Code blocks of the pages, and a shell that runs them as users type them."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.commands.running import run_elmlff, run_script

SPECIAL = set("|&;<>$`?~\n")  # characters for which a command needs a shell


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of `page` in `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def shell(command: str, folder: Path) -> str:
    """Run `command` in `folder` and return what it prints."""
    cache = str(folder / "cache")
    program, *words = shlex.split(command) or [""]
    if program == "elmlff" and not SPECIAL & set(command):
        return run_elmlff(tuple(_with_files(words, folder)), folder, ELMLFF_CACHE=cache).stdout
    if program == "python" and len(words) == 1 and words[0].endswith(".py"):
        ended = run_script(words[0], folder, ELMLFF_CACHE=cache)
        assert ended.code == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        return ended.stdout
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ELMLFF_CACHE": cache,
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def _with_files(words: list[str], folder: Path) -> Iterator[str]:
    """Replace patterns by the files that they match, as a shell does."""
    for word in words:
        yield from (sorted(glob.glob(word, root_dir=folder)) or [word]) if "*" in word else [word]


def run_python(code: str, folder: Path) -> dict[str, Any]:
    """Run `code` of a page in `folder`, in this process, and return what its names then mean."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        exec(compile(code, "page", "exec"), names)
    return names
