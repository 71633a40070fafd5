"""elmlff: stack several machine-learned force fields into one better one.

>>> import elmlff_core
>>> sorted(elmlff_core.__all__)
['StackCalculator', 'load_stack', 'read_config', 'stack']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elmlff_core.calculator import StackCalculator
    from elmlff_core.config import read_config
    from elmlff_core.stack_folder import load_stack
    from elmlff_core.stacking import stack

__all__ = ["StackCalculator", "load_stack", "read_config", "stack"]

_HOMES = {
    "StackCalculator": "elmlff_core.calculator",
    "load_stack": "elmlff_core.stack_folder",
    "read_config": "elmlff_core.config",
    "stack": "elmlff_core.stacking",
}


def __getattr__(name: str) -> Any:
    # Looked up when used: the command line imports this package, and must not wait for torch.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'elmlff_core' has no attribute '{name}'")
