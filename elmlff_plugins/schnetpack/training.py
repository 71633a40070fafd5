"""Training of SchNet and PaiNN with AtomisticTask of SchNetPack in Lightning."""

from __future__ import annotations

import json
import logging
import math
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from schnetpack import properties
from schnetpack.data import AtomsLoader
from schnetpack.task import AtomisticTask, ModelOutput
from torchmetrics import MeanSquaredError

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.contracts.protocols import TrainingRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.files import write_text
from elmlff_core.meta.training.checkpoints import WholeCheckpoints, readable_checkpoint
from elmlff_core.plugins.toolkit import by_atomic_number, element_energies, summed_element_energies
from elmlff_plugins.schnetpack.model import Architecture, Sample, SampleMaker, save_safetensors, set_precision

if TYPE_CHECKING:
    from elmlff_plugins.schnetpack.options import SchNetPackOptions

MODEL = "model.safetensors"
SETTINGS = "training.json"
BEST, LAST = "best.ckpt", "last.ckpt"
N_VALIDATIONS = 50  # at most about twice as many; each costs a pass over the validation set
WARMUP_FRACTION = 0.05
FINAL_RATE_FRACTION = 0.01


def train(request: TrainingRequest, family: str, n_epochs: int) -> Path:
    """Train a network in ``request.directory`` and keep its best state by validation loss.

    An interrupted training resumes from the Lightning checkpoint of the last validated epoch.  The order of structures
    depends only on seed and epoch, so a resumed training takes the same steps as an uninterrupted one.

    Returns
    -------
    Path
        Weights and architecture, without pickles.
    """
    directory, options = request.directory, request.options
    if len(request.valid) == 0:
        raise ForceFieldError(
            f"model '{request.name}' needs validation structures to select its best state, but "
            "there are no validation structures"
        )
    settings = _settings(request, family, n_epochs)
    same = (directory / SETTINGS).exists() and (directory / SETTINGS).read_text() == settings
    if same and (directory / MODEL).exists():
        return directory / MODEL
    if not same:
        for leftover in (MODEL, BEST, LAST):
            (directory / leftover).unlink(missing_ok=True)
        write_text(directory / SETTINGS, settings)

    elements = by_atomic_number(request.train.elements | request.valid.elements)
    architecture = Architecture.of(family, options, elements)
    energies = element_energies(request.train)
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        model = architecture.build()
    model.postprocessors[-1].atomref = torch.from_numpy(energies)
    set_precision(model, _dtype(options))

    samples = {part: labelled_samples(getattr(request, part), options, energies) for part in ("train", "valid")}
    task = ForceFieldTask(
        model, options, _n_steps(options, n_epochs, len(request.train)), request.train.energy is not None
    )
    order = SeededOrder(len(request.train), request.seed)
    _fit(
        task,
        AtomsLoader(samples["train"], batch_size=options.batch_size, sampler=order),
        AtomsLoader(samples["valid"], batch_size=4 * options.batch_size),
        request,
        n_epochs,
    )
    state = torch.load(directory / BEST, map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    )
    save_safetensors(model, architecture, directory / MODEL)
    for leftover in (BEST, LAST):
        (directory / leftover).unlink(missing_ok=True)
    return directory / MODEL


def _dtype(options: SchNetPackOptions) -> torch.dtype:
    return getattr(torch, options.precision)


def _n_steps(options: SchNetPackOptions, n_epochs: int, n_structures: int) -> int:
    return n_epochs * math.ceil(n_structures / options.batch_size)


def _settings(request: TrainingRequest, family: str, n_epochs: int) -> str:
    """Return all settings of a training as JSON; a training resumes only if they have not changed."""
    settings = {
        "family": family,
        "epochs": n_epochs,
        "seed": request.seed,
        "train": request.train.labels_fingerprint,
        "valid": request.valid.labels_fingerprint,
        "options": request.options.model_dump(mode="json"),
    }
    return json.dumps(settings, indent=2)


def labelled_samples(dataset: Dataset, options: SchNetPackOptions, energies: Any) -> list[Sample]:
    """Return samples with neighbour lists and labels.

    Energies, in eV, are less the sum of `energies` of the elements; forces are in eV/Å.
    """
    dtype = _dtype(options)
    samples = list(map(SampleMaker(options.cutoff, dtype), dataset.structures))
    for index, sample in enumerate(samples):
        sample[properties.forces] = torch.from_numpy(dataset.forces_of(index)).to(dtype)
    if dataset.energy is not None:
        remainders = dataset.energy - summed_element_energies(dataset.structures, energies)
        for sample, remainder in zip(samples, remainders, strict=True):
            sample[properties.energy] = torch.tensor([remainder], dtype=dtype)
    return samples


class SeededOrder(torch.utils.data.Sampler[int]):
    """A random order of `n` items that depends only on seed and epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self._n, self._seed, self._epoch = n, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(hash((self._seed, self._epoch)) % 2**63)
        return iter(torch.randperm(self._n, generator=generator).tolist())


class ForceFieldTask(AtomisticTask):
    """The task of SchNetPack, with a learning rate that rises in a warm-up and then falls along a cosine."""

    def __init__(self, model: torch.nn.Module, options: SchNetPackOptions, n_steps: int, has_energy: bool) -> None:
        outputs = [_output(properties.forces, options.force_weight)]
        if has_energy:
            outputs.append(_output(properties.energy, options.energy_weight))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute 'model' is an instance of `nn.Module`")
            super().__init__(model, outputs, optimizer_args={"lr": options.learning_rate})
        # Without this, the whole model would be pickled into every checkpoint, as the warning states.
        self.hparams.clear()
        self._n_steps = n_steps

    def configure_optimizers(self) -> dict[str, Any]:
        """Return Adam and the schedule of the learning rate."""
        optimizer = self.optimizer_cls(self.parameters(), **self.optimizer_kwargs)
        n_warmup = max(1, int(WARMUP_FRACTION * self._n_steps))

        def factor(step: int) -> float:
            if step < n_warmup:
                return (step + 1) / n_warmup
            angle = math.pi * min(1.0, (step - n_warmup) / max(1, self._n_steps - n_warmup))
            return FINAL_RATE_FRACTION + (1.0 - FINAL_RATE_FRACTION) * 0.5 * (1.0 + math.cos(angle))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _output(name: str, weight: float) -> ModelOutput:
    output = ModelOutput(
        name, loss_fn=torch.nn.MSELoss(), loss_weight=weight, metrics={"rmse": MeanSquaredError(squared=False)}
    )
    # Metrics of every training step would take a tenth of the time.
    output.metrics["train"] = torch.nn.ModuleDict()
    return output


class _ProgressReport(Callback):
    def __init__(self, report: ProgressCallback, n_epochs: int) -> None:
        self._report, self._n_epochs, self._message = report, n_epochs, ""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        error = float(trainer.callback_metrics["val_forces_rmse"])
        self._message = f"valid force RMSE {error:.4f} eV/Å"

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._report(Progress(trainer.current_epoch + 1, self._n_epochs, self._message))


def _fit(task: ForceFieldTask, train: AtomsLoader, valid: AtomsLoader, request: TrainingRequest, n_epochs: int) -> None:
    """Run Lightning without messages, and write ``best.ckpt`` to ``request.directory``."""
    directory = request.directory
    for logger in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    every = next(n for n in range(max(1, n_epochs // N_VALIDATIONS), 0, -1) if n_epochs % n == 0)
    # Two callbacks, because `save_last` of one that monitors an error writes only when the error becomes lower.
    shared: dict[str, Any] = {"dirpath": directory, "enable_version_counter": False, "every_n_epochs": every}
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor="val_loss", **shared)
    last = ModelCheckpoint(filename=Path(LAST).stem, monitor=None, **shared)
    trainer = lightning.Trainer(
        max_epochs=n_epochs,
        accelerator={"cuda": "gpu"}.get(request.options.device, request.options.device),
        devices=1,
        callbacks=[best, last, _ProgressReport(request.progress, n_epochs)],
        plugins=[WholeCheckpoints()],
        check_val_every_n_epoch=every,
        default_root_dir=directory,
        enable_model_summary=False,
        enable_progress_bar=False,
        inference_mode=False,
        logger=False,
        num_sanity_val_steps=0,
    )
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            # These warnings on loader workers and the checkpoint folder do not apply here.
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            trainer.fit(task, train, valid, ckpt_path=readable_checkpoint(directory / LAST), weights_only=True)
    except SystemExit as stop:
        # On Ctrl-C Lightning raises SystemExit, and the signal stays ignored.
        if isinstance(stop.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, on_interrupt)
            raise stop.__context__ from None
        raise
