"""Time and memory of `gat` and `egat` on 2,000 and 20,000 atoms; `gat` also compared with its dense form."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from measuring import Comparison, shown

SIZES = (2_000, 20_000)


def main() -> None:
    """Run each measurement in its own process, so that the peak of memory is that of the measurement."""
    for meta in ("gat", "egat"):
        small, large = (measured(meta, size, "chosen") for size in SIZES)
        if meta == "gat":
            dense = measured(meta, SIZES[0], "dense")
            Comparison(
                f"{meta}, {SIZES[0]:,} atoms, forward and backward", "dense form", shown(small["seconds"]),
                shown(dense["seconds"]), dense["seconds"] / small["seconds"], 1.0, "at least",
                f"{small['megabytes']:.0f} against {dense['megabytes']:.0f} MB",
            ).print()  # fmt: skip
        per_edge = [found["megabytes"] / found["edges"] * 1e6 for found in (small, large)]
        Comparison(
            f"{meta}, {SIZES[1]:,} atoms: memory per edge", f"{SIZES[0]:,} atoms", f"{per_edge[1]:.0f} B",
            f"{per_edge[0]:.0f} B", per_edge[1] / per_edge[0], 1.2, "at most",
            f"{large['megabytes']:.0f} MB, {shown(large['seconds'])}",
        ).print()  # fmt: skip


def measured(meta: str, size: int, form: str) -> dict[str, float]:
    """Run `measure` in a new process and return its result."""
    command = [sys.executable, __file__, meta, str(size), form]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def measure(meta: str, size: int, form: str) -> dict[str, float]:
    """Return the seconds of a forward and backward pass, and its peak of memory in addition to the graph."""
    import torch
    from structures import crystal, random_features

    from elmlff_core.graphs.batch import GraphDataset
    from elmlff_core.meta import layers
    from elmlff_core.meta.egat import EGATNetwork
    from elmlff_core.meta.gat import GATNetwork
    from elmlff_core.meta.options import EGATOptions, GATOptions

    if form == "dense":
        layers.DENSE_LIMIT = size * 2
    torch.manual_seed(0)
    features = random_features([crystal(size)], 3)
    graphs = GraphDataset.from_features(features, 5.0, images=meta == "egat")
    numbers = torch.tensor([29])
    network: torch.nn.Module
    if meta == "gat":
        network = GATNetwork(GATOptions(readout="atom"), 3, numbers, 0)
    else:
        network = EGATNetwork(EGATOptions(), 3, numbers, 40.0)
    images = meta == "egat"
    small = GraphDataset.from_features(random_features([crystal(54)], 3), 5.0, images).batch([0])
    network(small).square().mean().backward()  # loads libraries, whose memory must not be counted
    batch = graphs.batch([0])
    before = resident()
    started = time.perf_counter()
    network(batch).square().mean().backward()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "megabytes": peak - before, "edges": graphs.edges.shape[1]}


def resident() -> float:
    """Return the memory of this process in megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    else:
        main()
