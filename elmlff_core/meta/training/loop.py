"""Training of neural meta-models with PyTorch Lightning; it keeps the best validation state and can be resumed."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, Sampler

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.graphs.batch import GraphBatch, GraphDataset
from elmlff_core.graphs.network import Network
from elmlff_core.graphs.orientation import random_orthogonal
from elmlff_core.meta.training.best_state import BestState
from elmlff_core.meta.training.checkpoints import WholeCheckpoints, readable_checkpoint
from elmlff_core.meta.training.device import check_device
from elmlff_core.meta.training.loss import Labelled, training_loss
from elmlff_core.meta.training.schedule import warmup_cosine
from elmlff_core.settings.config import TrainingConfig

Mask = Callable[[GraphBatch, torch.Generator], GraphBatch]
# Checkpoints during a training: an interruption then loses at most 2 % of it, and writing takes little time.
N_CHECKPOINTS = 50


def seeded(seed: int) -> None:
    """Seed NumPy and torch, which determines initial weights and batches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.seed_everything(seed, verbose=False)


def train_network(
    network: Network,
    train: GraphDataset,
    valid: Sequence[GraphDataset],
    request: FitRequest,
    rotate: bool = False,
    mask: Mask | None = None,
) -> Network:
    """Minimise the error on `train`; return the network in its best state on `valid`.

    The state before training is a candidate too.  An interrupted training resumes from ``request.directory`` at the end
    of its last saved epoch, and gives the same results as one that was not interrupted.

    Parameters
    ----------
    network : network in its state before training
    train : training graphs with reference forces
    valid : sets of validation graphs with reference forces; the mean error over the sets decides
    request : training settings, directory, seed and progress
    rotate : whether to show each structure in a random orientation, which is drawn again in every epoch
    mask : masks base models in each batch, at random with the generator it is given; drawn again in every epoch
    """
    settings: TrainingConfig = request.training.with_defaults({})
    request.directory.mkdir(parents=True, exist_ok=True)
    best = BestState(valid, settings.epochs or 0, settings.patience, request.directory, request.progress)
    if not settings.epochs:
        return network.eval()
    trainer = _trainer(settings, request.directory, best)
    # The sampler reads the epoch when a pass begins: on resuming, Lightning begins the first pass before it calls
    # `set_epoch` of a sampler.
    finished = trainer.fit_loop.epoch_progress.current
    sampler = _EpochSampler(len(train), settings.batch_size or 1, request.seed, lambda: finished.processed)
    module = _Fitting(network, settings, n_steps=settings.epochs * len(sampler))
    batches = _Batches(train, rotate, mask)
    checkpoint = request.directory / "last.ckpt"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's warnings on loaders and loggers do not concern the user
            trainer.fit(
                module,
                DataLoader(batches, sampler=sampler, batch_size=None),
                ckpt_path=readable_checkpoint(checkpoint),
                weights_only=True,
            )
    except SystemExit as stop:  # on Ctrl-C Lightning raises this, and ignores the signal from then on
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interruption = stop.__context__
        raise interruption if isinstance(interruption, KeyboardInterrupt) else KeyboardInterrupt from None
    network.load_state_dict(best.state)
    checkpoint.unlink(missing_ok=True)
    return network.cpu().eval()


@dataclass(frozen=True)
class _Draw:
    """Request for one batch: indices of its structures, and the seed of their orientations and masks."""

    indices: torch.Tensor
    seed: int


class _EpochSampler(Sampler[_Draw]):
    """Shuffled batches that depend only on seed and epoch, so that a resumed training sees the same batches."""

    def __init__(self, n_structures: int, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.n_structures, self.batch_size, self.seed, self.epoch = n_structures, batch_size, seed, epoch

    def __len__(self) -> int:
        return -(-self.n_structures // self.batch_size)

    def __iter__(self) -> Iterator[_Draw]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
        for indices in torch.randperm(self.n_structures, generator=generator).split(self.batch_size):
            yield _Draw(indices, int(torch.randint(2**62, (), generator=generator)))


class _Batches(Dataset[Labelled]):
    """Graphs and labels of each draw, in random orientations if `rotate` is set, and masked by `mask`."""

    def __init__(self, graphs: GraphDataset, rotate: bool, mask: Mask | None) -> None:
        self.graphs, self.rotate, self.mask = graphs, rotate, mask

    def __getitem__(self, draw: _Draw) -> Labelled:
        assert self.graphs.reference_forces is not None
        batch = self.graphs.batch(draw.indices)
        reference = self.graphs.reference_forces[self.graphs.rows(draw.indices)]
        energy = self.graphs.reference_energy
        energy = None if energy is None else energy[draw.indices]
        stress = self.graphs.reference_stress
        stress = None if stress is None else stress[draw.indices]
        generator = torch.Generator().manual_seed(draw.seed)
        if self.rotate:
            turns = random_orthogonal(len(draw.indices), generator)[batch.structure_index]  # (N, 3, 3)
            reference = (reference.unsqueeze(1) @ turns).squeeze(1)
            batch = batch.with_forces(batch.base_forces @ turns)
        if self.mask is not None:
            batch = self.mask(batch, generator)
        return Labelled(batch, reference, energy, stress)


class _Fitting(pl.LightningModule):
    """Lightning module with the loss, Adam, the schedule of Eq. 8, and a moving average of the weights."""

    def __init__(self, network: Network, settings: TrainingConfig, n_steps: int) -> None:
        super().__init__()
        self.learner = network
        self.settings = settings
        self.n_steps = n_steps
        self.average = None
        if settings.averaging:
            update = get_ema_multi_avg_fn(settings.averaging)
            self.average = AveragedModel(network, multi_avg_fn=update, use_buffers=False)
        # In units of the output scale, the loss of the delta target is one at the start for any system.
        self.scale = float(network.output_scale)
        self.squared_error, self.n_components = 0.0, 0

    @property
    def network(self) -> Network:
        """The network that is validated and kept: the average of the weights if there is one."""
        return self.learner if self.average is None else cast(Network, self.average.module)

    def training_step(self, labelled: Labelled, _: int) -> torch.Tensor:
        loss, force_error = training_loss(self.learner, labelled, self.settings, self.scale)
        self.squared_error += float(force_error.detach().square().sum())
        self.n_components += force_error.numel()
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        if self.average is not None:
            self.average.update_parameters(self.learner)

    def take_train_rmse(self) -> float:
        """Return the force RMSE over the batches since the last call, in eV/Å; weights changed between the batches."""
        rmse = float(np.sqrt(self.squared_error / max(1, self.n_components)))
        self.squared_error, self.n_components = 0.0, 0
        return rmse

    def configure_optimizers(self) -> dict[str, object]:
        fused = self.settings.fused
        if fused == "auto":
            fused = self.trainer.strategy.root_device.type == "cuda"
        optimizer = torch.optim.Adam(self.learner.parameters(), lr=self.settings.learning_rate or 0.0, fused=fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, self.n_steps, self.settings.warmup_fraction)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Labelled, device: torch.device, _: int) -> Labelled:
        return batch.to(device)


def _trainer(settings: TrainingConfig, directory: Path, best: BestState) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    check_device(settings)
    epochs = settings.epochs or 0
    checkpoints = ModelCheckpoint(
        directory, filename="last", every_n_epochs=max(1, epochs // N_CHECKPOINTS), save_on_train_epoch_end=True,
        enable_version_counter=False,
    )  # fmt: skip
    return pl.Trainer(
        max_epochs=epochs,
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "cuda"}[settings.device],
        precision={"float32": "32-true", "bfloat16": "bf16-mixed"}[settings.precision],
        devices=1,
        callbacks=[best, checkpoints],
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
