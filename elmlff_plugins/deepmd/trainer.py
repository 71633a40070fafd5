"""Program: DeePMD-kit's trainer, then the freezing of the model; a restarted training ends as if never interrupted.

A restart of DeePMD-kit restores weights and optimiser, takes the last step once more, and begins its stream of batches
anew.  Here checkpoints tell the next step, and a restart first draws the batches that were taken before, without a step
on them.  Training and freezing in one process save the ten seconds in which DeePMD-kit starts and compiles.

    python -m elmlff_plugins.deepmd.trainer CHECKPOINT MODEL input.json [more arguments of `dp --pt train`]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# The order of batches depends on how many processes read them: as many on every machine, also where one resumes.
os.environ.setdefault("NUM_WORKERS", "1")

from deepmd.main import main
from deepmd.pt.train.training import Trainer
from deepmd.pt.utils.dataloader import setup_seed


def endless(batches: Iterable[Any]) -> Iterator[Any]:
    """One pass over `batches` after another."""
    while True:
        yield from batches


def go_on_in_the_stream_of_batches(seed: int) -> None:
    """Make `Trainer` draw its batches from a stream that follows from `seed`, those of steps taken before first."""
    get_data = Trainer.get_data

    def get_data_of_stream(self: Trainer, is_train: bool = True, task_key: str = "Default") -> Any:
        if not getattr(self, "stream_begun", False):
            self.stream_begun = True
            begin_stream(self, seed)
        return get_data(self, is_train, task_key)

    Trainer.get_data = get_data_of_stream


def begin_stream(trainer: Trainer, seed: int) -> None:
    """The batches of training and validation, from the first step that is not in the checkpoint."""
    setup_seed(seed)
    for part in ("training", "validation"):
        if (loader := getattr(trainer, f"{part}_dataloader")) is not None:
            loader.dataset.iters = [iter(system) for system in loader.dataset.dataloaders]
            setattr(trainer, f"{part}_data", endless(loader))
    for step in range(1, trainer.start_step + 1):
        next(trainer.training_data)
        shown = step == 1 or step % trainer.disp_freq == 0
        for _ in range(trainer.valid_numb_batch if shown and trainer.validation_dataloader is not None else 0):
            next(trainer.validation_data)


def tell_the_next_step_in_checkpoints() -> None:
    """Make `Trainer` save the number of steps taken, which is where a restart begins, not that of the last one."""
    save_model = Trainer.save_model

    def save_with_next_step(self: Trainer, path: Any, lr: float = 0.0, step: int = 0, **keywords: Any) -> None:
        save_model(self, path, lr, step + 1, **keywords)

    Trainer.save_model = save_with_next_step


if __name__ == "__main__":
    checkpoint, model, *arguments = sys.argv[1:]
    tell_the_next_step_in_checkpoints()
    go_on_in_the_stream_of_batches(json.loads(Path(arguments[0]).read_text())["training"]["seed"])
    main(["--pt", "train", *arguments])
    main(["--pt", "freeze", "-c", checkpoint, "-o", model])
