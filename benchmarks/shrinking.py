"""A correction that shrinks: the linear combination, and of what the network adds to it a share that falls.

The share is a function of how far an atom is from what the network knows: of the distance of its last layer to that
of the nearest training atom (``distance``), of the standard deviation that the network has learnt (``learnt``), or one
number for all (``constant``).  It is fitted on validation structures, which are divided from training structures as
test structures are, in ten bins of equal numbers of atoms.  For each stack of an `egat` in finished runs that have a
linear combination too, prints force RMSE per frame of test structures, eV/Å, and the shares of the first and last bin::

    elmlff stack --models chgnet,7net-0 --meta linear,egat --data mlearn-si --test mlearn-si/test --output run
    python benchmarks/shrinking.py run

Nothing is trained here; base models are evaluated only where their features are not cached.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from finished import runs_of_command_line, stacks_and_features
from scipy.spatial import cKDTree

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.features.descriptor_components import DescriptorComponents
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.meta.egat import EGATMeta, EGATNetwork

N_BINS = 10
N_COMPONENTS = 16
N_KNOWN = 50_000  # training atoms among which the nearest one is looked for


def last_layer(meta: EGATMeta, features: Features) -> Features:
    """Return `features` whose descriptors are the scalars of the network before its head."""
    assert isinstance(meta.network, EGATNetwork)
    seen: list[np.ndarray] = []

    def remember(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].detach().numpy())

    with meta.network.head.register_forward_pre_hook(remember):
        in_blocks(features, meta.predict)
    return replace(features, descriptors={features.models[0]: np.concatenate(seen).astype(np.float32)})


def distances(meta: EGATMeta, features: Mapping[str, Features]) -> dict[str, np.ndarray]:
    """Return how far atoms are from the nearest training atom: of validation and test structures, (n_rows,)."""
    train = last_layer(meta, features["train"])
    components = DescriptorComponents.fit(train, N_COMPONENTS)
    components = replace(components, limits=np.full_like(components.limits, np.inf))
    known = cKDTree(components.of(train.sample(N_KNOWN)))
    return {split: known.query(components.of(last_layer(meta, features[split])))[0] for split in ("valid", "test")}


def shares(by: np.ndarray, added: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return edges of bins of `by` (n_rows,), and the shares of `added` (n_rows, 3) that leave least of `missing`."""
    edges = np.quantile(by, np.linspace(0, 1, N_BINS + 1)[1:-1])
    bins = np.digitize(by, edges)
    products, squares = ((added * other).sum(axis=1) for other in (missing, added))
    return edges, np.bincount(bins, products, N_BINS) / np.maximum(np.bincount(bins, squares, N_BINS), 1e-300)


def rows(meta: EGATMeta, linear: Mapping[str, np.ndarray], features: Mapping[str, Features]) -> Iterator[str]:
    """Yield a row for each way, from the forces of the linear combination on validation and test structures."""
    network = {split: in_blocks(features[split], meta.predict).forces for split in linear}
    added = {split: network[split] - linear[split] for split in linear}
    missing = features["valid"].reference_forces - linear["valid"]
    before = [mean_rmse_per_frame(forces["test"], features["test"]) for forces in (linear, network)]
    learnt = {split: meta.forces_std(features[split]) for split in linear}
    ways = {
        "constant": {split: np.zeros(len(forces)) for split, forces in linear.items()},
        "learnt": learnt,
        "distance": distances(meta, features),
    }
    for way, by in ways.items():
        if by["valid"] is None or by["test"] is None:
            continue
        edges, share = shares(by["valid"], added["valid"], missing)
        shrunk = linear["test"] + share[np.digitize(by["test"], edges)][:, None] * added["test"]
        after = mean_rmse_per_frame(shrunk, features["test"])
        first, last = share[[0, -1]] if way != "constant" else share[[-1, -1]]
        yield f"{before[0]:.5f} | {before[1]:.5f} | {way} | {after:.5f} | {first:.3f} | {last:.3f}"


def main() -> None:
    """Print the table of the runs of the command line."""
    runs = runs_of_command_line(__doc__)
    print("| run | stack | linear | network | share a function of | test | first share | last share |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for run in runs:
        stacks, features = stacks_and_features(run)
        if "linear" not in stacks:
            sys.exit(f"{run} has no linear combination: make it with --meta linear,egat")
        linear = {split: stacks["linear"].combine(features[split]).forces for split in ("valid", "test")}
        for name, stack in stacks.items():
            if isinstance(stack.meta, EGATMeta) and stack.base_models:
                for row in rows(stack.meta, linear, features):
                    print(f"| {run.name} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
