"""The order of the checks, and the checks of Python, plugins, backends and settings."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from elmlff_core.base_models.cache import default_directory
from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.doctor import machine
from elmlff_core.doctor.clashes import clashes
from elmlff_core.doctor.finding import Finding
from elmlff_core.environments.folder import interpreter_of
from elmlff_core.errors import ElmlffError
from elmlff_core.plugins.import_check import ImportCheck, check_import
from elmlff_core.plugins.records import Origin, Record
from elmlff_core.plugins.registry import Registry, registry, unusable
from elmlff_core.plugins.requirements import install_hint, installed_version, own_environment, requirements_of
from elmlff_core.resources import n_cores
from elmlff_core.settings.config import DEFAULT_FILE
from elmlff_core.settings.reading import read_config
from elmlff_core.worker.process import find_interpreter

OLDEST_PYTHON = (3, 12)


def examine(config_file: Path | None = None, quick: bool = False) -> Iterator[Finding]:
    """Run all checks, quick ones first, and yield each finding when it is made.

    Parameters
    ----------
    config_file : settings file; None takes elmlff.toml if it exists
    quick : skip the checks that start another Python process to import a package
    """
    yield from python()
    together = [adapter.thread_variables for adapter, _ in registry().force_fields.values()]
    yield from machine.threads(os.environ, n_cores(), together)
    yield from machine.cache(default_directory())
    yield from clashes(registry())
    yield from plugins(registry())
    if not quick:
        yield from backends(registry())
    yield from settings(config_file, quick)


def python() -> Iterator[Finding]:
    """Check the version of Python and the packages that elmlff requires."""
    version, place = platform.python_version(), sys.executable
    own = installed_version(PROJECT) or "not installed"
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("python", place, "wrong", f"Python {version}, elmlff needs {oldest}", f"use Python {oldest}")
    else:
        yield Finding("python", place, "ok", f"Python {version}, elmlff {own}")
    missing = [r.name for r in requirements_of(PROJECT) if installed_version(r.name) is None]
    if missing:
        yield Finding("python", "elmlff", "wrong", f"{', '.join(missing)} not installed", "pip install elmlff")


def plugins(found: Registry) -> Iterator[Finding]:
    """Report plugins that failed to load."""
    for failure in found.failures:
        subject = f"{failure.name} of {failure.origin}"
        remedy = (
            f"pip uninstall {failure.origin.distribution}, or report it to its author; see elmlff plugins --traceback"
        )
        yield Finding("plugins", subject, "wrong", failure.reason, remedy)
    n_works = sum(1 for _ in found.records())
    yield Finding("plugins", "adapters and meta-models", "ok", f"{n_works} found")


def backends(found: Registry) -> Iterator[Finding]:
    """Import torch and every backend, each in its own process, and report the GPUs that each can use."""
    gpus = machine.driver_gpus()
    records: dict[str, tuple[Record, Origin]] = {}  # module -> the first record that needs it
    for _, record, origin in found.records():
        for module in record.requires:
            records.setdefault(module, (record, origin))
    skipped = {module: unusable(*pair) for module, pair in records.items()}
    with ThreadPoolExecutor(n_cores()) as pool:
        checks = {
            module: pool.submit(check_import, module) for module in ("torch", *records) if not skipped.get(module)
        }
        yield from _imported(checks["torch"].result(), 'pip install "torch>=2.4"', gpus)
        for module, (record, origin) in records.items():
            if skipped[module]:
                # A missing backend is no error; a version that cannot work was already reported as a clash.
                yield Finding("backends", module, "note", f"adapter '{record.name}': {skipped[module]}")
            else:
                remedy = f"{install_hint(record, origin.distribution)}; or {own_environment(module.partition('.')[0])}"
                yield from _imported(checks[module].result(), remedy, gpus)


def _imported(check: ImportCheck, remedy: str, gpus: list[str]) -> Iterator[Finding]:
    if check.failure:
        yield Finding("backends", check.module, "wrong", f"cannot be imported: {check.failure}", remedy)
        return
    if check.cuda is None:
        device = "does not use PyTorch"
    elif check.cuda:
        device = f"CUDA: {', '.join(check.cuda)}"
    else:
        device = "no CUDA, runs on the CPU"
    yield Finding("backends", check.module, "ok", f"{check.version or 'imports'}; {device}")
    if gpus and check.cuda == ():
        message = f"the driver lists {len(gpus)} GPUs, but PyTorch {check.torch} finds none"
        remedy = "install a PyTorch built for this driver's CUDA, see pytorch.org; CUDA_VISIBLE_DEVICES may hide GPUs"
        yield Finding("backends", check.module, "note", message, remedy)


def settings(config_file: Path | None, quick: bool = False) -> Iterator[Finding]:
    """Check that the settings can be read and that the interpreters in them exist."""
    try:
        config = read_config(config_file)
    except ElmlffError as error:
        yield Finding("settings", str(config_file or DEFAULT_FILE), "wrong", " ".join(str(error).split()))
        return
    there = (config_file or DEFAULT_FILE).exists()
    yield Finding(
        "settings",
        str(config_file or DEFAULT_FILE),
        "ok",
        "can be read" if there else "no such file: defaults are used",
    )
    for name, model in config.models.items():
        if model.python is None:
            continue
        python = _interpreter(model.python, name)
        if python is None:
            remedy = f"create that environment, or correct python under [models.{name}]"
            yield Finding("settings", f"model '{name}'", "wrong", f"there is no interpreter {model.python}", remedy)
            continue
        if quick:
            continue
        check = check_import("ase", python)
        if check.failure:
            remedy = f"{python} -m pip install numpy ase"
            yield Finding("settings", f"model '{name}'", "wrong", f"{model.python}: {check.failure}", remedy)
        else:
            yield Finding("settings", f"model '{name}'", "ok", f"{model.python} works, with ase {check.version}")


def _interpreter(python: str, name: str) -> str | None:
    """Return the executable that the setting `python` of the model `name` means, or None if there is none."""
    try:
        return find_interpreter(interpreter_of(python, name))
    except ElmlffError:  # an environment that was not made
        return None
