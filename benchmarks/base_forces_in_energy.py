"""`conservative` whose network sees the forces of the base models, with the exact gradient of its energy.

For E = G(R, E_m, F_m) the forces need the term that others cut: -(dF_m/dR)^T v_m = H_m v_m with v_m = dG/dF_m and the
Hessian H_m of base model m.  Here the Hessians of all structures are computed first, by central differences of forces,
so that training costs little more than usual.  This is for molecules: a Hessian has (3 N)^2 numbers.

Fits the network with base forces as vectors and invariants (``both``), as invariants alone (``invariants``) and without
them (``none``, the usual `conservative`), prints the errors (RMSE per frame, eV/Å), and for the first of them how far
its forces are from differences of its energy on test structures, with that term and without it.  All structures must
have the same number of atoms::

    python benchmarks/base_forces_in_energy.py dp1,painn,nep methane
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from arguments import stacking_parser
from ase import Atoms
from torch import nn

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.named import DEFAULT_MODELS_FOLDER, NamedModel
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.features.metrics import mean_rmse_per_frame
from elmlff_core.fits.meta_models import resolve_meta_models
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.network import Network
from elmlff_core.graphs.pairs_of_batch import make_pairs
from elmlff_core.meta.conservative import ConservativeMeta, ConservativeNetwork
from elmlff_core.meta.equivariant import compressed, norm
from elmlff_core.meta.neural import RootMeanSquare
from elmlff_core.meta.options import ConservativeOptions
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.base_models import base_features, train_base_models
from elmlff_core.workflows.inputs import read_inputs

STEP = 2e-3  # Å, of the differences
KINDS = ("both", "invariants", "none")
N_CHECKED = 3  # test structures whose forces are held to differences of the energy

# Hessians (M, 3 N, 3 N), eV/Å², by the base energies of the structure as its batch has them: these tell structures
# apart, and a batch has nothing else that does.
HESSIANS: dict[bytes, torch.Tensor] = {}


class BaseForces(ConservativeNetwork):
    """`ConservativeNetwork` that also sees base forces, as `EGATNetwork` does."""

    kind = "both"
    cut = False  # whether the term of the Hessians is left out

    def __init__(
        self, options: ConservativeOptions, n_models: int, atomic_numbers: torch.Tensor, n_neighbours: float
    ) -> None:
        super().__init__(options, n_models, atomic_numbers, n_neighbours)
        width, n = options.width, n_models + 1
        self.register_buffer("input_scale", torch.tensor(1.0))
        self.register_buffer("deviation_scale", torch.tensor(1.0))
        self.register_buffer("input_pairs", torch.triu_indices(n, n), persistent=False)
        n_invariants = n * (n + 1) // 2 + n
        self.invariants = nn.Sequential(nn.Linear(n_invariants, width), nn.SiLU(), nn.Linear(width, width))
        self.vectors = nn.Parameter(torch.randn(len(atomic_numbers), n, width) / n**0.5)

    def energy_and_gradient(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor, None, torch.Tensor]:
        """Return energy, gates and gradient as the usual network, and keep dE/dF_m for `forces`."""
        assert batch.vectors is not None
        with torch.enable_grad():
            vectors = batch.vectors.detach().requires_grad_(True)
            base = batch.base_forces.detach().requires_grad_(True)
            energy, gates, _ = self._energy(replace(batch, vectors=vectors, base_forces=base))
            gradient, self.by_forces = torch.autograd.grad(
                energy.sum(), (vectors, base), create_graph=self.training, materialize_grads=True
            )
        return (energy, gates, None, gradient) if self.training else (energy.detach(), gates.detach(), None, gradient)

    def forces(self, batch: GraphBatch, gates: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Return the forces (N, 3), eV/Å, with the term of the Hessians."""
        found = super().forces(batch, gates, gradient)
        if self.cut or self.kind == "none":
            return found
        assert batch.base_energies is not None
        hessians = torch.stack([HESSIANS[key_of(energies)] for energies in batch.base_energies])  # (B, M, 3 n, 3 n)
        by_forces = self.by_forces.unflatten(0, (len(hessians), -1)).transpose(1, 2).flatten(2)  # (B, M, 3 n)
        product = torch.einsum("bmij,bmj->bi", hessians.to(by_forces.dtype), by_forces)
        return found + product.reshape(found.shape)

    def _energy(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        if self.kind == "none":
            return super()._energy(batch)
        assert batch.base_energies is not None
        element = torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)
        combined = (self.combination.to(batch.base_forces.dtype)[:, None] * batch.base_forces).sum(dim=1)
        deviations = batch.base_forces - combined.unsqueeze(1)
        scaled = [(combined / self.input_scale).unsqueeze(1), deviations / self.deviation_scale]
        inputs = compressed(torch.cat(scaled, dim=1)).to(self.vectors.dtype)  # (N, M + 1, 3)
        first, second = self.input_pairs
        products = (inputs.index_select(1, first) * inputs.index_select(1, second)).sum(dim=2)
        invariants = torch.cat([products, norm(inputs.transpose(1, 2))], dim=1)
        scalars = self.embedding(element) + self.invariants(invariants)
        vectors = None
        if self.kind == "both":
            vectors = (inputs.unsqueeze(3) * self.vectors[element].unsqueeze(2)).sum(dim=1)
        pairs = make_pairs(batch, self.basis, in_blocks=not self.training, twice=True)
        (numbers,) = self.stack(scalars, vectors, pairs, lambda *joined: (self.head(*joined),))
        total = batch.base_energies.new_zeros(len(batch.n_atoms), numbers.shape[1])
        total = total.index_add(0, batch.structure_index, numbers.to(total.dtype))
        gates = total[:, 1:] / batch.n_atoms.unsqueeze(1)
        return self.output_scale * total[:, 0] + (gates * batch.base_energies).sum(dim=1), gates, None


class BaseForcesMeta(ConservativeMeta):
    """`ConservativeMeta` with this network."""

    def _build(self) -> BaseForces:
        return BaseForces(*self._arguments())

    def _start(self, network: Network, train: Features) -> None:
        super()._start(network, train)
        assert isinstance(network, BaseForces)
        inputs, deviations = RootMeanSquare(), RootMeanSquare()
        combined = np.einsum("m,mrx->rx", self.energy.weights, train.forces)
        inputs.add(combined)
        deviations.add(train.forces - combined)
        network.input_scale.fill_(inputs.value)
        network.deviation_scale.fill_(deviations.value)

    def remember(self, features: Features, hessians: np.ndarray) -> None:
        """Keep the Hessians of all structures for batches in single and double precision."""
        for dtype in (torch.float32, torch.float64):
            energies = self._graphs(features, dtype).base_energies
            assert energies is not None
            HESSIANS.update(zip(map(key_of, energies), torch.from_numpy(hessians), strict=True))


def key_of(energies: torch.Tensor) -> bytes:
    """Return what tells the structure with these base energies (M,) from all others."""
    return energies.numpy().tobytes()


def main() -> None:
    """Fit the networks of the command line, and print their rows."""
    parser = stacking_parser(__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}, comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if "," not in given.models:
        parser.error("name at least two base models")
    overlay = {
        "base_models": given.models.split(","), "data": {"train": given.data}, "meta": {"name": "conservative"}
    }  # fmt: skip
    inputs = read_inputs(read_config(None, overlay, given.set))
    reporter = ConsoleReporter()
    models = train_base_models(inputs, DEFAULT_MODELS_FOLDER, reporter)
    features = base_features(models, inputs.splits, FeatureCache(), reporter)
    hessians = {split: hessians_of(models, part.structures) for split, part in features.items()}
    (named,) = resolve_meta_models(inputs.config, inputs.splits)
    for kind in given.kinds.split(","):
        BaseForces.kind = kind
        meta = BaseForcesMeta(ConservativeOptions())
        meta.energy = meta._fit_energy(features["train"])
        for split, part in features.items():
            meta.remember(part, hessians[split])
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            parts = features["train"], features["valid"]
            meta.fit(FitRequest(*parts, named.training, Path(folder), given.seed, lambda _: None))
        minutes = (time.perf_counter() - started) / 60
        errors = {
            split: mean_rmse_per_frame(in_blocks(features[split], meta.predict).forces, features[split])
            for split in ("valid", "test")
        }
        print(f"{kind}: valid {errors['valid']:.5f}, test {errors['test']:.5f} eV/Å, {minutes:.1f} min", flush=True)
        if kind == given.kinds.split(",")[0] != "none":
            for exact, cut in checked(meta, models, features["test"].structures[:N_CHECKED], hessians["test"]):
                print(f"largest difference to the energy: {exact:.1e} eV/Å, without the term {cut:.1e}", flush=True)


def hessians_of(models: Sequence[NamedModel], structures: Sequence[Atoms]) -> np.ndarray:
    """Return the Hessians of all models by central differences: (S, M, 3 N, 3 N), eV/Å²."""
    n = 3 * len(structures[0])
    moved = [
        displaced(atoms, coordinate, sign * STEP)
        for atoms in structures for coordinate in range(n) for sign in (1, -1)
    ]  # fmt: skip
    found = []
    for model in models:
        forces = model.force_field.predict(moved).forces.reshape(len(structures), n, 2, n)
        hessian = (forces[:, :, 1] - forces[:, :, 0]) / (2 * STEP)
        found.append((hessian + hessian.transpose(0, 2, 1)) / 2)
    return np.stack(found, axis=1)


def displaced(atoms: Atoms, coordinate: int, distance: float) -> Atoms:
    """Return a copy with one coordinate moved by `distance`, Å."""
    copy = atoms.copy()
    copy.positions[coordinate // 3, coordinate % 3] += distance
    return copy


def checked(
    meta: BaseForcesMeta, models: Sequence[NamedModel], structures: Sequence[Atoms], hessians: np.ndarray
) -> Iterator[tuple[float, float]]:
    """Yield the largest difference between forces and differences of the energy, exact and without the term."""
    assert isinstance(meta.network, BaseForces)
    meta.network.double()

    def predicted(some: Sequence[Atoms], theirs: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        features = Features.from_predictions(some, {model.name: model.force_field.predict(some) for model in models})
        if theirs is not None:
            meta.remember(features, theirs)
        BaseForces.cut = theirs is None
        found = meta.predict(features)
        assert found.energy is not None
        return found.energy, found.forces

    for atoms, hessian in zip(structures, hessians, strict=False):
        n = 3 * len(atoms)
        moved = [displaced(atoms, k, sign * STEP / 2) for k in range(n) for sign in (1, -1)]
        energy = predicted(moved, None)[0].reshape(n, 2)
        numeric = ((energy[:, 1] - energy[:, 0]) / STEP).reshape(-1, 3)
        _, exact = predicted([atoms], hessian[None])
        _, cut = predicted([atoms], None)
        yield float(np.abs(exact - numeric).max()), float(np.abs(cut - numeric).max())
    BaseForces.cut = False


if __name__ == "__main__":
    main()
