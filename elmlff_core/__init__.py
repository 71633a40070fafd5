"""elmlff: stack several machine-learned force fields into one better one.

>>> import elmlff_core
>>> sorted(elmlff_core.__all__)
['StackCalculator', 'build_stack', 'load_stack', 'read_config']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elmlff_core.settings.reading import read_config
    from elmlff_core.stack.calculator import StackCalculator
    from elmlff_core.stack.stack import load_stack
    from elmlff_core.workflows.stack.workflow import build_stack

__all__ = ["StackCalculator", "build_stack", "load_stack", "read_config"]

_MODULES = {
    "StackCalculator": "elmlff_core.stack.calculator",
    "load_stack": "elmlff_core.stack.stack",
    "read_config": "elmlff_core.settings.reading",
    "build_stack": "elmlff_core.workflows.stack.workflow",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line imports this package and must not wait for torch.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'elmlff_core' has no attribute '{name}'")
