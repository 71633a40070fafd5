"""NeuralMeta: the common base class of neural meta-models, which fits, predicts, saves and loads."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save

from elmlff_core.contracts.features import Features
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.protocols import FitRequest, check_masks
from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.features.descriptor_components import DescriptorComponents
from elmlff_core.features.energies import EnergyCombination
from elmlff_core.features.guard import Guard
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.files import sha256_of, write_bytes, write_json
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.compiled import CompiledNetworks, fits_a_library, source_digest
from elmlff_core.graphs.evaluation import evaluate_network
from elmlff_core.graphs.masks import BaseMasks, Masks
from elmlff_core.graphs.network import Network

NETWORK = "network."


class NeuralMeta:
    """Meta-model with a network that maps graphs to forces; energies are the combination of aligned base energies.

    A subclass builds its `Network` from `shapes`, plain data that are saved with the tensors.

    Attributes
    ----------
    takes_masks : whether the network can use the combination that a batch carries, so that base models can be masked
    """

    takes_masks: ClassVar[bool] = False

    def __init__(self, options: Any) -> None:
        self.options = options
        self.network: Network | None = None
        self._compiled: CompiledNetworks | None = None  # of the network that was loaded
        self.shapes: dict[str, Any] = {}
        self.energy = EnergyCombination()
        self.guard: Guard | None = None
        self.components: DescriptorComponents | None = None

    @property
    def n_parameters(self) -> int:
        """The number of trainable parameters, 0 before the network is fitted or loaded."""
        return 0 if self.network is None else sum(p.numel() for p in self.network.parameters())

    def fit(self, request: FitRequest) -> None:
        """Train on ``request.train`` and keep the state with the lowest per-frame RMSE on ``request.valid``.

        With ``request.masks`` each structure is shown with a subset of its base models, which is drawn again in every
        epoch.  The validation error is then the mean over the subsets for validation of the masks.
        """
        from elmlff_core.meta.training.loop import (
            seeded,
            train_network,
        )  # imports Lightning, which predictions do not need

        check_masks(self, request.masks)
        # With masks the centre of the guard would give away the base models that are hidden, and so would components.
        self.guard = self._fit_guard(request.train) if request.masks is None else None
        self.components = self._fit_components(request.train) if request.masks is None else None
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
            hidden = self._hidden(network)
            self.network = train_network(network, graphs, [valid_graphs], request, self._rotates(train), hidden)
            return
        shown = [masks.subset_of(valid_graphs, index) for index in masks.for_validation]
        self.network = train_network(network, graphs, shown, request, self._rotates(train), masks)

    def predict(self, features: Features) -> Prediction:
        """Predict forces with the network, and energies as the linear combination of aligned base energies.

        ElmlffError on an element that was not in the training structures.
        """
        assert self.network is not None, "fit or load first"
        self._check(features)
        forces = evaluate_network(self.network, self._graphs_to_predict(features))
        return Prediction(features.n_atoms, forces, self.energy.apply(features))

    def predict_masked(self, features: Features, masks: BaseMasks, subsets: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield the forces with the base models of each of `subsets`, which are rows of `masks`: (n_rows, 3), eV/Å."""
        assert self.network is not None, "fit or load first"
        self._check(features)
        graphs = self._graphs(self._prepared(features))
        for index in subsets:
            yield evaluate_network(self.network, masks.subset_of(graphs, index))

    def to(self, device: str) -> None:
        """Predict on `device` from now on: cpu, cuda, or auto for a CUDA GPU if there is one.

        ConfigError if there is none.
        """
        assert self.network is not None, "fit or load first"
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("torch finds no CUDA GPU on this machine: take the device cpu, or auto")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network.to(device)

    def compile(self, features: Features) -> None:
        """Compile the network for single structures like that of `features`, as `Compiles`."""
        assert self.network is not None, "fit or load first"
        if self._compiled is None:
            raise ElmlffError("a network is compiled once it is saved: save the stack, load it, and compile then")
        self._check(features)
        graphs = self._graphs_to_predict(features)
        if graphs.vectors is None:
            raise ElmlffError("this network cannot be compiled; those of egat and conservative can")
        batch = graphs.batch([0])
        if not fits_a_library(batch):
            raise ElmlffError(
                "a network is compiled on the CPU, with the neighbours of one structure at hand: give a structure of "
                "at least two atoms that have neighbours, and of at most some thousand"
            )
        self._compiled.compile(self.network, batch)
        self.network.compiled = self._compiled

    def leave_compiled(self) -> None:
        """Predict with the network itself, until `compile`, as `Compiles`."""
        assert self.network is not None, "fit or load first"
        self.network.compiled = None

    def save(self, directory: Path) -> None:
        """Write the tensors to a safetensors file, and the shapes needed to rebuild the network to JSON."""
        assert self.network is not None, "fit or load first"
        write_json(directory / "meta.json", self.shapes)
        tensors = {f"{NETWORK}{key}": value.cpu().contiguous() for key, value in self.network.state_dict().items()}
        arrays = self.energy.tensors()
        for part in (self.guard, self.components):
            arrays |= {} if part is None else part.tensors()
        others = {key: torch.from_numpy(value) for key, value in arrays.items()}
        write_bytes(directory / "meta.safetensors", save(tensors | others))

    def load(self, directory: Path) -> None:
        """Read the files that `save` wrote."""
        self.shapes = json.loads((directory / "meta.json").read_text())
        self.network = self._build()
        tensors = load_file(directory / "meta.safetensors")
        self.network.load_state_dict(
            {key.removeprefix(NETWORK): value for key, value in tensors.items() if key.startswith(NETWORK)}
        )
        self.network.eval()
        self.network.compiled = self._compiled = CompiledNetworks(self._fingerprint(directory))
        arrays = {key: value.numpy() for key, value in tensors.items() if not key.startswith(NETWORK)}
        self.energy = EnergyCombination.from_tensors(arrays)
        self.guard = Guard.from_tensors(arrays)
        self.components = DescriptorComponents.from_tensors(arrays)

    def _fingerprint(self, directory: Path) -> str:
        """Return what tells the network in `directory` from any other one."""
        options = json.dumps([type(self).__qualname__, self.options.model_dump(mode="json"), self.shapes])
        source = source_digest(Path(inspect.getfile(type(self))).parent)
        return options + sha256_of(directory / "meta.safetensors") + source

    def _graphs_to_predict(self, features: Features) -> GraphDataset:
        """Return the graphs from which the network predicts."""
        return self._graphs(self._prepared(features))

    def _prepared(self, features: Features) -> Features:
        """Return the features in the form that this meta-model needs."""
        return features if self.guard is None else self.guard.apply(features)

    def _fit_guard(self, train: Features) -> Guard | None:
        """Fit the guard, or return None for a meta-model without one."""
        return None

    def _fit_components(self, train: Features) -> DescriptorComponents | None:
        """Find the components of descriptors, or return None for a meta-model that does not see them."""
        return None

    def _fit_energy(self, train: Features) -> EnergyCombination:
        """Fit the linear combination of aligned base energies."""
        return EnergyCombination.fit(train)

    def _shapes(self, train: Features) -> dict[str, Any]:
        """Return the properties of the training structures that `_build` needs, as data for JSON."""
        return {"n_models": len(train.models), "atomic_numbers": train.elements.tolist()}

    def _build(self) -> Network:
        """Build a new network from `shapes`."""
        raise NotImplementedError

    def _start(self, network: Network, train: Features) -> None:
        """Set the buffers that are fixed before training."""
        raise NotImplementedError

    def _hidden(self, network: Network) -> Masks | None:
        """Return how base models are hidden in training, or None if they are not."""
        return None

    def _graphs(self, features: Features) -> GraphDataset:
        """Build the graphs that the network takes."""
        raise NotImplementedError

    def _rotates(self, train: Features) -> bool:
        """Return whether training shows structures in random orientations."""
        return False

    def _check(self, features: Features) -> None:
        """Refuse structures that the network cannot take."""
        features.check_elements(self.shapes["atomic_numbers"])


class StartsAtCombination(Protocol):
    """A network with the buffers that `start_at_linear_combination` sets.

    Attributes
    ----------
    combination : (K, M), weights of the base models for each element
    input_scale, deviation_scale, output_scale : (), eV/Å
    """

    combination: torch.Tensor
    input_scale: torch.Tensor
    deviation_scale: torch.Tensor
    output_scale: torch.Tensor


def start_at_linear_combination(network: StartsAtCombination, train: Features) -> None:
    """Set the buffers of a network that learns the error of the linear combination, from training structures.

    The scales, in eV/Å, are the root mean squares of the combination, of the deviations of the base models from it, and
    of its errors.
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
        buffer.fill_(scale.value or 1.0)  # one if all values are zero


class RootMeanSquare:
    """Root mean square of values that come in blocks."""

    def __init__(self) -> None:
        self.total, self.n = 0.0, 0

    def add(self, values: np.ndarray) -> None:
        """Add `values`, of any shape."""
        self.total += float(np.square(values).sum())
        self.n += values.size

    @property
    def value(self) -> float:
        """The root mean square, zero if nothing was added."""
        return float(np.sqrt(self.total / self.n)) if self.n else 0.0
