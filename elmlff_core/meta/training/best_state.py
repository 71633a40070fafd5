"""BestState: after each epoch, validate, keep the best weights, log the errors, and stop if there is no progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.features.metrics import rmse_of_frames
from elmlff_core.files import write_csv
from elmlff_core.graphs.batch import GraphDataset
from elmlff_core.graphs.evaluation import evaluate_network
from elmlff_core.graphs.network import Network
from elmlff_core.meta.training.rank import Rank

COLUMNS = ("epoch", "train_rmse", "valid_rmse_per_frame", "learning_rate", "seconds")


# Lightning's ModelCheckpoint, EarlyStopping and CSVLogger are not used, for three reasons: the state before training is
# a candidate too, the error is a mean over several sets, and the learning curve must be stored in the checkpoint, so
# that it is complete after a resumed training.
class BestState(pl.Callback):
    """Keeps the weights with the lowest validation error; the weights before training are a candidate too.

    Its state, including the learning curve, is stored in the checkpoint, from which a resumed training restores it.
    Processes that share a training share the validation structures too; all of them find the same error, and so agree
    on when to stop.

    Attributes
    ----------
    state : the best weights of the network, on the CPU
    """

    def __init__(
        self,
        valid: Sequence[GraphDataset],
        n_epochs: int,
        patience: int | None,
        directory: Path,
        progress: ProgressCallback,
        rank: Rank,
    ) -> None:
        self.valid = [rank.range_of(graphs) for graphs in valid]
        self.rank = rank
        self.n_epochs = n_epochs
        self.patience = patience
        self.progress = progress
        self.path = directory / "learning_curve.csv"
        self.error, self.best_epoch = float("inf"), 0
        self.state: dict[str, torch.Tensor] = {}
        self.rows: list[tuple[float, ...]] = []
        self.seconds_before, self.started = 0.0, time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {
            "error": self.error,
            "best_epoch": self.best_epoch,
            "state": self.state,
            "rows": [list(row) for row in self.rows],
            "seconds": self._seconds(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.error, self.best_epoch = state_dict["error"], state_dict["best_epoch"]
        self.state = state_dict["state"]
        self.rows = [tuple(row) for row in state_dict["rows"]]
        self.seconds_before = state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        if not self.rows:
            self._validate(0, float("nan"), trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        self._validate(epoch, module.take_train_rmse(), trainer, module)
        if self.patience is not None and epoch - self.best_epoch >= self.patience:
            trainer.should_stop = True

    def _validate(self, epoch: int, train_rmse: float, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        error = float(np.mean([self._rmse_per_frame(module.network, graphs) for graphs in self.valid]))
        if error < self.error:
            self.error, self.best_epoch = error, epoch
            self.state = {key: value.detach().cpu().clone() for key, value in module.network.state_dict().items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append((epoch, train_rmse, error, rate, self._seconds()))
        if self.rank.number == 0:
            write_csv(self.path, [COLUMNS, *self.rows], flush=False)  # after every epoch; the checkpoint has it too
        self.progress(Progress(epoch, self.n_epochs, f"validation {self.error:.4f} eV/Å at epoch {self.best_epoch}"))

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def _rmse_per_frame(self, network: Network, graphs: GraphDataset) -> float:
        """Return the error of Eq. 7 over the structures of all processes, of which this one has `graphs`."""
        errors = np.zeros(0)
        if len(graphs):
            assert graphs.reference_forces is not None
            predicted = evaluate_network(network, graphs)
            errors = rmse_of_frames(predicted, graphs.reference_forces.numpy(), graphs.n_atoms.numpy())
        device = next(network.parameters()).device
        total, n = self.rank.sum(torch.tensor([errors.sum(), len(errors)], dtype=torch.float64, device=device)).tolist()
        return total / n
