"""The order of the rooms: each imports only from those below it, and no file imports itself by way of others.

All imports count, those inside functions and for type checkers too.
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
# From the ground up.  A room stands above all that it imports.
ROOMS = (
    "errors", "arrays", "resources", "files",
    "contracts", "settings", "plugins", "data", "worker", "features", "base_models", "graphs", "meta", "fits",
    "uncertainty", "stack", "evaluation", "report", "workflows", "testing", "doctor", "cli",
)  # fmt: skip
# Faces of the package: they hand on what is inside.
FACES = {"__init__", "__main__", "pytest_plugin"}
WORKFLOWS = ("prepare", "evaluate", "stack", "sweep", "ablation", "reproduction")


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of `package`."""
    found = {}
    for path in (REPOSITORY / package).rglob("*.py"):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules(CORE) | modules(PLUGINS)


def imported(path: Path) -> set[str]:
    """Modules that a file imports, whole names; of elmlff, the modules themselves and not what is in them."""
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
    """The room that a module of the core is in: a folder, or a file at the root."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: one above the highest that it imports; the ground is 1."""
    found: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        found[name] = 1 + max((found[below] for below in graph.get(name, ())), default=0)
    return found


def rooms_below() -> dict[str, set[str]]:
    """Room -> rooms of the core that it imports, the faces among them; the plugins are one more room."""
    graph: dict[str, set[str]] = {}
    for name, targets in IMPORTS.items():
        own = PLUGINS if name.startswith(PLUGINS) else room(name)
        below = {PLUGINS if target.startswith(PLUGINS) else room(target) for target in targets & set(MODULES)}
        graph.setdefault(own, set()).update(below - {own})
    return graph


def test_every_room_has_a_place():
    rooms = {room(name) for name in MODULES if name.startswith(CORE)}
    assert rooms - FACES == set(ROOMS)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(CORE) and room(name) not in FACES])
def test_a_room_imports_from_those_below_alone(name):
    place = ROOMS.index(room(name))
    for target in IMPORTS[name] & set(MODULES):
        below = room(target)
        assert below not in FACES, f"{name} imports {target}, which imports everything"
        assert ROOMS.index(below) <= place, f"{name} imports {target}, which stands above it"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(f"{CORE}.workflows.")])
def test_a_workflow_imports_from_those_before_it_alone(name):
    place = WORKFLOWS.index(name.split(".")[2])
    for target in IMPORTS[name] & set(MODULES):
        if target.startswith(f"{CORE}.workflows."):
            assert WORKFLOWS.index(target.split(".")[2]) <= place, f"{name} imports {target}"


def test_no_file_imports_itself_by_way_of_others():
    graph = {name: targets & set(MODULES) - {name} for name, targets in IMPORTS.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_the_house_has_few_storeys_and_a_small_root():
    found = floors(rooms_below())
    at_the_root = [path.stem for path in (REPOSITORY / CORE).glob("*.py")]
    print(f"{len(found)} rooms on {max(found.values())} floors, {len(at_the_root)} modules at the root")
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
