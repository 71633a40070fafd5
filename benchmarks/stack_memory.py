"""Memory of `stack` on 100,000 structures of 54 atoms with synthetic features of eight base models, including fits.

A run on a fiftieth of the structures gives the memory that does not depend on the size of the data (libraries,
activations of a network, plots).  The additional memory of the large run is compared with a shard of 64 MB.  Both are
peaks of the memory of the process itself.  Pages of mapped files are not counted, because the system can release them.

    python benchmarks/stack_memory.py [N_STRUCTURES]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import fcc111
from measuring import Comparison

from elmlff_core.arrays import row_offsets
from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import resolve_model
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.data.splits import read_splits
from elmlff_core.settings.config import Config
from elmlff_core.workflows.stack.workflow import build_stack

N_STRUCTURES, N_MODELS = 100_000, 8
SHARD_BYTES = 2**26  # 64 MB, a usual size of the shards of large datasets
SYSTEM = 2_000  # structures
SMALL_NETWORK = {"width": 8, "layers": 1, "heads": 1}  # one epoch takes minutes; memory depends on the structures


def main() -> None:
    """Run both sizes, each in two processes: one prepares data and cache, the other is measured."""
    n_structures = int(sys.argv[1]) if len(sys.argv) > 1 else N_STRUCTURES
    found = {}
    for n in (n_structures // 50, n_structures):
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder) / "data", n)
            environment = dict(os.environ) | {"ELMLFF_CACHE": folder}
            for step in ("prepare", "measure"):
                result = subprocess.run(
                    [sys.executable, __file__, step, folder], env=environment, stdout=subprocess.PIPE, check=True
                )
            found[n] = json.loads(result.stdout.splitlines()[-1])
            print(f"{n:>9,} structures: {found[n]}", flush=True)
    size = len(slab()) * n_structures * N_MODELS * 3 * 8
    grown = found[n_structures]["peak"] - found[n_structures // 50]["peak"]
    Comparison(
        f"memory of stack that grows with {n_structures:,} structures", f"a shard; their features are {mega(size)}",
        mega(grown), mega(SHARD_BYTES), grown / SHARD_BYTES, 2.0, "at most",
        f"peak {mega(found[n_structures]['peak'])} in {found[n_structures]['seconds']:.0f} s, linear and a small egat",
    ).print()  # fmt: skip


def write_data(folder: Path, n_structures: int) -> None:
    """Write deepmd/npy systems of rattled slabs with forces of 1 eV/Å; dpdata reads each system as a whole."""
    rng, atoms = np.random.default_rng(0), slab()
    for start in range(0, n_structures, SYSTEM):
        n = min(SYSTEM, n_structures - start)
        frames = folder / f"{start:08}" / "set.000"
        frames.mkdir(parents=True)
        (frames.parent / "type.raw").write_text("0\n" * len(atoms))
        (frames.parent / "type_map.raw").write_text("Cu\n")
        positions = atoms.positions + rng.normal(scale=0.05, size=(n, len(atoms), 3))
        np.save(frames / "coord.npy", positions.reshape(n, -1))
        np.save(frames / "box.npy", np.tile(atoms.cell.array.ravel(), (n, 1)))
        np.save(frames / "force.npy", rng.normal(size=(n, 3 * len(atoms))))
        np.save(frames / "energy.npy", rng.normal(size=n))


def slab() -> Atoms:
    """Return a copper slab of 54 atoms."""
    return fcc111("Cu", (3, 6, 3), vacuum=8.0, orthogonal=True)


def config_of(folder: Path) -> Config:
    """Return settings with eight base models, which are never run, because their predictions are in the cache."""
    names = [f"base{index}" for index in range(N_MODELS)]
    models = {
        name: {"adapter": "ase", "options": {"calculator": "ase.calculators.lj:LennardJones", "arguments": {"rc": rc}}}
        for rc, name in enumerate(names, start=4)
    }
    return Config.model_validate(
        {
            "data": {"train": str(folder / "data"), "test_fraction": 0.1, "valid_fraction": 0.1},
            "models": models,
            "base_models": names,
            "meta": {"name": "linear,egat", "egat": SMALL_NETWORK},
            "training": {"epochs": 1, "batch_size": 64},
        }
    )


def prepare(folder: Path) -> None:
    """Fill the feature cache with the labels plus an error of a tenth."""
    config = config_of(folder)
    data = read_splits(config.data).source
    rng, done = np.random.default_rng(1), 0
    offsets = row_offsets(data.n_atoms)

    def predict(structures: list[Atoms]) -> Prediction:
        nonlocal done
        forces = data.forces[offsets[done] : offsets[done + len(structures)]]
        done += len(structures)
        n_atoms = np.array([len(atoms) for atoms in structures])
        return Prediction(n_atoms, forces + 0.1 * rng.normal(size=forces.shape), rng.normal(size=len(structures)))

    for name in config.base_models:
        done = 0
        fingerprint = resolve_model(config, name).fingerprint
        FeatureCache().compute(fingerprint, data.fingerprint, data.structures, predict, 500, lambda _: None)


def measure(folder: Path) -> None:
    """Build a stack, and print the peak of memory of this process as JSON on the last line."""
    before, peak, running = own_memory(), [0], True

    def watch() -> None:
        while running:
            peak[0] = max(peak[0], own_memory())
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    build_stack(config_of(folder), output=folder / "run")
    seconds = time.perf_counter() - started
    running = False
    watcher.join()
    print(json.dumps({"before": before, "peak": peak[0], "seconds": round(seconds, 1)}))


def own_memory() -> int:
    """Return the bytes of resident pages that belong to no file (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this benchmark needs /proc/self/status, which exists only on Linux")


def mega(n_bytes: float) -> str:
    """In MB."""
    return f"{n_bytes / 1e6:.0f} MB"


if __name__ == "__main__":
    steps = {"prepare": prepare, "measure": measure}
    if sys.argv[1:] and sys.argv[1] in steps:
        steps[sys.argv[1]](Path(sys.argv[2]))
    else:
        main()
