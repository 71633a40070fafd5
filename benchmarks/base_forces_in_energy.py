"""`conservative` that knows the forces of some base models, with the exact gradient of its energy.

Fits the network, and prints its errors (RMSE per frame, eV/Å), in the ways

- ``none``: the usual one, which sees the energies of the base models alone;
- ``both``: E = G(R, E_m, F_m), where base forces are vectors and invariants among the inputs, and ``invariants``, where
  they are invariants.  The forces need the term that others cut: -(dF_m/dR)^T v_m = H_m v_m with v_m = dG/dF_m and the
  Hessian H_m of base model m, a difference of forces;
- ``displaced``: E = sum_m c_m E_m(R + d(R)) + e(R) with a displacement d of each atom, an equivariant vector that the
  network learns.  The forces need those of the base models at R + d alone.

Base models are evaluated anew in each step, two or four times in ``both`` and three times in ``displaced``; so this is
done with those of ``--inside``, which should be fast.  The others enter with their energies, as usual.  Also prints how
far the forces are from differences of the energy on test structures, along random directions; in ``both`` without the
term of the Hessians too::

    python benchmarks/base_forces_in_energy.py dp1,painn,nep methane --inside dp1,nep
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from arguments import stacking_parser
from ase import Atoms
from black_boxes import STEP, BlackBoxes
from torch import nn

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, NamedModel
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import BaseForceField, FitRequest
from elmlff_core.features.metrics import metrics
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.network import Network, NetworkOutputs
from elmlff_core.graphs.pairs_of_batch import make_pairs
from elmlff_core.meta.chain_rule import forces_from
from elmlff_core.meta.conservative import ConservativeMeta, ConservativeNetwork
from elmlff_core.meta.equivariant import GatedHead, compressed, norm
from elmlff_core.meta.neural import RootMeanSquare
from elmlff_core.meta.options import ConservativeOptions
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import read_inputs

LONGEST = 0.1  # Å, of a displacement
N_CHECKED = 3  # test structures whose forces are held to differences of the energy
N_DIRECTIONS = 5  # for each of them


class Knowing(ConservativeNetwork):
    """`ConservativeNetwork` that evaluates some base models itself.

    A batch carries the numbers of its structures in the place of components of descriptors.
    """

    # Of the class, as copies of a network, such as the mean of its weights in training, share them.
    inside: ClassVar[dict[int, BaseForceField]] = {}  # by the number of the base model
    structures: ClassVar[list[Atoms]] = []
    energies: ClassVar[list[np.ndarray]] = []  # of the models inside at each of the structures, eV

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """Return forces, and the energy less the linear combination; no stress."""
        energy, forces = self.energy_and_forces(batch)
        return NetworkOutputs(forces, energy, None, None)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the forces (N, 3), eV/Å."""
        return self.energy_and_forces(batch)[1]

    def energy_and_forces(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the energy (B,), eV, less the linear combination, and the forces (N, 3), eV/Å."""
        raise NotImplementedError

    def boxes(self, batch: GraphBatch) -> tuple[BlackBoxes, torch.Tensor]:
        """Return the base models inside at the structures of `batch`, and their energies there, eV."""
        assert batch.components is not None
        first = torch.cumsum(batch.n_atoms, 0) - batch.n_atoms
        numbers = batch.components[first, 0].long().tolist()
        boxes = BlackBoxes(list(self.inside.values()), [self.structures[number] for number in numbers])
        return boxes, torch.from_numpy(np.stack([self.energies[number] for number in numbers]))

    def embedded(self, batch: GraphBatch) -> torch.Tensor:
        """Return what the atoms are at first: (N, width)."""
        found: torch.Tensor = self.embedding(torch.searchsorted(self.atomic_numbers, batch.atomic_numbers))
        return found


class Displaced(Knowing):
    """The way ``displaced``."""

    def __init__(
        self, options: ConservativeOptions, n_models: int, atomic_numbers: torch.Tensor, n_neighbours: float
    ) -> None:
        super().__init__(options, n_models, atomic_numbers, n_neighbours)
        self.head = GatedHead(self.stack.width, 2 * options.width, 1 + n_models)

    def energy_and_forces(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energy and forces, which can be differentiated by the parameters of the network in training."""
        assert batch.vectors is not None
        assert batch.base_energies is not None
        models, (boxes, unmoved) = list(self.inside), self.boxes(batch)
        with torch.enable_grad():
            vectors = batch.vectors.detach().requires_grad_(True)
            pairs = make_pairs(batch.with_vectors(vectors), self.basis, in_blocks=False, twice=True)
            numbers, learnt = self.stack(self.embedded(batch), None, pairs, self.head)
            energy, gates = self._summed(batch, numbers)
            shares = self.shares(gates)
            displacement = LONGEST * learnt / (1 + learnt.square().sum(dim=1, keepdim=True)).sqrt()
            energies, forces = boxes.moved(displacement.double())
            energy = energy + (shares[:, models] * (energies - unmoved).to(shares.dtype)).sum(dim=1)
            (gradient,) = torch.autograd.grad(energy.sum(), vectors, create_graph=self.training)
        base_forces = batch.base_forces.clone()
        base_forces[:, models] = forces.to(base_forces.dtype)
        found = forces_from(replace(batch, base_forces=base_forces), shares, gradient)
        return (energy, found) if self.training else (energy.detach(), found.detach())


class Seeing(Knowing):
    """The ways ``both`` and ``invariants``."""

    as_vectors = True
    cut = False  # whether the term of the Hessians is left out

    def __init__(
        self, options: ConservativeOptions, n_models: int, atomic_numbers: torch.Tensor, n_neighbours: float
    ) -> None:
        super().__init__(options, n_models, atomic_numbers, n_neighbours)
        width, n = options.width, len(self.inside) + 1
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.register_buffer("deviation_scale", torch.tensor(1.0))
        self.register_buffer("input_pairs", torch.triu_indices(n, n), persistent=False)
        n_invariants = n * (n + 1) // 2 + n
        self.invariants = nn.Sequential(nn.Linear(n_invariants, width), nn.SiLU(), nn.Linear(width, width))
        self.vectors = nn.Parameter(torch.randn(len(atomic_numbers), n, width) / n**0.5)

    def energy_and_forces(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energy and forces, which can be differentiated by the parameters of the network in training."""
        assert batch.vectors is not None
        models = list(self.inside)
        with torch.enable_grad():
            vectors = batch.vectors.detach().requires_grad_(True)
            base = batch.base_forces[:, models].detach().requires_grad_(True)
            scalars, of_forces = self._seen(batch, base)
            pairs = make_pairs(batch.with_vectors(vectors), self.basis, in_blocks=False, twice=True)
            numbers, *_ = self.stack(scalars, of_forces, pairs, self._read)
            energy, gates = self._summed(batch, numbers)
            gradient, by_forces = torch.autograd.grad(
                energy.sum(), (vectors, base), create_graph=self.training, materialize_grads=True
            )
        found = forces_from(batch, self.shares(gates), gradient)
        if not self.cut:
            found = found + self.boxes(batch)[0].hessian_times(by_forces).sum(dim=1)
        return (energy, found) if self.training else (energy.detach(), found.detach())

    def _seen(self, batch: GraphBatch, base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return scalars (N, width) and vectors (N, 3, width) of the atoms, from base forces (N, models inside, 3)."""
        weights = self.combination[list(self.inside)].to(base.dtype)
        combined = base.mean(dim=1) if weights.sum() <= 0 else (weights[:, None] * base).sum(dim=1) / weights.sum()
        deviations = base - combined.unsqueeze(1)
        scaled = [(combined / self.input_scale).unsqueeze(1), deviations / self.deviation_scale]
        inputs = compressed(torch.cat(scaled, dim=1)).to(self.vectors.dtype)  # (N, n, 3)
        first, second = self.input_pairs
        products = (inputs.index_select(1, first) * inputs.index_select(1, second)).sum(dim=2)
        invariants = torch.cat([products, norm(inputs.transpose(1, 2))], dim=1)
        scalars = self.embedded(batch) + self.invariants(invariants)
        if not self.as_vectors:
            return scalars, None
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)
        return scalars, (inputs.unsqueeze(3) * self.vectors[element].unsqueeze(2)).sum(dim=1)


class KnowingMeta(ConservativeMeta):
    """`ConservativeMeta` with one of these networks."""

    kind: type[Knowing]

    def _build(self) -> Knowing:
        return self.kind(*self._arguments())

    def _graphs(self, features: Features, dtype: torch.dtype = torch.float32) -> GraphDataset:
        first = len(Knowing.structures)
        Knowing.structures.extend(features.structures)
        names = [features.models[model] for model in Knowing.inside]
        Knowing.energies.extend(np.stack([features.energies[name] for name in names], axis=1))
        numbers = np.repeat(np.arange(first, len(Knowing.structures)), features.n_atoms)
        graphs = super()._graphs(features, dtype)
        return replace(graphs, components=torch.from_numpy(numbers).to(dtype).unsqueeze(1))

    def _start(self, network: Network, train: Features) -> None:
        super()._start(network, train)
        if isinstance(network, Seeing):
            inputs, deviations = RootMeanSquare(), RootMeanSquare()
            for _, block in train.blocks():
                base = block.forces[list(Knowing.inside)]
                inputs.add(base)
                deviations.add(base - base.mean(axis=0))
            network.input_scale.fill_(inputs.value)
            network.deviation_scale.fill_(deviations.value or 1.0)


WAYS: dict[str, type[Knowing] | None] = {"none": None, "both": Seeing, "invariants": Seeing, "displaced": Displaced}


def main() -> None:
    """Fit the networks of the command line, and print their rows."""
    parser = stacking_parser(__doc__)
    parser.add_argument("--inside", required=True, help="base models that are evaluated in training, comma-separated")
    parser.add_argument("--test", help="labelled structures of the test; by default a part of the data")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}, comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = {"train": given.data} | ({"test": given.test} if given.test else {})
    overlay = {"base_models": given.models.split(","), "data": data, "meta": {"name": "conservative"}}
    inputs = read_inputs(read_config(None, overlay, given.set))
    reporter = ConsoleReporter()
    models = train_base_models(inputs, DEFAULT_MODELS_FOLDER, reporter)
    found = base_features(models, inputs.splits, FeatureCache(), reporter)
    features = {split: replace(part, stresses={}) for split, part in found.items()}  # not of the moved base models
    (named,) = resolve_meta_models(inputs.config, inputs.splits)
    inside = given.inside.split(",")
    if unknown := set(inside) - {model.name for model in models}:
        parser.error(f"--inside names {', '.join(sorted(unknown))}, which is not among the base models")
    Knowing.inside = {number: model.force_field for number, model in enumerate(models) if model.name in inside}
    for way in given.ways.split(","):
        options = ConservativeOptions(**named.options).model_copy(update={"variance": False})
        meta: ConservativeMeta = ConservativeMeta(options)
        if kind := WAYS[way]:
            meta = KnowingMeta(options)
            meta.kind = kind
            Seeing.as_vectors = way == "both"
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            parts = features["train"], features["valid"]
            meta.fit(FitRequest(*parts, named.training, Path(folder), given.seed, lambda _: None))
        minutes = (time.perf_counter() - started) / 60
        errors = {
            split: metrics(in_blocks(features[split], meta.predict), features[split]) for split in ("valid", "test")
        }
        cells = [f"{split} {errors[split]['rmse_per_frame']:.5f}" for split in errors]
        print(f"{way}: {', '.join(cells)} (RMSE {errors['test']['rmse']:.5f}) eV/Å, {minutes:.1f} min", flush=True)
        if isinstance(meta, KnowingMeta):
            tested = features["test"].structures
            show_differences(meta, models, tested[:: -(-len(tested) // N_CHECKED)])


def show_differences(meta: KnowingMeta, models: Sequence[NamedModel], structures: Sequence[Atoms]) -> None:
    """Print how far forces are from differences of the energy."""
    assert meta.network is not None
    meta.network.double()
    exact = max(differences(meta, models, structures))
    print(f"largest difference to the energy: {exact:.1e} eV/Å", flush=True)
    if isinstance(meta.network, Seeing):
        Seeing.cut = True
        print(f"without the term of the Hessians: {max(differences(meta, models, structures)):.1e} eV/Å", flush=True)
        Seeing.cut = False


def differences(meta: KnowingMeta, models: Sequence[NamedModel], structures: Sequence[Atoms]) -> Iterator[float]:
    """Yield differences between forces along random directions and differences of the energy, eV/Å.

    The energies of base models that are not inside change as their forces say, since many compute in single precision.
    """
    rng, signs = np.random.default_rng(0), np.array([0, 1, -1])
    for atoms in structures:
        at_rest = {model.name: model.force_field.predict([atoms] * len(signs)) for model in models}
        for _ in range(N_DIRECTIONS):
            direction = rng.normal(size=atoms.positions.shape)
            direction /= np.linalg.norm(direction)
            moved = [atoms.copy() for _ in signs]
            for copy, sign in zip(moved, signs, strict=True):
                copy.positions += sign * STEP / 2 * direction
            predictions = {}
            for number, model in enumerate(models):
                known = at_rest[model.name]
                if number in Knowing.inside:
                    predictions[model.name] = model.force_field.predict(moved)
                else:
                    assert known.energy is not None
                    work = signs * STEP / 2 * (known.forces_of(0) * direction).sum()
                    predictions[model.name] = replace(known, energy=known.energy - work)
            found = meta.predict(replace(Features.from_predictions(moved, predictions), stresses={}))
            assert found.energy is not None
            numeric = -(found.energy[1] - found.energy[2]) / STEP
            yield float(abs((found.forces[: len(atoms)] * direction).sum() - numeric))


if __name__ == "__main__":
    main()
