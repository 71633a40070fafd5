"""A stack as a task names it, because a task holds paths and no force fields."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from elmlff_core.stack.stack import Stack, load_stack


@functools.lru_cache(maxsize=2)
def loaded(folder: Path, trust: bool, device: str) -> Stack:
    """Return a stack; a process that does several tasks loads it once."""
    return load_stack(folder, trust, device)


@dataclass(frozen=True)
class StackPlace:
    """A stack as a task names it: its folder, and how it is loaded (`load_stack`)."""

    folder: Path
    trust: bool = False
    device: str = "auto"

    def load(self) -> Stack:
        """Return the stack."""
        return loaded(self.folder, self.trust, self.device)
