"""Virtual environments with elmlff and plugins installed, which are found only by their entry points."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT_BUILD = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")

# Broken plugins: distribution, name of the entry point, and the module.
BROKEN = {
    "elmlff-raises": ("raises", "raise ImportError('libfoo.so.3: cannot open shared object file')"),
    "elmlff-exits": ("exits", "import sys; print('going'); sys.exit(3)"),
    "elmlff-misspelt": (
        "misspelt",
        """
        from elmlff_core.contracts.hookspecs import hookimpl
        @hookimpl
        def elmlff_force_feilds():
            yield 1
        """,
    ),
    "elmlff-old": (
        "old",
        """
        from elmlff_core.contracts.hookspecs import hookimpl
        @hookimpl
        def elmlff_force_fields(config):
            yield 1
        """,
    ),
    "elmlff-unmarked": ("unmarked", "def elmlff_force_fields(): return []"),
    "elmlff-wrong-record": (
        "wrong-record",
        """
        from elmlff_core.contracts.hookspecs import ForceFieldPlugin, hookimpl
        @hookimpl
        def elmlff_force_fields():
            yield ForceFieldPlugin("mine", "x", dict, print)
        """,
    ),
    "elmlff-takes-dp": ("takes-dp", "dp"),
    "elmlff-twin-one": ("twin-one", "twin"),
    "elmlff-twin-two": ("twin-two", "twin"),
    "elmlff-needs-more": ("needs-more", "needy"),
}
RECORD = """
from elmlff_core.contracts.hookspecs import ForceFieldPlugin, Options, hookimpl
@hookimpl
def elmlff_force_fields():
    yield ForceFieldPlugin("{name}", "an adapter for tests", Options, print, requires={requires})
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with elmlff."""

    python: Path

    def install(self, source: Path, target: Path) -> None:
        """Install a package from a copy, because the build writes into the folder of the source."""
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
        self.run("-m", "pip", "install", *WITHOUT_BUILD, str(target))

    def run(self, *arguments: str, folder: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python with `arguments` in a folder outside the checkout."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(self.python), *arguments], cwd=folder or self.python.parent, env=environment, check=False,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def elmlff(self, *arguments: str, folder: Path | None = None, check: bool = True):
        """Run the installed command `elmlff`."""
        return self.run(str(self.python.with_name("elmlff")), *arguments, folder=folder, check=check)


def make_environment(folder: Path) -> Environment:
    """Install elmlff from a wheel, not editable, as users do; dependencies are those of the running Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    environment = Environment(python)
    packages = environment.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    source = folder / "elmlff"
    for name in ("elmlff_core", "elmlff_plugins"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    environment.run("-m", "pip", "install", *WITHOUT_BUILD, str(source))
    return environment


def write_plugin(folder: Path, distribution: str, entry: str, code: str) -> Path:
    """Write a plugin package with one module."""
    module = distribution.replace("-", "_")
    if code.isidentifier():
        code = RECORD.format(name=code, requires=("not_to_be_found",) if code == "needy" else ())
    folder.mkdir(parents=True)
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{distribution}"\nversion = "1.2"\n'
        f'[project.entry-points.elmlff]\n"{entry}" = "{module}"\n'
        f'[tool.setuptools]\npy-modules = ["{module}"]\n'
    )
    return folder


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Environment:
    """Make an environment with elmlff and the example adapter."""
    folder = tmp_path_factory.mktemp("sound")
    environment = make_environment(folder)
    environment.install(REPOSITORY / "examples" / "adapter-emt", folder / "adapter-emt")
    return environment


@pytest.fixture(scope="session")
def with_broken_plugins(tmp_path_factory) -> Environment:
    """Make an environment with elmlff and all broken plugins."""
    folder = tmp_path_factory.mktemp("broken")
    environment = make_environment(folder)
    sources = [
        str(write_plugin(folder / distribution, distribution, entry, code))
        for distribution, (entry, code) in BROKEN.items()
    ]
    environment.run("-m", "pip", "install", *WITHOUT_BUILD, *sources)
    return environment
