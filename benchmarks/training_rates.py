"""Processor time of a step in trainings of the paper's base models for methanol on copper.

    OMP_NUM_THREADS=1 python benchmarks/training_rates.py paper-methanol-cu100 [--models nep,painn]

Each model is trained twice, with its settings in the paper but few steps; the difference has no start and no end.
DeePMD-kit is left out: in so short a training it writes a checkpoint in every step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from elmlff_core.base_models.named import resolve_model
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import TrainingRequest
from elmlff_core.data.readers import read_dataset
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.reproduction.studies import STUDIES

STUDY = STUDIES["methanol-cu100"]
N_FRAMES = 40
MODELS = "sch1,sch2,sch3,painn,nep"
STEPS = {"nep": (25, 50)}  # fewer and more; those of the others: 8 and 24


def main() -> None:
    """Print the seconds of a step of each base model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="labelled structures")
    parser.add_argument("--models", default=MODELS)
    given = parser.parse_args()
    dataset = read_dataset(given.data).subset(range(N_FRAMES + 1))
    config = read_config(None, STUDY.settings(Config(budget="paper")) | {"budget": "paper"})
    for name in given.models.split(","):
        few, many = STEPS.get(name, (8, 24))
        seconds(config, name, few, dataset)  # imports the backend
        rate = (seconds(config, name, many, dataset) - seconds(config, name, few, dataset)) / (many - few)
        print(f"{name}: {rate:.3f} s a step", flush=True)


def seconds(config: Config, name: str, steps: int, dataset: Dataset) -> float:
    """Return the processor time of a training, of this process and of the trainer that it starts."""
    model = resolve_model(config, name)
    changes = {"steps": steps} | ({"epochs": None} if "epochs" in type(model.options).model_fields else {})
    options = model.options.model_copy(update=changes)
    assert model.plugin.trainer is not None
    with tempfile.TemporaryDirectory() as folder:
        train, valid = dataset.subset(range(N_FRAMES)), dataset.subset(range(N_FRAMES, N_FRAMES + 1))
        request = TrainingRequest(name, train, valid, options, Path(folder), config.seed, ignored)
        before = os.times()
        model.plugin.trainer.train(request)
        return sum(os.times()[:4]) - sum(before[:4])


def ignored(_: Progress) -> None:
    """Do nothing with the progress of a training."""


if __name__ == "__main__":
    main()
