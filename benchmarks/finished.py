"""Finished runs of `elmlff stack`: their stacks and the features on which these are compared."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.cli.console import ConsoleReporter
from elmlff_core.contracts.features import Features
from elmlff_core.settings.reading import read_config
from elmlff_core.stack.stack import Stack, load_stack
from elmlff_core.workflows.base_models import base_features
from elmlff_core.workflows.inputs import read_inputs


def runs_of_command_line(doc: str | None, meaning: str = "folders of runs") -> list[Path]:
    """Return the folders of runs of the command line; `doc` is the docstring of the benchmark."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help=meaning)
    runs: list[Path] = parser.parse_args().runs
    return runs


def stacks_and_features(run: Path) -> tuple[dict[str, Stack], Mapping[str, Features]]:
    """Return the stacks of the run in the folder `run` by the names of their folders, and the features of its splits.

    Base models are evaluated only where their features are not cached.
    """
    splits = read_inputs(read_config(run / "config.toml", {}, [])).splits
    folders = sorted((run / "stacks").glob("*")) or [run]
    stacks = {folder.name: load_stack(folder, trust=True) for folder in folders}
    base_models = next(iter(stacks.values())).base_models
    return stacks, base_features(base_models, splits, FeatureCache(), ConsoleReporter())
