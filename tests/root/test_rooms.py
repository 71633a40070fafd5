"""Imports go one way: the core knows no plugin and no backend; listing plugins imports no backend."""

import ast
import subprocess
import sys
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


def test_listing_plugins_imports_no_backend():
    code = (
        "import sys\n"
        "from elmlff_core.plugins.registry import registry\n"
        "assert registry().force_fields\n"
        f"assert not {BACKENDS | {'torch'}} & set(sys.modules), set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
