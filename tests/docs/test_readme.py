"""The commands and Python of the README and of the tutorial that repeats them; only trainings are shorter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from elmlff_core.settings.reading import read_config
from tests.cli.test_stack import TINY_BASE_MODELS

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
FIRST_STACK = (REPOSITORY / "docs" / "first-stack.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def toured(tmp_path_factory) -> Path:
    """A folder in which the commands of the tour were run, in order."""
    folder = tmp_path_factory.mktemp("tour")
    (commands,) = blocks("sh")
    run_commands(commands, folder)
    return folder


def run_commands(commands: str, folder: Path) -> None:
    """Run lines of a shell with shorter trainings."""
    shorter = " ".join(f"'{word}'" for word in TINY_BASE_MODELS)
    for line in commands.splitlines():
        command = line.split("#")[0].strip()
        if command.startswith("elmlff stack"):
            command += f" {shorter}"
            command += "" if "--meta" in command else " --set training.epochs=2"
        _shell(command, folder)


def _shell(command: str, folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ELMLFF_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"


def test_tour_of_the_command_line(toured):
    assert (toured / "predicted.extxyz").exists()


def test_tour_of_python(toured):
    (code,) = blocks("python")
    (toured / "tour.py").write_text(code)
    _shell("python tour.py", toured)


def test_the_first_tutorial_runs(toured):
    for commands in blocks("sh", FIRST_STACK):
        run_commands(commands, toured)
    (code,) = blocks("python", FIRST_STACK)
    (toured / "first.py").write_text(code)
    _shell("python first.py", toured)


def test_settings_are_valid(tmp_path):
    (settings,) = blocks("toml")
    (tmp_path / "elmlff.toml").write_text(settings)
    config = read_config(tmp_path / "elmlff.toml")
    assert set(config.models) == {"nep", "sch1", "mace1"}
    assert config.models["sch1"].trust


def test_links_and_pictures_exist():
    for page in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_make_targets_exist():
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^    make (\w+)", README, re.MULTILINE)) <= set(targets)
