"""Settings of the studies of the paper, compared with its input files, and changes by a user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elmlff_core.base_models.named import model_settings
from elmlff_core.errors import ConfigError
from elmlff_core.settings.config import Config
from elmlff_core.workflows.ablation.variants import gat_variants
from elmlff_core.workflows.reproduction.published import Published, resemblances
from elmlff_core.workflows.reproduction.settings import study_config
from elmlff_core.workflows.reproduction.studies import STUDIES, find_study
from elmlff_core.workflows.sweep.subsets import all_subsets, subset_name

SURFACE = STUDIES["methanol-cu100"]
# Key in input.json of the authors -> option of elmlff.
DESCRIPTOR = {"rcut": "rcut", "rcut_smth": "rcut_smth", "neuron": "neuron", "axis_neuron": "axis_neuron"}


def config_of(study, budget="paper", **values) -> Config:
    return study_config(study, {"train": study.dataset.name}, None, {"budget": budget, **values})


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", ["dp1", "dp2", "dp3"])
def test_deep_potentials_have_the_settings_of_the_authors(study: str, name: str, shared: Path) -> None:
    from elmlff_plugins.deepmd.options import DeepMDOptions

    system = "methane" if study == "methane" else "methanol"
    given = json.loads((shared / "models" / "inputs" / f"{system}-{name}.json").read_text())
    options = DeepMDOptions(**model_settings(config_of(STUDIES[study]), name).options)
    descriptor, fitting = given["model"]["descriptor"], given["model"]["fitting_net"]
    assert options.descriptor == descriptor["type"].replace("se_a", "se_e2_a").replace("se_r", "se_e2_r") or (
        options.descriptor == descriptor["type"]
    )
    for theirs, ours in DESCRIPTOR.items():
        if theirs in descriptor:
            found = getattr(options, ours)
            assert (list(found) if isinstance(found, tuple) else found) == descriptor[theirs], theirs
    assert options.resnet_dt == descriptor["resnet_dt"]
    assert list(options.fitting_neuron) == fitting["neuron"]
    assert options.fitting_resnet_dt == fitting["resnet_dt"]
    training, rate = given["training"], given["learning_rate"]
    assert options.steps == training.get("numb_steps", training.get("stop_batch"))
    assert options.decay_steps == rate["decay_steps"]
    assert options.start_lr == rate["start_lr"]
    assert options.stop_lr == rate.get("stop_lr", 1e-8)


THEIRS = """
base_models = ["nep"]

[data]
train = "mine.xyz"
test = "more.xyz"
energy_key = "mine"
split = "clusters"

[models.dp1.options]
rcut = 4.0

[models.dp2]
adapter = "ase"
options = { calculator = "mine:Mine" }

[meta]
name = "linear"
ridge = 0.1

[meta.gat]
heads = 2

[training]
epochs = 5
"""


def test_settings_of_a_user_override_the_study_except_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("elmlff.toml").write_text(THEIRS)
    config = config_of(SURFACE, "quick")
    assert (config.data.train, config.data.test) == (SURFACE.dataset.name, None)
    assert config.data.split == "clusters"
    assert config.meta == {"name": "gat", "target": "direct", "gat": {"heads": 2}}
    assert model_settings(config, "dp2").options == {"calculator": "mine:Mine"}
    assert config.base_models == SURFACE.models
    assert config.training.epochs == 5
    assert model_settings(config, "dp1").options["rcut"] == 4.0
    assert model_settings(config, "dp1").options["axis_neuron"] == 12
    assert config_of(SURFACE, "quick", base_models=["nep", "painn"]).base_models == ("nep", "painn")


def test_long_is_three_times_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick, longer = (config_of(SURFACE, budget) for budget in ("quick", "long"))
    assert longer.training.epochs == 3 * quick.training.epochs
    assert model_settings(longer, "dp1").options["steps"] == 3 * model_settings(quick, "dp1").options["steps"]
    assert model_settings(longer, "dp3").options["steps"] == 150  # its own length of the study


def test_quick_fits_a_sample_and_paper_all() -> None:
    assert SURFACE.sample("quick", 255) == 8
    assert SURFACE.sample("quick", 7) is None
    assert SURFACE.sample("paper", 255) is None
    assert STUDIES["methane"].sample("quick", 7) is None


@pytest.mark.parametrize("assignment", ["meta.name=egat", "data.train=mine.xyz", 'base_models=["nep"]'])
def test_fixed_keys_of_a_study_cannot_be_set(assignment: str) -> None:
    with pytest.raises(ConfigError, match="a study fixes"):
        study_config(SURFACE, {"train": SURFACE.dataset.name}, None, {}, [assignment])


def test_a_wrong_name_is_an_error() -> None:
    with pytest.raises(ConfigError, match="did you mean 'methanol-cu100'"):
        find_study("methanol-cu10")


def test_published_values_are_those_of_the_paper(shared: Path) -> None:
    tables = json.loads((shared / "data" / "published.json").read_text())
    for name in STUDIES:
        assert Published.of(name).base_models == tables["table1"][name]
    assert Published.of("methane").subsets == tables["table2"]["methane"]
    surface = Published.of("methanol-cu100")
    assert list(surface.variants.values()) == list(tables["table3"]["methanol-cu100, all eight bases"].values())
    assert list(surface.variants) == [variant.name for variant in gat_variants({})]
    figure = json.loads((shared / "data" / "methanol-cu100" / "figure2.json").read_text())
    assert {frozenset(name.split("+")): value for name, value in surface.subsets.items()} == {
        frozenset(name.split("+")): value for name, value in figure.items()
    }
    assert list(surface.subsets) == [subset_name(subset) for subset in all_subsets(SURFACE.models)]


def test_resemblance_by_hand() -> None:
    """Training errors are twice the published ones; test errors are about three times and ranked differently."""
    published = [0.1, 0.2, 0.3, None]
    errors = [{"train": 2 * value, "test": test} for value, test in zip((0.1, 0.2, 0.3), (0.3, 0.9, 0.6), strict=True)]
    train, unseen = resemblances([*errors, {"train": 1.0, "test": 1.0}], published)
    assert (train.split, train.n, train.ratio, train.spearman) == ("train", 3, pytest.approx(2.0), pytest.approx(1.0))
    assert (unseen.ratio, unseen.spearman) == (pytest.approx(3.0), pytest.approx(0.5))
    assert resemblances(errors, [None] * 3) == []
