"""The commands and Python of the README and of the tutorial that repeats them.

Only trainings are shorter.  The base models were trained by the same command, for `tests/cli/test_stack.py`.
"""

import re
from pathlib import Path

import pytest

from elmlff_core.settings.reading import read_config
from tests.docs.pages import blocks, shell
from tests.methane_run import TINY_BASE_MODELS, copy_base_models

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
FIRST_STACK = REPOSITORY / "docs" / "first-stack.md"


@pytest.fixture(scope="module")
def toured(tmp_path_factory, methane_run) -> Path:
    """A folder in which the commands of the tour were run, in order."""
    folder = tmp_path_factory.mktemp("tour")
    copy_base_models(methane_run, folder)
    (commands,) = blocks(README, "sh")
    run_commands(commands, folder)
    return folder


def run_commands(commands: str, folder: Path) -> None:
    """Run lines of a shell with shorter trainings."""
    shorter = " ".join(f"'{word}'" for word in TINY_BASE_MODELS)
    for line in commands.splitlines():
        command = line.split("#")[0].strip()
        if command.startswith("elmlff stack"):
            command += f" {shorter}"
            command += "" if "--meta" in command else " --set training.epochs=2 --set training.batch_size=64"
        shell(command, folder)


def test_tour_of_the_command_line(toured):
    assert (toured / "predicted.extxyz").exists()


def test_tour_of_python(toured):
    (code,) = blocks(README, "python")
    (toured / "tour.py").write_text(code)
    shell("python tour.py", toured)


def test_the_first_tutorial_runs(toured):
    for commands in blocks(FIRST_STACK, "sh"):
        run_commands(commands, toured)
    (code,) = blocks(FIRST_STACK, "python")
    (toured / "first.py").write_text(code)
    shell("python first.py", toured)


def test_settings_are_valid(tmp_path):
    (settings,) = blocks(README, "toml")
    (tmp_path / "elmlff.toml").write_text(settings)
    config = read_config(tmp_path / "elmlff.toml")
    assert set(config.models) == {"nep", "sch1", "mace1"}
    assert config.models["sch1"].trust


def test_links_and_pictures_exist():
    for page in [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_make_targets_exist():
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^    make (\w+)", README.read_text(), re.MULTILINE)) <= set(targets)
