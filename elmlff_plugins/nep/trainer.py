"""Program that runs ``neppo train``; an interrupted training resumes with the results of an uninterrupted one.

neppo does not save the state of its optimiser.  Here this state is saved after each report.  A training that finds it
first draws the batches that were already used, without taking steps, so that the order of batches is the same.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import neppo.nep_in
import torch
from neppo.cli import main
from neppo.trainer import Trainer

from elmlff_core.files import is_whole_archive, write_bytes
from elmlff_plugins.nep import training

STATE, LOG = Path(training.STATE), Path(training.CURVE)
KEPT = ("_step", "_previous_report_step", "_best_loss", "_best_row")


class ResumableTrainer(Trainer):
    """A `Trainer` with one call of `train`, whose state is saved after each report."""

    n_taken = 0  # steps of this call, including those before an interruption
    n_before = 0  # steps before the interruption
    state: dict[str, Any] | None = None  # that the training resumes from

    def train(self, *arguments: Any, **options: Any) -> None:
        """Find the saved state, and cut the log there: a report is written before its state."""
        if is_whole_archive(STATE):
            self.state = torch.load(STATE, weights_only=True, map_location=self.device)
            n_bytes = self.state.get("log_bytes")  # older versions have not saved it
            if n_bytes is not None and LOG.exists():
                os.truncate(LOG, min(n_bytes, LOG.stat().st_size))
        else:  # there is none, or it is damaged: the training starts again
            LOG.unlink(missing_ok=True)
        super().train(*arguments, **options)

    def _log_settings(self, steps: int) -> None:
        """Restore the saved state; neppo calls this after it made the optimiser and before the first step."""
        if (state := self.state) is not None:
            self.model.load_state_dict(state["model"])
            # The groups hold settings that depend on the device, so they are not restored.
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
            self.n_before = state["n_taken"]
            for name in KEPT:
                setattr(self, name, state[name])
        super()._log_settings(steps)

    def _take_step(self, batch: Any, targets: Any, has_bec: bool) -> torch.Tensor:
        self.n_taken += 1
        if self.n_taken <= self.n_before:
            return torch.zeros(1 + len(self.loss.terms))
        values: torch.Tensor = super()._take_step(batch, targets, has_bec)
        return values

    def _report(self, rate: float, values: torch.Tensor, is_last_step: bool) -> None:
        if self.n_taken <= self.n_before:
            return
        super()._report(rate, values, is_last_step)
        if is_last_step:  # the training is finished, so no state is needed
            return
        state = {name: getattr(self, name) for name in KEPT}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "n_taken": self.n_taken}
        state["log_bytes"] = LOG.stat().st_size
        buffer = io.BytesIO()  # on a full disk, torch itself raises an error that does not say so
        torch.save(state, buffer)
        write_bytes(STATE, buffer.getbuffer())


if __name__ == "__main__":
    neppo.nep_in.Trainer = ResumableTrainer
    main(sys.argv[1:])
