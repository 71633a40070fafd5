"""NeuralMeta: what neural meta-models share: fitting, predicting, and being saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.evaluation import evaluate_network
from elmlff_core.graphs.masks import BaseMasks
from elmlff_core.graphs.network import Network

NETWORK = "network."
N_FOR_NEIGHBOURS = 100  # structures whose mean number of neighbours sets the size of sums


class NeuralMeta:
    """A network from graphs to forces; energies are the linear combination of aligned base energies.

    A child says how its `Network` is built from `shapes`, plain data that are saved beside the tensors.

    Attributes
    ----------
    takes_masks : whether the network starts from the combination that its batch carries, so that bases can be masked
    """

    takes_masks: ClassVar[bool] = False

    def __init__(self, options: Any) -> None:
        self.options = options
        self.network: Network | None = None
        self.shapes: dict[str, Any] = {}
        self.energy = EnergyCombination()

    @property
    def n_parameters(self) -> int:
        """Trainable numbers of the network, 0 before it is fitted or loaded."""
        return 0 if self.network is None else sum(p.numel() for p in self.network.parameters())

    def fit(self, request: FitRequest) -> None:
        """Train on ``request.train`` and keep the state with the lowest per-frame RMSE on ``request.valid``.

        With ``request.masks`` each structure is shown with a subset of its bases, drawn anew in every epoch, and the
        error on validation is the mean over the masks' subsets for validation.
        """
        from elmlff_core.meta.training.loop import seeded, train_network  # Lightning, which predicting does without

        check_masks(self, request.masks)
        train, valid = self._prepared(request.train), self._prepared(request.valid)
        self.energy = self._fit_energy(train)
        self.shapes = self._shapes(train)
        self._check(train)
        self._check(valid)
        seeded(request.seed)
        network = self._build()
        with torch.no_grad():
            self._start(network, train)
        graphs, valid_graphs = self._graphs(train), self._graphs(valid)
        masks: BaseMasks | None = request.masks
        if masks is None:
            self.network = train_network(network, graphs, [valid_graphs], request, self._rotates(train))
            return
        shown = [masks.subset_of(valid_graphs, index) for index in masks.for_validation]
        self.network = train_network(network, graphs, shown, request, self._rotates(train), masks.drawn)

    def predict(self, features: Features) -> Prediction:
        """Forces by the network; energies by the linear combination of aligned base energies.

        ElmlffError on an element that was not in the training structures.
        """
        assert self.network is not None, "fit or load first"
        self._check(features)
        forces = evaluate_network(self.network, self._graphs(features))
        return Prediction(features.n_atoms, forces, self.energy.apply(features))

    def predict_masked(self, features: Features, masks: BaseMasks, subsets: Iterable[int]) -> Iterator[np.ndarray]:
        """Forces with each of `subsets`, rows of `masks`, in place of all bases: (n_rows, 3) each, eV/Å."""
        assert self.network is not None, "fit or load first"
        self._check(features)
        graphs = self._graphs(self._prepared(features))
        for index in subsets:
            yield evaluate_network(self.network, masks.subset_of(graphs, index))

    def save(self, directory: Path) -> None:
        """Write tensors as safetensors, and the shapes needed to rebuild the network as JSON."""
        assert self.network is not None, "fit or load first"
        (directory / "meta.json").write_text(json.dumps(self.shapes))
        tensors = {f"{NETWORK}{key}": value.cpu().contiguous() for key, value in self.network.state_dict().items()}
        energy = {key: torch.from_numpy(value) for key, value in self.energy.tensors().items()}
        save_file(tensors | energy, directory / "meta.safetensors")

    def load(self, directory: Path) -> None:
        """Read what `save` wrote."""
        self.shapes = json.loads((directory / "meta.json").read_text())
        self.network = self._build()
        tensors = load_file(directory / "meta.safetensors")
        self.network.load_state_dict(
            {key.removeprefix(NETWORK): value for key, value in tensors.items() if key.startswith(NETWORK)}
        )
        self.network.eval()
        energy = {key: value.numpy() for key, value in tensors.items() if key.startswith("energy.")}
        self.energy = EnergyCombination.from_tensors(energy)

    def _prepared(self, features: Features) -> Features:
        """Features as this meta-model takes them."""
        return features

    def _fit_energy(self, train: Features) -> EnergyCombination:
        """The linear combination of aligned base energies."""
        return EnergyCombination.fit(train)

    def _shapes(self, train: Features) -> dict[str, Any]:
        """What `_build` needs to know of the training structures, as JSON."""
        return {"n_models": len(train.models), "atomic_numbers": train.elements.tolist()}

    def _build(self) -> Network:
        """A new network of `shapes`."""
        raise NotImplementedError

    def _start(self, network: Network, train: Features) -> None:
        """Set what is fixed before training."""
        raise NotImplementedError

    def _graphs(self, features: Features) -> GraphDataset:
        """Graphs as the network takes them."""
        raise NotImplementedError

    def _rotates(self, train: Features) -> bool:
        """Whether training shows structures in random orientations."""
        return False

    def _check(self, features: Features) -> None:
        """Refuse what the network cannot take."""
        features.check_elements(self.shapes["atomic_numbers"])


def mean_neighbours(train: Features, cutoff: float) -> float:
    """Mean number of neighbours of an atom within `cutoff` (Å), at least one."""
    some = GraphDataset.from_features(train.subset(range(min(len(train), N_FOR_NEIGHBOURS))), cutoff, images=True)
    return max(1.0, some.edges.shape[1] / len(some.atomic_numbers))


class StartsAtCombination(Protocol):
    """A network with the buffers that `start_at_linear_combination` sets.

    Attributes
    ----------
    combination : (K, M), weights of the bases for each element
    input_scale, deviation_scale, output_scale : (), eV/Å
    """

    combination: torch.Tensor
    input_scale: torch.Tensor
    deviation_scale: torch.Tensor
    output_scale: torch.Tensor


def start_at_linear_combination(network: StartsAtCombination, train: Features) -> None:
    """Set the buffers of a network that learns what the linear combination leaves, from training structures.

    The scales, in eV/Å, are the root mean squares of the combination, of the bases' deviations from it, and of what it
    leaves.
    """
    combination = LinearCombination.fit(train)
    inputs, deviations, left = RootMeanSquare(), RootMeanSquare(), RootMeanSquare()
    for _, block in train.blocks():
        combined = combination.apply(block)
        inputs.add(combined)
        deviations.add(block.forces - combined)
        left.add(block.reference_forces - combined)
    network.combination.copy_(torch.from_numpy(combination.weights))
    for buffer, scale in (
        (network.input_scale, inputs), (network.deviation_scale, deviations), (network.output_scale, left)
    ):  # fmt: skip
        buffer.fill_(scale.value or 1.0)  # one where there is nothing to scale


class RootMeanSquare:
    """Of values that come in blocks."""

    def __init__(self) -> None:
        self.total, self.n = 0.0, 0

    def add(self, values: np.ndarray) -> None:
        """Count `values`, of any shape."""
        self.total += float(np.square(values).sum())
        self.n += values.size

    @property
    def value(self) -> float:
        """Zero where nothing was added."""
        return float(np.sqrt(self.total / self.n)) if self.n else 0.0
