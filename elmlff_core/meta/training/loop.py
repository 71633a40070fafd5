"""Training of neural meta-models with PyTorch Lightning; it keeps the best validation state and can be resumed."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from elmlff_core.contracts.progress import ProgressCallback
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.masks import Masks
from elmlff_core.graphs.network import Network
from elmlff_core.meta.training.batches import Batches, EpochSampler
from elmlff_core.meta.training.best_state import BestState
from elmlff_core.meta.training.checkpoints import WholeCheckpoints, readable_checkpoint
from elmlff_core.meta.training.clipping import Clipping
from elmlff_core.meta.training.device import check_device, runs_on_gpus
from elmlff_core.meta.training.loss import Labelled, training_loss
from elmlff_core.meta.training.processes import sharing
from elmlff_core.meta.training.rank import Rank
from elmlff_core.meta.training.schedule import warmup_cosine
from elmlff_core.settings.config import TrainingConfig

CHECKPOINT = "last.ckpt"
CLIPPING = "clipping"  # its state in a checkpoint
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
    masks: Masks | None = None,
) -> Network:
    """Minimise the error on `train`; return the network in its best state on `valid`.

    The state before training is a candidate too.  An interrupted training resumes from ``request.directory`` at the end
    of its last saved epoch, and gives the same results as one that was not interrupted.  On several devices, other
    processes take part in it; up to rounding, the steps are those on one device.

    Parameters
    ----------
    network : network in its state before training
    train : training graphs with reference forces
    valid : sets of validation graphs with reference forces; the mean error over the sets decides
    request : training settings, directory, seed and progress
    rotate : whether to show each structure in a random orientation, which is drawn again in every epoch
    masks : mask base models of each structure, at random; drawn again in every epoch

    Raises
    ------
    ConfigError
        This machine does not have the devices of the settings.
    ElmlffError
        Another process of the training has failed or was ended; the message says why.
    """
    settings: TrainingConfig = request.training.with_defaults({})
    request.directory.mkdir(parents=True, exist_ok=True)
    if not settings.epochs:
        return network.eval()
    check_device(settings)
    checkpoint = request.directory / CHECKPOINT
    resumed = readable_checkpoint(checkpoint, network.state_dict().keys()) is not None
    job = Job(network, settings, request.directory, request.seed, rotate, masks, resumed)
    with sharing(settings, request.directory, _take_part, job, [train, *valid]) as rank:
        best = _fit(job, train, valid, rank, request.progress)
    network.load_state_dict(best.state)
    checkpoint.unlink(missing_ok=True)
    return network.cpu().eval()


@dataclass(frozen=True)
class Job:
    """What each process of a training has to know, beside the graphs; `resumed` if there is a checkpoint."""

    network: Network
    settings: TrainingConfig
    directory: Path
    seed: int
    rotate: bool
    masks: Masks | None
    resumed: bool


def _take_part(job: Job, graphs: Sequence[GraphDataset], rank: Rank) -> None:
    train, *valid = graphs
    _fit(job, train, valid, rank, lambda _: None)


def _fit(
    job: Job, train: GraphDataset, valid: Sequence[GraphDataset], rank: Rank, progress: ProgressCallback
) -> BestState:
    """Train, as one of the processes of a training; return the best state, which is the same in all of them."""
    settings = job.settings
    epochs = settings.epochs or 0
    best = BestState(valid, epochs, settings.patience, job.directory, progress, rank)
    trainer = _trainer(settings, job.directory, best, rank)
    # The sampler reads the epoch when a pass begins: on resuming, Lightning begins the first pass before it calls
    # `set_epoch` of a sampler.
    finished = trainer.fit_loop.epoch_progress.current
    sampler = EpochSampler(len(train), settings.batch_size or 1, job.seed, lambda: finished.processed)
    module = _Fitting(job.network, settings, epochs * len(sampler), rank)
    batches = Batches(train, job.rotate, job.masks, rank)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's warnings on loaders and loggers do not concern the user
            trainer.fit(
                module,
                DataLoader(batches, sampler=sampler, batch_size=None),
                ckpt_path=str(job.directory / CHECKPOINT) if job.resumed else None,
                weights_only=True,
            )
    except SystemExit as stop:  # on Ctrl-C Lightning raises this, and ignores the signal from then on
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interruption = stop.__context__
        raise interruption if isinstance(interruption, KeyboardInterrupt) else KeyboardInterrupt from None
    return best


class _Fitting(pl.LightningModule):
    """Lightning module with the loss, Adam, the schedule of Eq. 8, and a moving average of the weights."""

    def __init__(self, network: Network, settings: TrainingConfig, n_steps: int, rank: Rank) -> None:
        super().__init__()
        self.learner = network
        self.rank = rank
        self.settings = settings
        self.n_steps = n_steps
        self.clipping = Clipping(network, settings.gradient_clip) if settings.gradient_clip else None
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

    def training_step(self, labelled: Labelled, _: int) -> torch.Tensor | None:
        if not len(labelled.forces):  # fewer structures in the batch than processes: the others compute all gradients
            return None
        loss, force_error = training_loss(self.learner, labelled, self.settings, self.scale)
        self.squared_error += float(force_error.detach().square().sum())
        self.n_components += force_error.numel()
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Not by DistributedDataParallel: it needs gradients of all parameters in each process, those of the averaged
        # weights too, and averages over processes, where the parts of a batch differ in size.
        self.rank.sum_gradients(self.learner.parameters())
        if self.clipping is not None:
            self.clipping.clip()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.clipping is not None:
            checkpoint[CLIPPING] = self.clipping.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.clipping is not None and CLIPPING in checkpoint:
            self.clipping.restore(checkpoint[CLIPPING])

    def on_train_batch_end(self, *_: object) -> None:
        if self.average is not None:
            self.average.update_parameters(self.learner)

    def take_train_rmse(self) -> float:
        """Return the force RMSE over the batches since the last call, in eV/Å; weights changed between the batches."""
        sums = torch.tensor([self.squared_error, self.n_components], dtype=torch.float64, device=self.device)
        squared_error, n_components = self.rank.sum(sums).tolist()
        rmse = float(np.sqrt(squared_error / max(1, n_components)))
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


def _trainer(settings: TrainingConfig, directory: Path, best: BestState, rank: Rank) -> pl.Trainer:
    """Return a trainer for the one device of this process."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    epochs = settings.epochs or 0
    checkpoints = ModelCheckpoint(
        directory, filename=Path(CHECKPOINT).stem, every_n_epochs=max(1, epochs // N_CHECKPOINTS),
        save_on_train_epoch_end=True, enable_version_counter=False,
    )  # fmt: skip
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cuda" if runs_on_gpus(settings) else "cpu",
        precision={"float32": "32-true", "bfloat16": "bf16-mixed"}[settings.precision],
        devices=[rank.device] if runs_on_gpus(settings) else 1,
        callbacks=[best, checkpoints] if rank.number == 0 else [best],
        enable_checkpointing=rank.number == 0,
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
