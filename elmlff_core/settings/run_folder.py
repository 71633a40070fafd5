"""RunFolder: the files that a run writes, and a check whether a folder holds this run, another run, or none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from elmlff_core.errors import ConfigError
from elmlff_core.files import write_json, write_text
from elmlff_core.settings.config import Config

RUN_FILE = "run.json"
CONFIG_FILE = "config.toml"
METRICS_FILE = "metrics.json"
DEFAULT_RUNS_FOLDER = Path("elmlff-runs")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes
    ----------
    path : the folder
    key : hex digest of settings, data and given checkpoints; runs with the same key are the same run
    """

    path: Path
    key: str

    @classmethod
    def open(cls, path: Path, key: str, config: Config) -> RunFolder:
        """Create the folder or reopen it; raise ConfigError if it holds another run or other files."""
        record = path / RUN_FILE
        if record.exists():
            if json.loads(record.read_text())["key"] != key:
                raise ConfigError(
                    f"{path} holds another run (its {CONFIG_FILE} or data are different): choose another --output, "
                    "or remove that folder"
                )
        elif path.exists() and any(path.iterdir()):
            raise ConfigError(f"{path} is not empty and holds no run: choose another --output")
        path.mkdir(parents=True, exist_ok=True)
        write_json(record, {"key": key})
        write_text(path / CONFIG_FILE, tomli_w.dumps(_without_none(config.model_dump(mode="json"))))
        return cls(path, key)

    @property
    def fit(self) -> Path:
        """Folder with one folder per fit of a meta-model: checkpoints, logs and results."""
        return self.path / "fit"

    @property
    def stacks(self) -> Path:
        """Folder with one folder per stack, where several meta-models were asked for; one of them is the run's own."""
        return self.path / "stacks"

    def finished(self) -> dict[str, Any] | None:
        """Return the metrics of a finished run, or None."""
        path = self.path / METRICS_FILE
        return json.loads(path.read_text()) if path.exists() else None


def _without_none(value: Any) -> Any:
    """Leave out keys without a value, because TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
