"""Training of neural meta-models with PyTorch Lightning: the best validation state is kept, and a kill is survived."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from elmlff_core.config import TrainingConfig
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.orientation import random_orthogonal
from elmlff_core.protocols import FitRequest
from elmlff_core.training.best_state import BestState
from elmlff_core.training.schedule import warmup_cosine

# Atoms in one evaluation batch: bounds memory for any size of structures.
EVALUATION_ATOMS = 8192
# Checkpoints over a training: often enough to lose little, seldom enough to cost little.
N_CHECKPOINTS = 50


def seeded(seed: int) -> None:
    """Seed NumPy and torch: initial weights and batches follow from it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.seed_everything(seed, verbose=False)


def train_network[Network: nn.Module](
    network: Network, train: GraphDataset, valid: GraphDataset, request: FitRequest, rotate: bool = False
) -> Network:
    """Minimise the mean squared force error over `train`; return the network in its best state on `valid`.

    The state before training counts too.  An interrupted training resumes from ``request.directory`` at the end of its
    last saved epoch, and ends with the same numbers as one that was not interrupted.

    Parameters
    ----------
    network : maps a `GraphBatch` to forces (N, 3), eV/Å
    train, valid : with reference forces
    request : training settings, directory, seed and progress
    rotate : show each structure in a random orientation, another one in every epoch
    """
    settings: TrainingConfig = request.training
    request.directory.mkdir(parents=True, exist_ok=True)
    best = BestState(valid, settings.epochs or 0, settings.patience, request.directory, request.progress)
    if not settings.epochs:
        return network.eval()
    trainer = _trainer(settings, request.directory, best)
    # Asked when a pass begins: on resuming, Lightning begins the first pass before it would tell a sampler the epoch.
    finished = trainer.fit_loop.epoch_progress.current
    sampler = _EpochSampler(len(train), settings.batch_size, request.seed, lambda: finished.processed)
    module = _ForceFitting(network, settings, n_steps=settings.epochs * len(sampler))
    checkpoint = request.directory / "last.ckpt"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice on loaders and loggers does not concern the user
            trainer.fit(
                module,
                DataLoader(_Batches(train, rotate), sampler=sampler, batch_size=None),
                ckpt_path=str(checkpoint) if checkpoint.exists() else None,
                weights_only=True,
            )
    except SystemExit as stop:  # Lightning's answer to Ctrl-C, after which it ignores the signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from stop
    network.load_state_dict(best.state)
    checkpoint.unlink(missing_ok=True)
    return network.cpu().eval()


def evaluate_network(network: nn.Module, graphs: GraphDataset) -> np.ndarray:
    """Forces of all structures by `network`, in batches: (N, 3) float32, eV/Å."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with torch.no_grad():
        parts = [network(graphs.batch(part).to(device)).cpu() for part in _by_size(graphs.n_atoms)]
    network.train(was_training)
    return np.asarray(torch.cat(parts).numpy())


def _by_size(n_atoms: torch.Tensor) -> Iterator[torch.Tensor]:
    """Consecutive structures with at most EVALUATION_ATOMS atoms, or one structure."""
    start, total = 0, 0
    for index, size in enumerate(n_atoms.tolist()):
        if index > start and total + size > EVALUATION_ATOMS:
            yield torch.arange(start, index)
            start, total = index, 0
        total += size
    yield torch.arange(start, len(n_atoms))


@dataclass(frozen=True)
class _Draw:
    """One batch to be made: which structures, and the seed of their orientations."""

    indices: torch.Tensor
    seed: int


class _EpochSampler(Sampler[_Draw]):
    """Shuffled batches that follow from seed and epoch alone, so that a resumed training sees the same."""

    def __init__(self, n_structures: int, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.n_structures, self.batch_size, self.seed, self.epoch = n_structures, batch_size, seed, epoch

    def __len__(self) -> int:
        return -(-self.n_structures // self.batch_size)

    def __iter__(self) -> Iterator[_Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
        for indices in torch.randperm(self.n_structures, generator=generator).split(self.batch_size):
            yield _Draw(indices, int(torch.randint(2**62, (), generator=generator)))


class _Batches(Dataset[tuple[GraphBatch, torch.Tensor]]):
    """Graphs and reference forces of each draw, turned into random orientations where `rotate` says so."""

    def __init__(self, graphs: GraphDataset, rotate: bool) -> None:
        self.graphs, self.rotate = graphs, rotate

    def __getitem__(self, draw: _Draw) -> tuple[GraphBatch, torch.Tensor]:
        assert self.graphs.reference_forces is not None
        batch = self.graphs.batch(draw.indices)
        reference = self.graphs.reference_forces[self.graphs.rows(draw.indices)]
        if not self.rotate:
            return batch, reference
        generator = torch.Generator().manual_seed(draw.seed)
        turns = random_orthogonal(len(draw.indices), generator)[batch.structure_index]  # (N, 3, 3)
        return batch.with_forces(batch.base_forces @ turns), (reference.unsqueeze(1) @ turns).squeeze(1)


class _ForceFitting(pl.LightningModule):
    """Mean squared force error, Adam, and the schedule of Eq. 8."""

    def __init__(self, network: nn.Module, settings: TrainingConfig, n_steps: int) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.n_steps = n_steps
        # In units of its output scale the loss of a correction starts at one, whatever the system.
        scale = getattr(network, "output_scale", torch.tensor(1.0))
        self.loss_scale = float(scale) ** -2
        self.squared_error, self.n_components = 0.0, 0

    def training_step(self, batch: tuple[GraphBatch, torch.Tensor], _: int) -> torch.Tensor:
        graphs, reference = batch
        loss = nn.functional.mse_loss(self.network(graphs), reference)
        self.squared_error += float(loss.detach()) * reference.numel()
        self.n_components += reference.numel()
        return loss * self.loss_scale

    def take_train_rmse(self) -> float:
        """Force RMSE over the batches since the last call, while the weights were changing, in eV/Å."""
        rmse = float(np.sqrt(self.squared_error / max(1, self.n_components)))
        self.squared_error, self.n_components = 0.0, 0
        return rmse

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.n_steps, self.settings.warmup_fraction)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(
        self, batch: tuple[GraphBatch, torch.Tensor], device: torch.device, _: int
    ) -> tuple[GraphBatch, torch.Tensor]:
        return batch[0].to(device), batch[1].to(device)


def _trainer(settings: TrainingConfig, directory: Path, best: BestState) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    epochs = settings.epochs or 0
    checkpoints = ModelCheckpoint(
        directory, filename="last", every_n_epochs=max(1, epochs // N_CHECKPOINTS), save_on_train_epoch_end=True,
        enable_version_counter=False,
    )  # fmt: skip
    return pl.Trainer(
        max_epochs=epochs,
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "cuda"}[settings.device],
        devices=1,
        callbacks=[best, checkpoints],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
