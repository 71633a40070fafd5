"""Write the package of a new adapter, which can be installed and passes the conformance kit as it is."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from elmlff_core.errors import ElmlffError, PluginError
from elmlff_core.files import replacing
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.requirements import is_importable

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def write_adapter_package(name: str, directory: Path | None = None) -> Path:
    """Write the package of an adapter called `name`.

    Parameters
    ----------
    name : name of the adapter: lower-case letters and digits, joined by '-' or '_'
    directory : folder to create, which must not exist; None takes ``<name>`` in the current folder

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ElmlffError
        The name is not valid or is taken, or the folder exists or cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ElmlffError(
            f"'{name}' cannot be the name of an adapter: use lower-case letters and digits, joined by '-' or '_', "
            "starting with a letter"
        )
    if (taken := registry().force_fields.get(name)) is not None:
        raise PluginError(f"adapter '{name}' is taken by {taken[1]}: choose another name")
    words = re.split("[-_]", name)
    values = {
        "name": name,
        "module": "elmlff_" + "_".join(words),
        "distribution": "elmlff-" + "-".join(words),
        "classname": "".join(word.capitalize() for word in words),
    }
    if is_importable(values["module"]):  # such as elmlff_core
        raise ElmlffError(f"module {values['module']} exists in this environment: choose another name than '{name}'")
    directory = Path(name) if directory is None else directory
    if directory.exists():
        raise ElmlffError(f"{directory} exists and is not overwritten: choose another --output")
    targets = {
        "pyproject.toml.txt": "pyproject.toml",
        "README.md.txt": "README.md",
        "module.py.txt": f"{values['module']}.py",
        "test.py.txt": f"test_{values['module']}.py",
    }
    templates = files("elmlff_core") / "templates" / "adapter"
    # All templates are filled in before the first file is written.
    texts = {
        target: Template((templates / source).read_text()).substitute(values) for source, target in targets.items()
    }
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ElmlffError(f"cannot write {directory}: {error}") from error
    with replacing(directory) as partial:
        partial.mkdir()
        for target, text in texts.items():
            (partial / target).write_text(text)
    return directory
