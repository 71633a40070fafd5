"""Program: DeePMD-kit's trainer, then the freezing of the model, with batches that follow from seed and step alone.

A restart of DeePMD-kit restores weights and optimiser, takes the last step once more, and begins its stream of batches
anew.  Here checkpoints tell the next step, and the stream begins anew at each checkpoint anyway, with a seed of its
own, so that a restarted training does what one that was not interrupted does.  Training and freezing in one process
save the ten seconds in which DeePMD-kit starts and compiles.

    python -m elmlff_plugins.deepmd_trainer CHECKPOINT MODEL input.json [more arguments of `dp --pt train`]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deepmd.main import main
from deepmd.pt.train.training import Trainer
from deepmd.pt.utils.dataloader import setup_seed


def endless(batches: Iterable[Any]) -> Iterator[Any]:
    """One pass over `batches` after another."""
    while True:
        yield from batches


def begin_batches_anew_at_checkpoints(seed: int, every: int) -> None:
    """Make `Trainer` begin its streams of training and validation batches anew at each multiple of `every` steps."""
    get_data = Trainer.get_data

    def seeded_get_data(self: Trainer, is_train: bool = True, task_key: str = "Default") -> Any:
        if is_train:
            step = getattr(self, "n_batches_taken", self.start_step)
            if step % every == 0:
                setup_seed(seed + step)
                for part in ("training", "validation"):
                    if (loader := getattr(self, f"{part}_dataloader")) is not None:
                        loader.dataset.iters = [iter(system) for system in loader.dataset.dataloaders]
                        setattr(self, f"{part}_data", endless(loader))
            self.n_batches_taken = step + 1
        return get_data(self, is_train, task_key)

    Trainer.get_data = seeded_get_data


def tell_the_next_step_in_checkpoints() -> None:
    """Make `Trainer` save the number of steps taken, which is where a restart begins, not that of the last one."""
    save_model = Trainer.save_model

    def save_with_next_step(self: Trainer, path: Any, lr: float = 0.0, step: int = 0, **keywords: Any) -> None:
        save_model(self, path, lr, step + 1, **keywords)

    Trainer.save_model = save_with_next_step


if __name__ == "__main__":
    checkpoint, model, *arguments = sys.argv[1:]
    training = json.loads(Path(arguments[0]).read_text())["training"]
    tell_the_next_step_in_checkpoints()
    begin_batches_anew_at_checkpoints(training["seed"], training["save_freq"])
    main(["--pt", "train", *arguments])
    main(["--pt", "freeze", "-c", checkpoint, "-o", model])
