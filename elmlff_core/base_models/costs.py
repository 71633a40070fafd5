"""Costs: the time that each base model takes for a structure, measured on a few structures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Reporter
from elmlff_core.files import read_record, write_record

N_STRUCTURES = 16
N_REPEATS = 2


class CostsRecord(TypedDict):
    """What ``costs.json`` holds: seconds per structure by the name of the model."""

    seconds: dict[str, float]


def measured_costs(models: Sequence[NamedModel], dataset: Dataset, path: Path, reporter: Reporter) -> dict[str, float]:
    """Return the seconds per structure of each model, read from `path`, or measured and written there.

    A measurement takes the shorter of two passes over a few structures, after a first pass that loads and compiles.
    """
    known: dict[str, float] = {}
    if path.exists():
        known = read_record(path, CostsRecord, "remove it, and it is measured again")["seconds"]
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(N_STRUCTURES, len(dataset))).round().astype(np.int64))
    structures = dataset.subset(chosen).structures
    for model in models:
        if model.name in known:
            continue
        with reporter.progress(f"timing {model.name}"):
            times = []
            for _ in range(1 + N_REPEATS):
                started = time.perf_counter()
                predict_checked(model, structures)
                times.append(time.perf_counter() - started)
            model.close()
        known[model.name] = min(times[1:]) / len(structures)
        write_record(path, {"seconds": known})
    return {model.name: known[model.name] for model in models}
