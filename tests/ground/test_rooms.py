"""The order of the rooms: each room imports only from those below it, and there are no circular imports.

All imports count, including those inside functions and those for type checkers.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORE, PLUGINS = "elmlff_core", "elmlff_plugins"
BACKENDS = {"deepmd", "schnetpack", "calorine", "neppo", "mace", "chgnet", "tensorflow", "_nepy"}
# From the lowest to the highest.  A room is above all rooms that it imports.
ROOMS = (
    "errors", "arrays", "resources", "locks", "files",
    "contracts", "settings", "plugins", "execution", "environments", "data", "worker", "features", "base_models",
    "graphs", "expansion", "meta", "fits", "uncertainty", "stack", "simulation", "lammps", "ipi", "selection",
    "labelling", "evaluation", "distillation", "report", "workflows", "testing", "doctor", "cli",
)  # fmt: skip
# Entry points of the package, which may import from all rooms.
ENTRY_POINTS = {"__init__", "__main__", "pytest_plugin"}
WORKFLOWS = (
    "inputs",
    "base_models",
    "work",
    "ahead",
    "plan",
    "prepare",
    "predict",
    "evaluate",
    "stack",
    "sweep",
    "ablation",
    "reproduction",
    "distill",
)


def modules(package: str) -> dict[str, Path]:
    """Return dotted name -> file for every module of `package`."""
    found = {}
    for path in (REPOSITORY / package).rglob("*.py"):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules(CORE) | modules(PLUGINS)


def imported(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports; for elmlff, the modules without the names in them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
            names |= inside or {node.module}
    return names


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    """Return the room of a module of the core: a folder, or a file at the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the level of each room: one above the highest level that it imports; the lowest is 1."""
    found: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        found[name] = 1 + max((found[below] for below in graph.get(name, ())), default=0)
    return found


def rooms_below() -> dict[str, set[str]]:
    """Return room -> rooms of the core that it imports, including entry points; the plugins are one more room."""
    graph: dict[str, set[str]] = {}
    for name, targets in IMPORTS.items():
        own = PLUGINS if name.startswith(PLUGINS) else room(name)
        below = {PLUGINS if target.startswith(PLUGINS) else room(target) for target in targets & set(MODULES)}
        graph.setdefault(own, set()).update(below - {own})
    return graph


def test_every_room_has_a_place():
    rooms = {room(name) for name in MODULES if name.startswith(CORE)}
    assert rooms - ENTRY_POINTS == set(ROOMS)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(CORE) and room(name) not in ENTRY_POINTS])
def test_a_room_imports_only_from_those_below(name):
    place = ROOMS.index(room(name))
    for target in IMPORTS[name] & set(MODULES):
        below = room(target)
        assert below not in ENTRY_POINTS, f"{name} imports {target}, which imports from all rooms"
        assert ROOMS.index(below) <= place, f"{name} imports {target}, which is above it"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(f"{CORE}.workflows.")])
def test_a_workflow_imports_only_from_those_before_it(name):
    place = WORKFLOWS.index(name.split(".")[2])
    for target in IMPORTS[name] & set(MODULES):
        if target.startswith(f"{CORE}.workflows."):
            assert WORKFLOWS.index(target.split(".")[2]) <= place, f"{name} imports {target}"


def test_there_are_no_circular_imports():
    graph = {name: targets & set(MODULES) - {name} for name, targets in IMPORTS.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


def test_there_are_few_levels_and_few_modules_at_the_root():
    found = levels(rooms_below())
    at_the_root = [path.stem for path in (REPOSITORY / CORE).glob("*.py")]
    print(f"{len(found)} rooms on {max(found.values())} levels, {len(at_the_root)} modules at the root")
    assert max(found.values()) <= 12, sorted(found.items(), key=lambda pair: pair[1])
    assert len(at_the_root) <= 8, at_the_root


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(CORE)])
def test_the_core_imports_no_plugin_and_no_backend(name):
    assert not {target.split(".")[0] for target in IMPORTS[name]} & (BACKENDS | {PLUGINS})


def test_listing_plugins_imports_no_backend():
    code = (
        "import sys\n"
        "from elmlff_core.plugins.registry import registry\n"
        "assert registry().force_fields\n"
        f"assert not {BACKENDS | {'torch'}} & set(sys.modules), set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
