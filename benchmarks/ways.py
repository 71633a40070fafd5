"""What changes of a network, of its training, or of what it sees give: one fit each, with everything else the same.

The ways, of which some take a number, as in ``decay=0.1``: ``usual``; ``geometry``, without base models; ``gates``,
without the free vector of `egat`; ``decay``, weight decay by AdamW; ``noise`` on the forces of base models, in units of
their usual deviation from the linear combination; ``each``, the share of base models that are hidden, each by itself;
``hidden``, the share of structures whose base models are all hidden; ``width``; ``batch``, structures in a batch;
``energy``, the weight of the energy in the loss of `conservative`; ``late``, that in the last 30 % of the training;
``aside``, the weight of energies as a further output of `egat`; ``epochs``, times as many; ``cutoff``; ``layers``; and
of `ace` ``degree``, the largest one of its functions, ``environments`` of its kernel, and ``energies``, the weight of
energies.

Prints a row for each fit: meta-model, way, seed, best epoch and number of epochs, errors on validation and on test
structures (RMSE per frame, and RMSE of the latter, eV/Å), and minutes.  What is in the table is not fitted again::

    python benchmarks/ways.py chgnet,7net-0,7net-l3i5 mlearn-mo ways --test mlearn-mo/test --ways usual,decay=0.1
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from arguments import numbers, stacking_parser
from energy_ways import late_energies, learning_energies

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.metrics import mean_rmse_per_frame, metrics
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.masks import Masks
from elmlff_core.graphs.network import Network
from elmlff_core.meta.egat import EGATMeta, EGATNetwork
from elmlff_core.meta.equivariant import Readout
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import Inputs, read_inputs

WAYS = "usual,geometry,gates,decay=0.1,decay=1,noise=0.3,each=0.3,hidden=0.5,width=32,width=128,epochs=0.5,epochs=2"
OPTIONS = {
    "hidden": "meta.hidden={}", "width": "meta.width={}", "energy": "training.energy_weight={}",
    "aside": "training.energy_weight={}", "degree": "meta.degree={}", "cutoff": "meta.cutoff={}",
    "energies": "meta.energy_weight={}", "layers": "meta.layers={}", "environments": "meta.environments={}",
}  # fmt: skip
COLUMNS = ("meta-model", "way", "seed", "best epoch", "epochs", "valid", "test", "test RMSE", "minutes")


def main() -> None:
    """Do the fits of the command line, and add their rows to ``ways.csv`` in the folder."""
    parser = stacking_parser(__doc__, folder="folder for all results")
    parser.add_argument("--test", help="labelled structures of the test; by default a part of the data")
    parser.add_argument("--meta", default="egat", help="egat, or conservative or ace for the ways that they have")
    parser.add_argument("--ways", default=WAYS, help=f"comma-separated [{WAYS}]")
    parser.add_argument("--seeds", type=numbers, default=(0,), help="seeds, comma-separated")
    given = parser.parse_args()
    data = {"train": given.data} | ({"test": given.test} if given.test else {})
    overlay = {"base_models": given.models.split(","), "data": data, "meta": {"name": given.meta}}
    inputs = read_inputs(read_config(None, overlay, given.set))
    reporter = ConsoleReporter()
    base_models = train_base_models(inputs, DEFAULT_MODELS_FOLDER, reporter)
    features = base_features(base_models, inputs.splits, FeatureCache(), reporter)
    table = Path(given.folder) / "ways.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        for way in given.ways.split(","):
            row = [given.meta, way, str(seed)]
            if not table.exists() or row not in [known[:3] for known in csv.reader(table.open())]:
                row += fit(inputs, features, given.meta, way, seed, table.parent / f"{given.meta}-{way}-{seed}")
                with table.open("a") as file:
                    writer = csv.writer(file)
                    writer.writerows([COLUMNS, row] if not file.tell() else [row])
                print(*row, flush=True)


def fit(inputs: Inputs, features: dict[str, Features], name: str, way: str, seed: int, folder: Path) -> list[str]:
    """Fit in one way; return the rest of the row."""
    folder.mkdir(parents=True, exist_ok=True)
    what, _, value = way.partition("=")
    settings = [OPTIONS[what].format(value)] if what in OPTIONS else []
    (named,) = resolve_meta_models(read_config(None, inputs.config.model_dump(mode="json"), settings), inputs.splits)
    if what == "epochs":
        named = named.longer(float(value))
    training = named.training
    if what == "batch":
        training = training.model_copy(update={"batch_size": int(value)})
    if what == "geometry":
        features = {split: part.of_models(()) for split, part in features.items()}
    meta = named.make()
    request = FitRequest(features["train"], features["valid"], training, folder, seed, lambda _: None)
    started = time.perf_counter()
    n_steps = (training.epochs or 0) * -(-len(features["train"]) // (training.batch_size or 1))
    with changed(what, float(value) if value else 0.0, n_steps):
        meta.fit(request)
        minutes = (time.perf_counter() - started) / 60
        valid, test = (in_blocks(features[split], meta.predict) for split in ("valid", "test"))
    best, last = _epochs(folder / "learning_curve.csv")
    on_test = metrics(test, features["test"])
    errors = mean_rmse_per_frame(valid.forces, features["valid"]), on_test["rmse_per_frame"], on_test["rmse"]
    return [best, last, *(f"{error:.5f}" for error in errors), f"{minutes:.1f}"]


def _epochs(curve: Path) -> tuple[str, str]:
    """Return the best epoch and the last one of a training, and nothing for a fit in closed form."""
    if not curve.exists():
        return "", ""
    with curve.open() as file:
        epochs = list(csv.DictReader(file))
    return min(epochs, key=lambda one: float(one["valid_rmse_per_frame"]))["epoch"], epochs[-1]["epoch"]


@contextmanager
def changed(what: str, value: float, n_steps: int) -> Iterator[None]:
    """Fit in the way `what`, in `n_steps`, as long as this context lasts, if it is none of the settings."""
    if what == "decay":
        with mock.patch("torch.optim.Adam", partial(torch.optim.AdamW, weight_decay=value)):
            yield
    elif what in ("noise", "each"):
        masks = Noise if what == "noise" else EachHidden
        with mock.patch.object(EGATMeta, "_hidden", lambda _, network: masks(network, value)):
            yield
    elif what == "gates":
        usual = EGATNetwork._forces
        with mock.patch.object(EGATNetwork, "_forces", lambda *given: usual(*given[:2], _gates_alone(given[2]))):
            yield
    elif what in ("late", "aside"):
        with late_energies(value, n_steps) if what == "late" else learning_energies():
            yield
    else:
        yield


def _gates_alone(readout: Readout) -> Readout:
    def without_vector(scalars: torch.Tensor, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gates, learnt, *others = readout(scalars, vectors)
        return gates, 0 * learnt, *others

    return without_vector


@dataclass(frozen=True)
class OfNetwork(Masks):
    """What the ways that change base forces have in common.

    Attributes
    ----------
    network : network that is fitted; it knows the linear combination and the usual deviation from it
    amount : how much they change
    """

    network: Network
    amount: float

    def combined(self, batch: GraphBatch) -> torch.Tensor:
        """Return the linear combination of the base models: (N, 3), eV/Å."""
        assert isinstance(self.network, EGATNetwork)
        element = torch.searchsorted(self.network.atomic_numbers, batch.atomic_numbers)
        return batch.combined(self.network.combination[element])


class Noise(OfNetwork):
    """Normal errors on the forces of base models, which leave their mean as it is."""

    def draw(self, n_structures: int, generator: torch.Generator) -> torch.Tensor:
        """Draw a seed for each structure; that of the first is used."""
        return torch.randint(2**62, (n_structures,), generator=generator)

    def masked(self, batch: GraphBatch, drawn: torch.Tensor) -> GraphBatch:
        """Return `batch` with noise on the base forces."""
        assert isinstance(self.network, EGATNetwork)
        generator = torch.Generator().manual_seed(int(drawn[0]))
        noise = self.amount * self.network.deviation_scale * torch.randn(batch.base_forces.shape, generator=generator)
        noise = noise - noise.mean(dim=1, keepdim=True)
        return replace(batch, base_forces=batch.base_forces + noise, combined_forces=self.combined(batch))


class EachHidden(OfNetwork):
    """Base models hidden behind the linear combination, each by itself."""

    def draw(self, n_structures: int, generator: torch.Generator) -> torch.Tensor:
        """Draw for each structure which base models are hidden: (n_structures, M) bool."""
        assert isinstance(self.network, EGATNetwork)
        return torch.rand(n_structures, self.network.combination.shape[1], generator=generator) < self.amount

    def masked(self, batch: GraphBatch, drawn: torch.Tensor) -> GraphBatch:
        """Return `batch` with the base models `drawn` hidden."""
        combined = self.combined(batch)
        hidden = drawn[batch.structure_index].unsqueeze(2)
        return batch.with_forces(torch.where(hidden, combined.unsqueeze(1), batch.base_forces), combined)


if __name__ == "__main__":
    main()
