"""Predictions of a meta-model on a GPU, compared with one core: times, the largest difference of forces, and
memory of the GPU.

Structures and meta-models are those of `benchmarks/meta_model_cost.py`, and a slab 20 x 20 times as large.

    python benchmarks/gpu.py --base-model nep=nep.txt --data frames.extxyz
"""

from __future__ import annotations

import numpy as np
import torch
from base_models import parse
from measuring import medians, shown
from meta_model_cost import N_STRUCTURES, REACH, REPEATS, fitted

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.stack.stack import Stack

LARGEST = 20


def main() -> None:
    """Print a table."""
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU")
    models, structures = parse(__doc__, N_STRUCTURES)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    print("| what | atoms | CPU | GPU | difference, eV/Å | memory |\n| --- | --- | --- | --- | --- | --- |")
    for name in REACH:
        stack = fitted(name, models, structures)
        for repeat in (*REPEATS, LARGEST):
            compare(stack, stack.features([structures[0].repeat((repeat, repeat, 1))]))


def compare(stack: Stack, features: Features) -> None:
    """Print one row: the same prediction on the CPU and on the GPU."""
    predictions: dict[str, Prediction] = {}

    def predict(device: str) -> None:
        predictions[device] = stack.meta.predict(features)  # its arrays are on the CPU, so the GPU has finished

    seconds = {}
    for device in ("cpu", "cuda"):
        stack.meta.to(device)
        torch.cuda.reset_peak_memory_stats()
        seconds |= medians({device: lambda device=device: predict(device)}, repeats=5)
    difference = np.abs(predictions["cpu"].forces - predictions["cuda"].forces).max()
    n_atoms = len(features.atomic_numbers)
    memory = torch.cuda.max_memory_allocated() / 1e6
    print(
        f"| {stack.meta_name} | {n_atoms:,} | {shown(seconds['cpu'])} | {shown(seconds['cuda'])} | "
        f"{difference:.1e} | {memory:.0f} MB |",
        flush=True,
    )


if __name__ == "__main__":
    main()
