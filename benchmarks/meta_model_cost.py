"""Cost of the meta-model itself, per atom and at the start, compared with the first base model.

The structure is the first one of the data, and the same repeated 4 x 4 and 6 x 6 times in a and b.  The meta-models are
trained for one epoch, on which times do not depend.  Each is measured as it is, and as `elmlff compile` compiles it.

    python benchmarks/meta_model_cost.py --base-model nep=nep.txt --data frames.extxyz
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from base_models import parse
from measuring import Comparison, medians, shown

from elmlff_core.base_models.named import NamedModel
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.progress import Reporter
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.stack.compilation import compile_stack
from elmlff_core.stack.stack import Stack, load_stack

N_STRUCTURES = 4
REPEATS = (1, 4, 6)
REACH = {"egat": 1.0, "conservative": 1.5}
# Seconds of a process that loads base models and predicts one structure, without a stack and with it.
BASE_MODELS_ALONE = """
import sys, ase.io
from elmlff_core.stack.stack import load_stack
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.base_models.named import named_model
import json
record = json.load(open(sys.argv[1] + "/stack.json"))
from elmlff_core.settings.config import ModelConfig
for one in record["base_models"]:
    checkpoint = one["checkpoint"]["path"]
    settings = ModelConfig(adapter=one["adapter"], checkpoint=checkpoint, options=one["options"], trust=True)
    predict_checked(named_model(one["name"], settings), [ase.io.read(sys.argv[2])])
"""
WITH_THE_STACK = """
import sys, ase.io
from elmlff_core.stack.stack import load_stack
load_stack(sys.argv[1], trust=True).predict([ase.io.read(sys.argv[2])])
"""


def main() -> None:
    """Fit each meta-model once, then measure."""
    models, structures = parse(__doc__, N_STRUCTURES)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ELMLFF_CACHE"] = cache  # compiled networks are not left behind
        for name, bound in REACH.items():
            stack = fitted(name, models, structures)
            stack.save(Path(cache) / name)
            compiled = load_stack(Path(cache) / name, trust=True, device="cpu")
            compile_stack(compiled, structures[0], Reporter())
            for repeat in REPEATS:
                compare(stack, compiled, structures[0].repeat((repeat, repeat, 1)), bound)
            compare_start(stack, structures[0])


def fitted(name: str, models: list[NamedModel], structures: list[Atoms]) -> Stack:
    """Return a stack whose meta-model was trained for one epoch on what its base models predict, with noise."""
    features = Features.from_predictions(structures, {one.name: one.force_field.predict(structures) for one in models})
    rng = np.random.default_rng(0)
    first = models[0].force_field.predict(structures)
    noisy = replace(first, forces=first.forces + rng.normal(scale=0.1, size=first.forces.shape))
    labelled = replace(features, reference=noisy)
    meta = make_meta(name, {})
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingConfig(epochs=1, batch_size=2, learning_rate=1e-3, loss="norm", energy_weight=0.0)
        meta.fit(FitRequest(labelled, labelled, training, Path(folder), 0, lambda _: None))
    return Stack(models, name, {}, meta, None)


def compare(stack: Stack, compiled: Stack, atoms: Atoms, bound: float) -> None:
    """Compare the meta-model, as it is and compiled, with the first base model, on one structure."""
    model = stack.base_models[0]
    features = stack.features([atoms])
    ways = {"": lambda: stack.meta.predict(features), ", compiled": lambda: compiled.meta.predict(features)}
    times = medians(ways | {"base": lambda: model.force_field.predict([atoms])}, repeats=15)
    per_atom = {name: seconds / len(atoms) for name, seconds in times.items()}
    for way in ways:
        Comparison(
            f"{stack.meta_name}{way}, {len(atoms):,} atoms, per atom", model.name, shown(per_atom[way]),
            shown(per_atom["base"]), per_atom[way] / per_atom["base"], bound, "at most",
        ).print()  # fmt: skip


def compare_start(stack: Stack, atoms: Atoms) -> None:
    """Compare a process that loads a stack and predicts with one that does so with its base models alone."""
    with tempfile.TemporaryDirectory() as name:
        stack.save(Path(name))
        ase.io.write(Path(name) / "one.extxyz", atoms)

        def run(code: str) -> None:
            subprocess.run([sys.executable, "-c", code, name, f"{name}/one.extxyz"], check=True)

        times = medians({"stack": lambda: run(WITH_THE_STACK), "alone": lambda: run(BASE_MODELS_ALONE)}, repeats=5)
    more = times["stack"] - times["alone"]
    Comparison(
        f"a process that loads a stack with {stack.meta_name} and predicts", "its base models alone",
        shown(times["stack"]), shown(times["alone"]), more, 1.0, "at most",
        "the ratio is the additional time in seconds",
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
