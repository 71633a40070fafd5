"""Time of a training step of `egat` compiled by torch.compile, compared with eager execution: slabs and molecules."""

from __future__ import annotations

import time

import torch
from ase.build import bulk
from measuring import Comparison, medians, shown
from structures import random_features, slabs

from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.meta.egat import EGATNetwork
from elmlff_core.meta.options import EGATOptions
from elmlff_core.meta.training.compilation import compiled
from elmlff_core.meta.training.loss import Labelled, training_loss
from elmlff_core.settings.config import TrainingConfig

N_MODELS, BATCH = 5, 8


def main() -> None:
    """Check that both give the same gradients, then time."""
    clusters = [bulk("Cu", cubic=True).repeat(2)[:5] for _ in range(2 * BATCH)]
    for seed, atoms in enumerate(clusters):
        atoms.pbc = False
        atoms.rattle(0.05, seed=seed)
    settings = TrainingConfig(loss="norm", energy_weight=0.0)
    cases = (
        (
            "slabs of 72 atoms",
            slabs(2 * BATCH, (4, 6, 3)),
            1.2,
        ),  # each pair of atoms is joined once, so the form is dense
        ("slabs of 54 atoms", slabs(2 * BATCH), 2.0),  # some pairs are joined by several images, so the form is sparse
        ("molecules of 5 atoms", clusters, 1.2),
    )
    for title, structures, bound in cases:
        graphs = GraphDataset.from_features(random_features(structures, N_MODELS), 5.0, images=True)
        samples = [labelled(graphs, part) for part in torch.arange(2 * BATCH).split(BATCH)]
        network = EGATNetwork(EGATOptions(), N_MODELS, torch.tensor([29]), 40.0)
        for parameter in network.parameters():
            if not parameter.any():  # a parameter of zero would hide the gradients of others
                torch.nn.init.normal_(parameter, std=0.1)
        started = time.perf_counter()
        forward, result = compiled(network, samples, settings, 1.0)
        seconds = time.perf_counter() - started
        if forward is None:
            raise SystemExit(result)
        for one, other in zip(gradients(network, samples[0]), gradients(network, samples[0], forward), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(one.abs().max()) + 1e-9)
        times = medians(
            {
                "compiled": lambda n=network, s=samples[1], f=forward: gradients(n, s, f),
                "eager": lambda n=network, s=samples[1]: gradients(n, s),
            }
        )
        Comparison(
            f"egat step compiled, {BATCH} {title}", "eager execution", shown(times["compiled"]),
            shown(times["eager"]), times["eager"] / times["compiled"], bound, "at least",
            f"compiled in {seconds:.0f} s; same gradients to 1e-3",
        ).print()  # fmt: skip


def labelled(graphs: GraphDataset, indices: torch.Tensor) -> Labelled:
    """Return a batch with its labels."""
    assert graphs.reference_forces is not None
    return Labelled(graphs.batch(indices), graphs.reference_forces[graphs.rows(indices)])


def gradients(network: torch.nn.Module, sample: Labelled, forward: object = None) -> list[torch.Tensor]:
    """Return the gradients of the training loss."""
    network.zero_grad()
    training_loss(network, sample, TrainingConfig(loss="norm"), 1.0, forward)[0].backward()
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


if __name__ == "__main__":
    main()
