"""RunFolder: what a run writes and where, and whether a folder holds this run, another, or none."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from filelock import FileLock, Timeout

from elmlff_core.errors import ConfigError
from elmlff_core.files import read_json, write_json, write_text
from elmlff_core.settings.config import Config

RUN_FILE = "run.json"
CONFIG_FILE = "config.toml"
METRICS_FILE = "metrics.json"
LOCK_FILE, HOLDER_FILE = ".lock", ".lock-holder"
DEFAULT_RUNS_FOLDER = Path("elmlff-runs")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes
    ----------
    path : the folder
    key : hex digest of settings, data and given checkpoints: the same key is the same run
    lock : held as long as the run goes on, or None
    """

    path: Path
    key: str
    lock: FileLock | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, key: str, config: Config) -> RunFolder:
        """Make the folder, or come back to it.

        Raises
        ------
        ConfigError
            `path` is a file, holds another run or anything else, or another process works in it.
        """
        record = path / RUN_FILE
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file: name a folder with --output")
        if record.exists():
            if read_json(record, ("key",), f"remove the folder {path}, or choose another --output")["key"] != key:
                raise ConfigError(
                    f"{path} holds another run (its {CONFIG_FILE} or data differ): choose another --output, "
                    "or remove that folder"
                )
        elif path.exists() and any(found.name != LOCK_FILE for found in path.iterdir()):
            raise ConfigError(f"{path} is not empty and holds no run: choose another --output")
        path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
        write_json(record, {"key": key})
        write_text(path / CONFIG_FILE, tomli_w.dumps(_without_none(config.model_dump(mode="json"))))
        return cls(path, key, lock)

    @property
    def fit(self) -> Path:
        """Folders of the fits of meta-models: checkpoints, logs, and what came of them."""
        return self.path / "fit"

    @property
    def stacks(self) -> Path:
        """Folders of the stacks, one of which is the run's own, where several meta-models were asked for."""
        return self.path / "stacks"

    def finished(self) -> dict[str, Any] | None:
        """The metrics of a finished run, or None."""
        path, keys = self.path / METRICS_FILE, ("errors", "summary", "notes")
        return read_json(path, keys, f"remove {path}, and the same command makes it again") if path.exists() else None


def _locked(path: Path) -> FileLock:
    """The lock of a run folder; ConfigError where another process holds it.

    It is one object in this process, and goes with the last run that holds it, however that ends.
    """
    lock = FileLock(path / LOCK_FILE, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        try:
            holder = (path / HOLDER_FILE).read_text(encoding="utf-8").strip()
        except OSError:
            holder = "another process"
        raise ConfigError(f"{holder} works in {path}: wait until it ends, or choose another --output") from error
    write_text(path / HOLDER_FILE, f"process {os.getpid()} on {platform.node()}")
    return lock


def _without_none(value: Any) -> Any:
    """TOML has no null: a key that is not set is left out."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
