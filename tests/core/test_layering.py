"""Imports go one way: the core knows no plugin and no backend; plugins import no backend at module level."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BACKENDS = {"deepmd", "schnetpack", "calorine", "neppo", "mace", "chgnet", "tensorflow", "_nepy"}


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages named in import statements of `tree`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted((REPOSITORY / "elmlff_core").rglob("*.py")), ids=lambda path: path.name)
def test_core_imports_no_plugin_and_no_backend(path):
    assert not imported(ast.parse(path.read_text())) & (BACKENDS | {"elmlff_plugins"})


@pytest.mark.parametrize("path", sorted((REPOSITORY / "elmlff_plugins").rglob("*.py")), ids=lambda path: path.name)
def test_plugins_import_backends_when_used(path):
    tree = ast.parse(path.read_text())
    top = ast.Module(body=[node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], type_ignores=[])
    assert not imported(top) & BACKENDS
