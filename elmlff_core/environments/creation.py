"""Making and removing virtual environments: with uv where it is installed, otherwise with venv and pip."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from packaging.specifiers import SpecifierSet

from elmlff_core.contracts.hookspecs import EnvironmentRecipe
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.environments.folder import NAME, RECORD, Environment, environments_folder, find, interpreter_in
from elmlff_core.errors import ElmlffError
from elmlff_core.files import write_record
from elmlff_core.locks import Timeout, locked
from elmlff_core.resources import FOREIGN_TO_OTHERS

POLL_SECONDS = 2.0
MEGABYTE = 10**6
TAIL_LINES = 12
DOWNLOADS = 0.5  # pip keeps what it downloads while it installs: about half of the space that is needed in the end
# What pip and uv say where a server cannot be reached; what pip says last is that there is no such version.
NO_CONNECTION = ("NewConnectionError", "NameResolutionError", "dns error", "client error (Connect)", "ConnectTimeout")
# These, too, would lead an installer to the packages of the environment in which elmlff itself runs.
FOREIGN = (*FOREIGN_TO_OTHERS, "PYTHONPATH", "VIRTUAL_ENV")


def create(
    recipe: EnvironmentRecipe,
    progress: ProgressCallback = lambda _: None,
    python: str | None = None,
    installer_options: Sequence[str] = (),
) -> Environment:
    """Make the environment of `recipe`; one that is there already is returned as it is.

    Parameters
    ----------
    recipe : what is installed
    progress : gets the space that is filled, in MB, of that which the recipe expects
    python : interpreter, of a version that the recipe allows; by default that of this process
    installer_options : further options of ``uv pip install`` or ``pip install``

    Raises
    ------
    ElmlffError
        There is too little space, the interpreter is of another version, another process makes the same environment,
        or the installer failed; the message has the end of its output.
    """
    root = environments_folder()
    folder = root / recipe.name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f"{recipe.name}.lock", wait=False):
            if (found := find(recipe.name)) is not None:
                return found
            interpreter = python or sys.executable
            version = _version(interpreter)
            if recipe.python and version not in SpecifierSet(recipe.python):
                raise ElmlffError(
                    f"environment '{recipe.name}' needs Python {recipe.python}, {interpreter} is {version}: name "
                    "another with --python"
                )
            _check_space(recipe, root)
            shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted creation
            started = time.monotonic()
            installer = _install(recipe, folder, interpreter, installer_options, progress)
            record = {
                "name": recipe.name,
                "requirements": list(recipe.requirements),
                "python": version,
                "installer": installer,
                "seconds": round(time.monotonic() - started, 1),
                "bytes": _size(folder),
            }
            write_record(folder / RECORD, record, indent=1)
    except Timeout as error:
        raise ElmlffError(f"another process makes the environment '{recipe.name}': wait for it to end") from error
    except OSError as error:
        raise ElmlffError(f"cannot make {folder}: {error.strerror or error}") from error
    made = find(recipe.name)
    assert made is not None
    return made


def find_uv() -> str | None:
    """Return the executable of uv, or None: then pip installs."""
    return shutil.which("uv")


def remove(name: str) -> Path:
    """Remove the environment `name`, whole or in part, and return its folder; ElmlffError if there is none."""
    root = environments_folder()
    folder = root / name
    if not NAME.fullmatch(name) or not folder.is_dir():
        raise ElmlffError(f"there is no environment '{name}' in {root}: `elmlff env list` shows those that are there")
    try:
        with locked(root / f"{name}.lock", wait=False):
            (folder / RECORD).unlink(missing_ok=True)  # what is left of an interrupted removal is no environment
            shutil.rmtree(folder)
    except Timeout as error:
        raise ElmlffError(f"another process makes the environment '{name}': wait for it to end") from error
    except OSError as error:
        raise ElmlffError(f"cannot remove {folder}: {error.strerror or error}") from error
    (root / f"{name}.lock").unlink(missing_ok=True)
    return folder


def _install(
    recipe: EnvironmentRecipe,
    folder: Path,
    interpreter: str,
    options: Sequence[str],
    progress: ProgressCallback,
) -> str:
    """Make the virtual environment and install the requirements; return the name and version of the installer."""
    uv = find_uv()
    python = str(interpreter_in(folder))
    total = max(1, int(recipe.gigabytes * 1000 * (1.0 if uv else 1.0 + DOWNLOADS)))
    with _temporary_folder(folder) as temporary, _watched(_filling(folder, uv), total, progress):
        environment = foreign_environment()
        environment["TMPDIR"] = str(temporary)  # where pip downloads: its progress then shows
        if uv:
            _run([uv, "venv", "--python", interpreter, "--allow-existing", str(folder)], environment, recipe.name)
            _run([uv, "pip", "install", "--python", python, *options, *recipe.requirements], environment, recipe.name)
            return subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        _run([interpreter, "-m", "venv", str(folder)], environment, recipe.name)
        install = [python, "-m", "pip", "install", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
        _run([*install, *options, *recipe.requirements], environment, recipe.name)
        shown = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=False).stdout
        return " ".join(shown.split()[:2])


def _run(command: Sequence[str], environment: dict[str, str], name: str) -> None:
    """Run one step; ElmlffError with the end of its output if it fails.  An interruption ends it, too."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if code:
            log.seek(0)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            tail = "\n".join(lines[-TAIL_LINES:])
            what = f"`{' '.join(command[:4])} ...` ended with code {code}"
            if any(words in line for words in NO_CONNECTION for line in lines):
                what += ", and a server could not be reached (is there a network?)"
            raise ElmlffError(f"the environment '{name}' could not be made: {what}:\n{tail}")


@contextlib.contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="install-", dir=folder) as temporary:
        yield Path(temporary)


def _filling(folder: Path, uv: str | None) -> Callable[[], int]:
    """Return a function that tells how many bytes the installer has written up to now.

    uv writes into its cache, on which many other environments may depend, and at the end links the files from there.
    The space that is lost on the disk of that cache tells what it has written, without a walk through all files.
    """
    if not uv:
        return lambda: _size(folder)
    shown = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=False).stdout.strip()
    place = next(path for path in (Path(shown or folder), *Path(shown or folder).parents) if path.exists())
    before = shutil.disk_usage(place).used
    return lambda: max(_size(folder), shutil.disk_usage(place).used - before)


@contextlib.contextmanager
def _watched(filled: Callable[[], int], total: int, progress: ProgressCallback) -> Iterator[None]:
    """Report the bytes that are filled until the block ends, in MB of `total`."""
    ended = threading.Event()

    def watch() -> None:
        most = 0
        while not ended.wait(POLL_SECONDS):
            found = filled() // MEGABYTE
            most = max(most, found)  # downloads are removed once they are installed
            progress(Progress(min(most, total - 1), total, f"{found:,} MB"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _size(folder: Path) -> int:
    """Return the bytes of all files in `folder`; those that vanish meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _check_space(recipe: EnvironmentRecipe, root: Path) -> None:
    needed, free = (1 + DOWNLOADS) * recipe.gigabytes, shutil.disk_usage(root).free / 1e9
    if free < needed:
        raise ElmlffError(
            f"environment '{recipe.name}' needs about {needed:.1f} GB to be made, {root} has {free:.1f} GB left: make "
            "space, or set ELMLFF_ENVIRONMENTS to a folder on another disk"
        )


def foreign_environment() -> dict[str, str]:
    """Return the environment variables for programs of another interpreter."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def _version(python: str) -> str:
    """Return the version of an interpreter, as in 3.12.1."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ElmlffError(f"{python} cannot be run as a Python interpreter: {error}") from error
