"""Commands run in a workplace, with its cache and its trust store, and their limits."""

from __future__ import annotations

import os
from pathlib import Path

from tests.commands.running import ONE_THREAD, Commands, Ending, Limits

CACHE, TRUST_STORE = "cache", "trusted/trust.json"  # in the folder of the workplace
CPU_LIMIT = 60.0  # s; commands of the workplace take a few seconds
WAIT_LIMIT = 5.0  # times as long by the clock: other programs may take the cores
MEMORY = 6 << 30  # bytes


def run_in_workplace(commands: Commands, folder: Path, *arguments: str, limit: float = CPU_LIMIT) -> Ending:
    """Run ``elmlff ARGUMENTS`` in `folder`, with the cache and the trust store of this folder."""
    own = {"ELMLFF_CACHE": str(folder / CACHE), "ELMLFF_TRUST_STORE": str(folder / TRUST_STORE)}
    limits = Limits(limit, WAIT_LIMIT * limit, MEMORY)
    return commands.run(folder, *arguments, environment=os.environ | ONE_THREAD | own, limits=limits)
