"""Named models: settings over presets, the default base models, and unknown names."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from elmlff_core.base_models import named
from elmlff_core.base_models.listing import list_models
from elmlff_core.base_models.named import default_base_models, model_settings, resolve_model, with_base_models
from elmlff_core.base_models.training import seen_in_training, train_model, trained_checkpoint
from elmlff_core.contracts.hookspecs import Preset
from elmlff_core.contracts.progress import Progress
from elmlff_core.errors import ConfigError, ElmlffError, PluginError
from elmlff_core.files import sha256_of, write_record
from elmlff_core.locks import lock_at
from elmlff_core.plugins.records import Failure, Origin
from elmlff_core.plugins.registry import Registry, registry
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from tests.trained_models import labelled, rattled

EMT = {"adapter": "ase", "options": {"calculator": "ase.calculators.emt:EMT"}}


def config_of(**values) -> Config:
    return Config.model_validate(values)


def test_the_default_base_models_are_those_of_the_papers_abstract():
    assert default_base_models() == ("dp1", "painn", "nep")
    assert list(registry().presets)[:8] == ["dp1", "dp2", "dp3", "sch1", "sch2", "sch3", "painn", "nep"]


@pytest.mark.parametrize(
    ("models", "stacked"),
    [
        ({}, ("dp1", "painn", "nep")),
        # Presets with other options do not count as models of the user.
        ({"nep": {"options": {"neuron": 7}}}, ("dp1", "painn", "nep")),
        ({"sch1": {"adapter": "schnet"}, "dp2": {"python": "self"}}, ("dp1", "painn", "nep")),
        ({"metal": EMT}, ("metal",)),
        ({"zinc": EMT, "copper": EMT}, ("zinc", "copper")),
        # A model with the name of a preset, but with a checkpoint or another adapter, is a model of the user.
        ({"nep": {"checkpoint": "nep.txt"}}, ("nep",)),
        ({"dp1": EMT}, ("dp1",)),
        # If there is a model of the user, presets with other options are stacked too, in the order of the file.
        ({"nep": {"options": {"neuron": 7}}, "metal": EMT, "sch1": {}}, ("nep", "metal", "sch1")),
    ],
)
def test_default_base_models(models, stacked):
    assert with_base_models(config_of(models=models)).base_models == stacked


def test_a_preset_without_a_long_budget_takes_its_quick_one(monkeypatch):
    preset = Preset(
        "own", "ase", "s", {"calculator": "a:B"}, {"quick": {"directory": "q"}, "paper": {"directory": "p"}}
    )
    monkeypatch.setitem(registry().presets, "own", (preset, Origin("other", "1", "other")))
    found = {budget: model_settings(config_of(budget=budget), "own").options for budget in ("quick", "long", "paper")}
    assert {budget: options["directory"] for budget, options in found.items()} == {
        "quick": "q",
        "long": "q",
        "paper": "p",
    }
    assert model_settings(config_of(budget="long"), "nep").options["steps"] == 10_000


def test_only_named_models_are_stacked():
    config = config_of(models={"metal": EMT}, base_models=["nep", "dp1"])
    assert with_base_models(config) is config


def test_a_file_that_names_its_own_models_stacks_those(tmp_path: Path):
    path = tmp_path / "elmlff.toml"
    path.write_text('[models.b]\nadapter = "ase"\n[models.a]\nadapter = "ase"\n[models.nep.options]\nneuron = 7\n')
    assert with_base_models(read_config(path)).base_models == ("b", "a", "nep")


def test_the_settings_file_of_the_readme_stacks_the_models_in_it(tmp_path: Path):
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    path = tmp_path / "elmlff.toml"
    path.write_text(readme.split("```toml\n", 1)[1].split("```", 1)[0])
    assert with_base_models(read_config(path)).base_models == ("nep", "sch1", "mace1")
    assert with_base_models(read_config(path, {"base_models": ["nep"]})).base_models == ("nep",)


@pytest.mark.parametrize("names", [[], ["nep", "nep"]])
def test_an_empty_list_and_a_name_twice_are_refused(names):
    with pytest.raises(ConfigError, match="name at least one model" if not names else "named twice: nep, nep"):
        read_config(None, {"base_models": names})


def test_without_any_preset_a_model_has_to_be_named(monkeypatch):
    monkeypatch.setattr(named, "registry", Registry)
    with pytest.raises(ConfigError, match=r"no base model is named.*--models"):
        with_base_models(Config())


def test_budget_and_settings_replace_options_of_a_preset():
    config = config_of(budget="paper", models={"nep": {"options": {"neuron": 7}, "trust": True}})
    settings = model_settings(config, "nep")
    assert settings.adapter == "nep"
    assert settings.trust
    assert settings.options == {"radial_cutoff": 8.0, "angular_cutoff": 4.0, "steps": 100_000, "neuron": 7}
    assert model_settings(Config(), "nep").options["steps"] == 3000
    assert model_settings(config_of(models={"nep": {"options": {"steps": 5}}}), "nep").options["steps"] == 5


def test_a_model_with_another_adapter_takes_nothing_of_the_preset_of_its_name():
    assert model_settings(config_of(models={"dp1": EMT}), "dp1").options == EMT["options"]


def test_models_that_can_describe_atoms_are_asked_for_it(shared: Path):
    checkpoint = shared / "models" / "methanol-cu100" / "nep.txt"
    config = config_of(descriptors=True, models={"metal": EMT, "nep": {"checkpoint": checkpoint}})
    metal, nep = (resolve_model(config, name) for name in ("metal", "nep"))
    assert not metal.config.descriptors
    assert nep.request.descriptors
    plain = resolve_model(config.model_copy(update={"descriptors": False}), "nep")
    assert not plain.request.descriptors
    assert plain.with_descriptors(True).fingerprint == nep.fingerprint != plain.fingerprint
    with pytest.raises(ConfigError, match="the adapter 'ase' has no descriptors: remove descriptors under"):
        resolve_model(config_of(models={"metal": EMT | {"descriptors": True}}), "metal")


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no model is called 'pain'; did you mean 'painn'"):
        model_settings(Config(), "pain")
    with pytest.raises(ConfigError, match="did you mean 'metal'"):
        resolve_model(config_of(models={"metal": EMT}), "metall")


def test_a_model_without_an_adapter_is_refused():
    with pytest.raises(ConfigError, match=r"'models.mine.adapter' is missing"):
        model_settings(config_of(models={"mine": {}}), "mine")


def test_an_adapter_named_as_a_model_has_its_default_options():
    model = resolve_model(Config(), "painn")
    assert model.options.steps == 2500  # the preset's: presets come first
    assert resolve_model(Config(), "schnet").options.steps == 3000


def test_the_error_of_an_unusable_preset_gives_the_reason(monkeypatch):
    failure = Failure("wet", Origin("elmlff-water", "2.0", "water"), "offered by two: uninstall one", kind="preset")
    monkeypatch.setattr(named, "registry", lambda: Registry(failures=[failure]))
    with pytest.raises(PluginError, match=r"preset 'wet' of elmlff-water 2.0 cannot be used: offered by two"):
        model_settings(Config(), "wet")


def test_a_preset_of_an_adapter_that_is_not_installed_is_refused_when_used(monkeypatch):
    found = Registry(presets={"wet": (Preset("wet", "water-net", "water", {}), Origin("elmlff-water", "2.0", "w"))})
    monkeypatch.setattr(named, "registry", lambda: found)
    assert model_settings(Config(), "wet").adapter == "water-net"
    with pytest.raises(PluginError, match="no adapter is called 'water-net'"):
        resolve_model(Config(), "wet")


def test_listing_marks_models_that_would_be_stacked(tmp_path: Path):
    entries = list_models(config_of(models={"metal": EMT}), tmp_path)
    assert [entry.name for entry in entries if entry.in_stack] == ["metal"]
    assert [entry.name for entry in entries] == ["metal", *registry().presets]


def test_cutoffs_are_read_from_the_option_that_the_adapter_names(tmp_path: Path):
    config = config_of(models={"near": {"adapter": "dp", "options": {"rcut": 4.5}}, "metal": EMT})
    cutoffs = {entry.name: entry.cutoff for entry in list_models(config, tmp_path)}
    assert (cutoffs["near"], cutoffs["nep"], cutoffs["painn"], cutoffs["metal"]) == (4.5, 8.0, 5.0, None)


def test_a_training_whose_folder_cannot_be_written_is_named(tmp_path):
    pytest.importorskip("neppo", reason="a model that can be trained")
    (tmp_path / "training.lock").mkdir()
    data = labelled(rattled("CH4", 2, 0))
    with pytest.raises(ElmlffError, match=rf"cannot train 'nep' in {tmp_path}: Is a directory"):
        train_model(resolve_model(Config(), "nep"), data, data, 0, tmp_path, lambda _: None)


def test_planted_links_in_the_folder_of_a_training_are_refused(tmp_path):
    pytest.importorskip("neppo", reason="a model that can be trained")
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "training.log").symlink_to(tmp_path / "precious")
    data = labelled(rattled("CH4", 2, 0))
    with pytest.raises(ElmlffError, match=r"training\.log is a symbolic link to .*precious"):
        train_model(resolve_model(Config(), "nep"), data, data, 0, tmp_path / "trained", lambda _: None)
    assert not (tmp_path / "precious").exists()


def test_a_training_waits_for_another_run_of_the_same(tmp_path):
    pytest.importorskip("neppo", reason="a model that can be trained")
    other, said = lock_at(tmp_path / "training.lock"), []
    other.acquire()

    def meanwhile(progress: Progress) -> None:
        """The other run ends."""
        said.append(progress.message)
        (tmp_path / "nep.txt").write_text("of the other run")
        record = {"checkpoint": "nep.txt", "checkpoint_sha256": sha256_of(tmp_path / "nep.txt")}
        write_record(tmp_path / "trained.json", {**record, "adapter": "nep", "options": {}})
        other.release()

    data = labelled(rattled("CH4", 2, 0))
    trained = train_model(resolve_model(Config(), "nep"), data, data, 0, tmp_path, meanwhile)
    assert said == ["waiting for another run that trains it"]
    assert trained.checkpoint == tmp_path / "nep.txt"


def test_without_locks_two_trainings_of_one_model_do_not_meet(tmp_path, monkeypatch):
    """The second training runs and ends while the first one is at work in the same folder."""
    pytest.importorskip("neppo", reason="a model that can be trained")

    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    data = labelled(rattled("CH4", 4, 0))
    options = {"steps": 20, "neuron": 2}
    model = resolve_model(config_of(models={"nep": {"options": options}}), "nep")
    trained = []

    def meanwhile(_):
        if not trained:
            trained.append(None)
            trained[0] = train_model(model, data, data, 1, tmp_path, lambda _: None).checkpoint

    checkpoint = train_model(model, data, data, 0, tmp_path, meanwhile).checkpoint
    assert checkpoint.parent != trained[0].parent
    assert trained_checkpoint(tmp_path) == checkpoint  # of the training that ended last
    assert trained[0].exists()
    assert seen_in_training(replace(model, checkpoint=checkpoint)) is not None
    again = train_model(model, data, data, 0, tmp_path, lambda _: None)
    assert again.checkpoint == checkpoint
