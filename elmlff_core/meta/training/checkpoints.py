"""Checkpoints of Lightning that are complete or not there at all."""

from __future__ import annotations

import io
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from elmlff_core.files import is_whole_archive, write_bytes

LEARNER = "learner."  # precedes the names of the tensors of the network that is trained


class WholeCheckpoints(TorchCheckpointIO):
    """Write each checkpoint to a new file that then replaces the old checkpoint.

    Lightning writes into the file itself, so that a kill or a full disk would leave half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Save `checkpoint` to `path`; raise ElmlffError if that fails."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()  # on a full disk, torch itself raises an error that does not say so
        torch.save(checkpoint, buffer)
        write_bytes(Path(path), buffer.getbuffer())


def readable_checkpoint(path: Path, network: AbstractSet[str] = frozenset()) -> str | None:
    """Return `path` if Lightning can resume from it, and None if there is no checkpoint or it cannot be read.

    If the names of the tensors of a `network` are given, it has to be of that network: an earlier version may have
    trained one with others.
    """
    if not path.exists():
        return None
    try:
        if not is_whole_archive(path):
            raise ValueError("its contents do not fit its checksums")
        found = torch.load(path, map_location="cpu", weights_only=True)
        names = found["state_dict"] if network else ()
        if network != {name.removeprefix(LEARNER) for name in names if name.startswith(LEARNER)}:
            raise ValueError("it is of another network")
    except Exception:  # damaged bytes raise errors of many types: the training starts again
        path.unlink()
        return None
    return str(path)
