"""`ace`: base models and an atomic cluster expansion in one linear energy, fitted in closed form.

The energy of a structure with positions R, where base model m has the aligned energy E_m, is ::

    E(R, E_1..E_M) = E_0 + sum_m w_m (E_m - E_0) + sum_i sum_k c_k B_k(R_i)

E_0 has a constant for each element.  The functions B_k are invariants of the neighbours of atom i: products of up to
three densities of neighbours (Drautz, 2019), and the likeness to some atoms of training structures, a kernel which
brings products of more.  They have coefficients of their own around each element.  The energy is linear in w and c, and
forces are minus its gradient, so that both follow from least squares.  A ridge holds back c, the more the rougher a
function is; validation structures choose how much.

It has no local minima, no seed and no length of training, and learns much from few structures.  The standard deviation
of its forces is that of the posterior distribution of the coefficients, from which a few are drawn, in the size of the
errors on validation structures.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from elmlff_core.arrays import new_array
from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.errors import ElmlffError
from elmlff_core.expansion.expansion import ClusterExpansion
from elmlff_core.expansion.functions import groups_of_functions, largest_degree
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.evaluation import evaluate_outputs
from elmlff_core.graphs.network import Network, NetworkOutputs
from elmlff_core.meta.ace_fit import LeastSquares
from elmlff_core.meta.chain_rule import forces_of_base_models, stress_from
from elmlff_core.meta.energy_meta import EnergyMeta, check_reference_energies, checked_energies, with_nothing
from elmlff_core.meta.options import ACEOptions

BESIDE_OTHERS = "(nothing)"  # no base model can have this name
N_DRAWS = 8  # from the posterior distribution: a standard deviation of 24 components is known to 14 %
CANDIDATES = 20_000  # atoms of training structures among which the environments of the kernel are chosen
MOST_FUNCTIONS = 5000  # around atoms of all elements, without those of the kernel: their products fill 200 MB


class ACENetwork(Network):
    """Forces, and the energy less the linear combination, from a `GraphBatch` with images.

    The last base model is the one that predicts zero, whose aligned energy is E_0.
    """

    def __init__(
        self,
        degree: int,
        cutoff: float,
        n_environments: int,
        n_models: int,
        atomic_numbers: torch.Tensor,
        n_draws: int = N_DRAWS,
    ) -> None:
        super().__init__()
        n_elements = len(atomic_numbers)
        self.register_buffer("atomic_numbers", atomic_numbers)  # (Z,) of the elements, ascending
        self.atomic_numbers: torch.Tensor
        self.expansion = ClusterExpansion(n_elements, degree, cutoff, n_environments)
        self.n_functions = len(self.expansion.roughness)
        # The first of each set are the best ones, the others deviations from them, drawn from their distribution.
        self.coefficients = _fixed(n_elements, self.n_functions, 1 + n_draws)
        self.offsets = _fixed(n_elements)  # eV
        self.shares = _fixed(1 + n_draws, n_models)
        self.n_unknowns = n_elements * (self.n_functions + 1) + n_models - 1
        self.double()

    def elements(self, batch: GraphBatch) -> torch.Tensor:
        """Return the index of the element of each atom: (N,) int64."""
        return torch.searchsorted(self.atomic_numbers, batch.atomic_numbers)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Return the forces (N, 3), eV/Å."""
        _, forces, _ = self.expansion.energies(batch, self.elements(batch), self.coefficients[..., :1])
        return forces_of_base_models(batch, self._shares(batch, 0)) + forces[0]

    def outputs(self, batch: GraphBatch) -> NetworkOutputs:
        """Return forces, the energy less the linear combination, the stress, and the standard deviation of forces."""
        elements = self.elements(batch)
        energies, forces, gradient = self.expansion.energies(batch, elements, self.coefficients)
        of_atoms = energies[:, 0] + self.offsets[elements]
        energy = of_atoms.new_zeros(len(batch.n_atoms)).index_add(0, batch.structure_index, of_atoms)
        for number, of_set in enumerate(forces):
            of_set += forces_of_base_models(batch, self._shares(batch, number))
        std = forces[1:].square().mean(dim=(0, 2)).sqrt() if len(forces) > 1 else None
        return NetworkOutputs(forces[0], energy, stress_from(batch, self._shares(batch, 0), gradient), std)

    def _shares(self, batch: GraphBatch, number: int) -> torch.Tensor:
        return self.shares[number].expand(len(batch.n_atoms), -1)


def _choose_environments(network: ACENetwork, graphs: GraphDataset) -> None:
    """Choose the environments of the kernel among the atoms of training structures, as many as need be."""
    order = np.random.default_rng(0).permutation(len(graphs))
    enough = np.searchsorted(np.cumsum(graphs.n_atoms.numpy()[order]), CANDIDATES)
    batch = graphs.batch(torch.from_numpy(np.sort(order[: enough + 1])))
    network.expansion.choose_environments(batch, network.elements(batch))


def _fixed(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape), requires_grad=False)


class ACEMeta(EnergyMeta):
    """The meta-model `ace`, linear in base models and in an atomic cluster expansion; see the docstring of the module.

    As in `conservative` an energy is composed of base energies and of what the network sees, by the same chain rule.

    Parameters
    ----------
    options : its options
    with_std : whether it finds a standard deviation of its forces, which is half the time of a prediction
    """

    options: ACEOptions
    network: Any
    compile = None  # type: ignore[assignment]  # see `Compiles`: there is no network to compile

    def __init__(self, options: ACEOptions, with_std: bool = True) -> None:
        super().__init__(options)
        self.n_draws = N_DRAWS if with_std else 0

    @property
    def n_parameters(self) -> int:
        """The number of fitted coefficients, weights and constants, 0 before it is fitted or loaded."""
        return 0 if self.network is None else self.network.n_unknowns

    def fit(self, request: FitRequest) -> None:
        """Fit in closed form to ``request.train``, with the ridge that errs least on ``request.valid``.

        With few validation structures training structures that are left out in turn count too.

        Raises
        ------
        DataError
            The training structures have no energies.
        ElmlffError
            A base model gives no energies, or there are too many elements.
        """
        self._fit(request, across_folds=False)

    def fit_and_predict(self, request: FitRequest) -> Prediction:
        """Fit as `fit`; return predictions of the training structures that are not learnt by heart.

        Each structure is predicted by a fit without those of its fold, of which there are five, drawn at random.  A
        meta-model that is fitted to these predictions learns how large the errors on other structures are.
        """
        problem, strength = self._fit(request, across_folds=True)
        train, n_models = request.train, len(request.train.models)
        n_atoms, n = len(train.atomic_numbers), len(train)
        forces, energies, stress = new_array((n_atoms, 3)), new_array((n,)), new_array((n, 6))
        all_have_stress = True
        for number, fold in enumerate(problem.folds):
            without = copy.copy(self)
            without.network = copy.deepcopy(self.network)
            coefficients = problem.solution_without(number, strength).coefficients
            without._set(without.network, coefficients[None], n_models)
            part = without.predict(train.subset(fold))
            forces[train.rows(fold)], energies[fold] = part.forces, part.energy
            if part.stress is None:
                all_have_stress = False
            else:
                stress[fold] = part.stress
        return Prediction(train.n_atoms, forces, energies, stress if all_have_stress else None)

    def _fit(self, request: FitRequest, across_folds: bool) -> tuple[LeastSquares, float]:
        """Fit as `fit`; return the problem, with its folds if they are asked for, and the strength of its ridge."""
        check_masks(self, request.masks)
        train, valid = self._prepared(request.train), self._prepared(request.valid)
        self.energy = self._fit_energy(train)
        self.shapes = self._shapes(train)
        self._check(valid)
        network = self.network = self._build()
        graphs, valid_graphs = self._graphs(train, torch.float64), self._graphs(valid, torch.float64)
        n_models = len(train.models) - 1
        with torch.no_grad():
            _choose_environments(network, graphs)
            problem = LeastSquares(
                network.expansion, network.atomic_numbers, n_models, self.options.energy_weight, request.progress
            )
            solution = problem.solve(graphs, valid_graphs, across_folds)
            found = solution.coefficients[None]
            if self.n_draws:
                draws = solution.draws(self.n_draws, np.random.default_rng(request.seed))
                found = np.concatenate([found, draws])
            self._set(network, found, n_models)
        network.eval()
        if self.n_draws:
            self._scale_draws(valid_graphs)
        return problem, solution.strength

    def _set(self, network: ACENetwork, unknowns: np.ndarray, n_models: int) -> None:
        """Set the numbers of `network`, and the weights of energies, from solutions (1 + D, P)."""
        n_elements = len(network.atomic_numbers)
        n_all = n_elements * network.n_functions
        functions, shares, offsets = np.split(unknowns, [n_all, n_all + n_models], axis=1)
        n_sets = len(unknowns)
        of_functions = torch.from_numpy(functions.reshape(n_sets, n_elements, -1)).permute(1, 2, 0)
        network.coefficients[..., :n_sets].copy_(of_functions)
        network.offsets.copy_(torch.from_numpy(offsets[0]))
        # The base model that predicts zero has no forces; its energy has what is left of the weights.
        network.shares[:n_sets, :n_models].copy_(torch.from_numpy(shares))
        network.shares[0, n_models] = 1 - float(shares[0].sum())
        self.energy = replace(self.energy, weights=network.shares[0].numpy().copy())

    def _scale_draws(self, valid: GraphDataset) -> None:
        """Scale the deviations that were drawn so that they are as large as the errors on validation structures."""
        assert valid.reference_forces is not None
        found = evaluate_outputs(self.network, valid)
        error = float(np.sqrt(np.mean((found["forces"] - valid.reference_forces.numpy()) ** 2)))
        std = float(np.sqrt(np.mean(found["forces_std"] ** 2)))
        if std:
            self.network.coefficients[..., 1:] *= error / std
            self.network.shares[1:] *= error / std

    def _prepared(self, features: Features) -> Features:
        return with_nothing(checked_energies(features, "ace"), BESIDE_OTHERS)

    def _fit_energy(self, train: Features) -> EnergyCombination:
        """Align the base energies; at first only what predicts zero has a weight."""
        check_reference_energies(train, "ace")
        combination = EnergyCombination.fit(train)
        return replace(combination, weights=np.eye(len(combination.models))[-1])

    def _shapes(self, train: Features) -> dict[str, Any]:
        numbers = train.elements.tolist()
        atoms = np.unique(train.atomic_numbers, return_counts=True)[1]  # of each element
        degree = self.options.degree
        if degree == "auto":
            degree = largest_degree(len(numbers), self.options.functions, MOST_FUNCTIONS)
        n_functions = len(numbers) * sum(map(len, groups_of_functions(len(numbers), degree)))
        if n_functions > MOST_FUNCTIONS:
            raise ElmlffError(
                f"'ace' has {n_functions:,} functions of degree {degree}, and {MOST_FUNCTIONS:,} are possible: "
                "lower the option degree"
            )
        return {
            "n_models": len(train.models),
            "atomic_numbers": numbers,
            "degree": degree,
            "n_environments": min(self.options.environments // len(numbers), int(atoms.max())),
            "n_draws": self.n_draws,
            "learns_std": self.n_draws > 0,
        }

    def _build(self) -> ACENetwork:
        numbers = torch.tensor(self.shapes["atomic_numbers"])
        shapes = {"n_environments": 0, "n_draws": N_DRAWS} | self.shapes  # those of a version without a kernel
        return ACENetwork(
            shapes["degree"],
            self.options.cutoff,
            shapes["n_environments"],
            shapes["n_models"],
            numbers,
            shapes["n_draws"],
        )
