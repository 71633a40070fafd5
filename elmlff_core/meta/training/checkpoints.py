"""Checkpoints of Lightning that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from elmlff_core.files import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Write each checkpoint beside the old one, which it then replaces.

    Lightning copies from its buffer into the file itself: a kill or a full disk in between leaves half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Save `checkpoint` at `path`; ElmlffError where it cannot be written."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)


def readable_checkpoint(path: Path) -> str | None:
    """`path` for Lightning to resume from; None where there is no checkpoint, or none that can be read."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # whatever damaged bytes raise: the training starts again
        path.unlink()
        return None
    return str(path)
