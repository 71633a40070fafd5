"""Program that trains with DeePMD-kit and freezes the model; a restart gives the results of an uninterrupted training.

A restart of DeePMD-kit alone restores weights and optimiser, but repeats the last step and begins again with the first
batch.  Here a checkpoint holds the number of steps taken, and a restart first draws the batches of these steps without
using them.  Training and freezing in one process save the ten seconds in which DeePMD-kit starts and compiles.

DeePMD-kit reads every structure of every batch by a new pool of threads, in a new process after each pass through the
data.  For small systems this takes a third of the time and as much of a second core.  Here the training itself reads,
and keeps what it has read.
On a CPU, DeePMD-kit also updates the weights by many small operations, for a tenth of the time; here by a fused one.

    python -m elmlff_plugins.deepmd.trainer CHECKPOINT MODEL input.json [more arguments of `dp --pt train`]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

# The order of batches depends on the number of reading processes, so this number must be the same on every machine.
os.environ["NUM_WORKERS"] = "0"

import deepmd.utils.data
from deepmd.main import main
from deepmd.pt.train.training import Trainer
from deepmd.pt.utils.dataloader import setup_seed
from deepmd.pt.utils.dataset import DeepmdDataSetForLoader

N_KEPT = 10_000  # structures of each system: some 100 MB


class InThisThread(Executor):
    """An executor that runs a function when it is submitted."""

    def __init__(self, max_workers: int | None = None) -> None:
        pass

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Return the finished future of a call."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **keywords))
        return future


def keep_structures() -> None:
    """Make systems keep in memory what they have read, up to a number of structures."""
    read = DeepmdDataSetForLoader.__getitem__

    def read_once(self: DeepmdDataSetForLoader, index: int) -> dict[str, Any]:
        kept = self.__dict__.setdefault("kept", {})
        if index in kept:
            return kept[index]
        found = read(self, index)
        if len(kept) < N_KEPT:
            kept[index] = found
        return found

    DeepmdDataSetForLoader.__getitem__ = read_once


def endless(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the items of `batches` again and again."""
    while True:
        yield from batches


def draw_batches_from_stream(seed: int) -> None:
    """Make `Trainer` draw its batches from a stream that depends only on `seed`, after the batches already used."""
    get_data = Trainer.get_data

    def get_data_of_stream(self: Trainer, is_train: bool = True, task_key: str = "Default") -> Any:
        if not getattr(self, "stream_begun", False):
            self.stream_begun = True
            begin_stream(self, seed)
        return get_data(self, is_train, task_key)

    Trainer.get_data = get_data_of_stream


def begin_stream(trainer: Trainer, seed: int) -> None:
    """Begin the streams of training and validation batches, and skip the batches of steps before the checkpoint."""
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


def save_number_of_steps() -> None:
    """Make `Trainer` save the number of steps taken instead of the index of the last step; a restart begins there."""
    save_model = Trainer.save_model

    def save_with_next_step(self: Trainer, path: Any, lr: float = 0.0, step: int = 0, **keywords: Any) -> None:
        save_model(self, path, lr, step + 1, **keywords)

    Trainer.save_model = save_with_next_step


def fuse_adam() -> None:
    """Make `Trainer` update weights by a fused operation on a CPU too, with the same numbers."""
    create_optimizer = Trainer._create_optimizer

    def create_fused_optimizer(self: Trainer, optimizer_class: Any, **keywords: Any) -> Any:
        return create_optimizer(
            self, optimizer_class, **(keywords | {"fused": True} if "fused" in keywords else keywords)
        )

    Trainer._create_optimizer = create_fused_optimizer


if __name__ == "__main__":
    checkpoint, model, *arguments = sys.argv[1:]
    deepmd.utils.data.ThreadPoolExecutor = InThisThread
    keep_structures()
    save_number_of_steps()
    fuse_adam()
    draw_batches_from_stream(json.loads(Path(arguments[0]).read_text())["training"]["seed"])
    main(["--pt", "train", *arguments])
    main(["--pt", "freeze", "-c", checkpoint, "-o", model])
