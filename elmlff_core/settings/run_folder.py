"""RunFolder: the files that a run writes, and a check whether a folder holds this run, another run, or none."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import tomli_w
from filelock import FileLock
from pydantic import BaseModel

from elmlff_core.errors import ConfigError
from elmlff_core.files import PARTIAL, read_record, refuse_links, write_record, write_text
from elmlff_core.locks import Timeout, acquired, lock_at

PLACES = "resources"  # settings of this machine or cluster: a run may go on elsewhere
RUN_FILE = "run.json"
CONFIG_FILE = "config.toml"
METRICS_FILE = "metrics.json"
GENERATION_FILE = "generation.json"
LOCK_FILE, HOLDER_FILE = ".lock", ".lock-holder"
DEFAULT_RUNS_FOLDER = Path("elmlff-runs")


class RunRecord(TypedDict):
    """What ``run.json`` holds."""

    key: str


class GenerationRecord(TypedDict):
    """What ``generation.json`` holds, from which a later run of ``elmlff stack`` goes on.

    `settings` are those that were given, without what budgets fill in; `splits_sha256` is the digest of the file with
    the structures of each split.
    """

    settings: dict[str, Any]
    splits_sha256: str


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes
    ----------
    path : the folder
    key : hex digest of settings, data and given checkpoints; runs with the same key are the same run
    lock : held while the run goes on, or None
    """

    path: Path
    key: str
    lock: FileLock | None = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, key: str, config: BaseModel) -> RunFolder:
        """Create the folder or reopen it.

        Raises
        ------
        ElmlffError
            `path` is a file, or holds another run, other files or links that lead out of it, or another process works
            in it.
        """
        path = path.expanduser()
        record = path / RUN_FILE
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file: name a folder with --output")
        if record.exists():
            remedy = f"remove the folder {path}, or choose another --output"
            if read_record(record, RunRecord, remedy)["key"] != key:
                raise ConfigError(
                    f"{path} holds another run (its {CONFIG_FILE} or data are different): choose another --output, "
                    "or remove that folder"
                )
        elif path.exists() and not _left_at_its_start(path):
            raise ConfigError(f"{path} is not empty and holds no run: choose another --output")
        path.mkdir(parents=True, exist_ok=True)
        refuse_links(path)
        lock = _locked(path)
        write_record(record, {"key": key})
        write_text(path / CONFIG_FILE, tomli_w.dumps(_without_none(config.model_dump(mode="json", exclude={PLACES}))))
        return cls(path, key, lock)

    @property
    def fit(self) -> Path:
        """Folder with one folder per fit of a meta-model: checkpoints, logs and results."""
        return self.path / "fit"

    @property
    def choice(self) -> Path:
        """Folder of the fits by which cross-validation chooses a meta-model."""
        return self.path / "choice"

    @property
    def features(self) -> Path:
        """Folder with the features of the splits, from which workers fit."""
        return self.path / "features"

    @property
    def tasks(self) -> Path:
        """Folder with the logs of what workers did."""
        return self.path / "tasks"

    @property
    def stacks(self) -> Path:
        """Folder with one folder per stack, where several meta-models were asked for; one of them is the run's own."""
        return self.path / "stacks"

    def finished[Shape](self, shape: type[Shape]) -> Shape | None:
        """Return the metrics of a finished run as `shape`, or None."""
        path = self.path / METRICS_FILE
        return (
            read_record(path, shape, f"remove {path}, and the same command makes it again") if path.exists() else None
        )


def _left_at_its_start(path: Path) -> bool:
    """Return whether `path` is empty, or holds only what a run writes before its first record."""
    return all(found.name in (LOCK_FILE, HOLDER_FILE) or found.suffix == PARTIAL for found in path.iterdir())


def _locked(path: Path) -> FileLock:
    """Return the lock of a run folder; raise ConfigError if another process holds it.

    There is one lock per folder in this process; it is released with the last run that holds it, however that ends.
    """
    lock = lock_at(path / LOCK_FILE, wait=False, one_per_process=True)
    try:
        acquired(lock)
    except Timeout as error:
        try:
            holder = (path / HOLDER_FILE).read_text(encoding="utf-8").strip()
        except OSError:
            holder = "another process"
        raise ConfigError(f"{holder} works in {path}: wait until it ends, or choose another --output") from error
    write_text(path / HOLDER_FILE, f"process {os.getpid()} on {platform.node()}")
    return lock


def _without_none(value: Any) -> Any:
    """Leave out keys without a value, because TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
