"""Studies: the two systems of the paper, with their settings in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elmlff_core.base_models.named import model_settings
from elmlff_core.data.published.catalogue import PublishedDataset, load_catalogue
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import LONG, Budget, Config, of_budget

META_MODEL = "gat"
TARGET = "direct"  # as in the paper: the network predicts the forces themselves


@dataclass(frozen=True)
class Study:
    """One system of the paper.

    Attributes
    ----------
    name : name on the command line, the short name of its dataset
    models : presets of its base models, in the order of the paper
    options : base model -> options of its adapter that differ from the preset
    lengths : budget -> base model -> options for the length of its training that differ from the preset
    quick_epochs : epochs of `gat` with the budget ``quick``; None for those of the budget
    quick_sample : number of subsets for the method ``per-subset`` with the budget ``quick``; None for all
    paper_epochs : epochs of `gat` in the paper
    """

    name: str
    models: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    lengths: Mapping[Budget, Mapping[str, Mapping[str, Any]]]
    quick_epochs: int | None
    quick_sample: int | None
    paper_epochs: int

    @property
    def dataset(self) -> PublishedDataset:
        """The dataset of the study in the catalogue."""
        return load_catalogue().named(self.name)

    def settings(self, theirs: Config) -> dict[str, Any]:
        """Return the settings of the paper, in the form of elmlff.toml, to be overridden by the user's settings.

        A base model whose adapter in `theirs`, the user's settings, is not that of its preset gets none of them.
        """
        lengths = of_budget(self.lengths, theirs.budget)
        own = [name for name in self.models if model_settings(theirs, name).adapter == registry().preset(name).adapter]
        options = {name: {**self.options.get(name, {}), **lengths.get(name, {})} for name in own}
        epochs = None if theirs.budget == "paper" else self.quick_epochs
        if epochs is not None and theirs.budget == "long":
            epochs *= LONG
        return {
            "models": {name: {"options": found} for name, found in options.items() if found},
            "meta": {"target": TARGET},
            "training": {} if epochs is None else {"epochs": epochs},
        }

    def sample(self, budget: Budget, n_subsets: int) -> int | None:
        """Return how many of `n_subsets` the method ``per-subset`` fits by default; None for all."""
        if budget == "paper" or self.quick_sample is None or n_subsets <= self.quick_sample:
            return None
        return self.quick_sample


# The paper's inputs for the surface: descriptor wider and of shorter range than for methane, fitting net narrower.
_DP_SURFACE: dict[str, Any] = {
    "rcut": 5.0,
    "neuron": [120, 120, 120],
    "axis_neuron": 12,
    "resnet_dt": True,
    "fitting_neuron": [120, 120, 120],
    "fitting_resnet_dt": False,
}
_DP_SURFACE_LENGTH: dict[str, Any] = {"batch_size": 1, "decay_steps": 500, "stop_lr": 1e-8}

STUDIES = {
    "methane": Study(
        name="methane",
        models=("dp1", "dp2", "dp3"),
        options={},
        lengths={},
        quick_epochs=None,
        quick_sample=None,
        paper_epochs=1500,
    ),
    "methanol-cu100": Study(
        name="methanol-cu100",
        models=("dp1", "dp2", "dp3", "sch1", "sch2", "sch3", "painn", "nep"),
        options=dict.fromkeys(("dp1", "dp2", "dp3"), _DP_SURFACE),
        lengths={
            "paper": {
                "dp1": {**_DP_SURFACE_LENGTH, "steps": 70_000},
                "dp2": {**_DP_SURFACE_LENGTH, "steps": 70_000},
                "dp3": {**_DP_SURFACE_LENGTH, "steps": 5_000},
            },
            # A step of dp3 takes seconds: as in the paper, it has a fourteenth of the steps of dp1 and dp2.
            "quick": {"dp3": {"steps": 150}},
        },
        quick_epochs=40,
        quick_sample=8,
        paper_epochs=300,
    ),
}


def find_study(name: str) -> Study:
    """Return the study called `name`; raises ConfigError with a suggestion if there is none."""
    if name not in STUDIES:
        raise ConfigError(f"no study is called '{name}'{did_you_mean(name, STUDIES)}")
    return STUDIES[name]
