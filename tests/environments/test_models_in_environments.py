"""Base models that run in an environment: found by its name, refused where it is missing, and part of a stack."""

from __future__ import annotations

import json
import sys
import venv

import numpy as np
import pytest
from ase.build import bulk

from elmlff_core import load_stack
from elmlff_core.base_models.listing import list_models
from elmlff_core.base_models.named import named_model, resolve_model
from elmlff_core.base_models.trust import code_of, store_path
from elmlff_core.cli.main import main
from elmlff_core.contracts.hookspecs import Preset
from elmlff_core.environments.folder import RECORD, environments_folder, find
from elmlff_core.errors import ElmlffError, ForceFieldError
from elmlff_core.files import write_record
from elmlff_core.plugins.records import Origin
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import Config, ModelConfig

EMT = {"calculator": "ase.calculators.emt:EMT", "elements": ["Cu"]}


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """An empty trust store."""
    monkeypatch.setenv("ELMLFF_TRUST_STORE", str(tmp_path / "trust.json"))


@pytest.fixture
def preset(recipe, monkeypatch):
    """The preset ``tiny-emt``, which runs in the environment ``tiny``; its requirements are not met here."""
    recipe(requirements=("tinyfield==1.0",))
    made = Preset("tiny-emt", "ase", "EMT", EMT, environment="tiny", elements=("Cu",), licence="MIT")
    monkeypatch.setitem(registry().presets, "tiny-emt", (made, Origin("tests", "1", "tests")))
    return made


@pytest.fixture
def tiny(preset):
    """The environment ``tiny``: another interpreter, which finds the packages of this one."""
    folder = environments_folder() / "tiny"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    record = {"name": "tiny", "requirements": ["tinyfield==1.0"], "python": "3", "installer": "test", "seconds": 0.1}
    write_record(folder / RECORD, {**record, "bytes": 1})
    return find("tiny")


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


def test_without_its_environment_a_model_is_refused_with_the_line_that_makes_it(preset):
    with pytest.raises(
        ForceFieldError, match=r"'tiny-emt' runs in the environment 'tiny', .* `elmlff env create tiny`"
    ):
        resolve_model(Config(), "tiny-emt")
    (entry,) = list_models(Config(), environments_folder(), only="tiny-emt")
    assert (entry.state, entry.problem) == ("no environment", "make it with `elmlff env create tiny`")
    assert (entry.elements, entry.licence, entry.environment) == (["Cu"], "MIT", "tiny")


def test_with_its_packages_here_it_runs_here(preset, recipe):
    """Its cached features are those of this process: a package that has nothing to do with it changes nothing."""
    recipe(requirements=("ase", "numpy"))
    model = resolve_model(Config(), "tiny-emt")
    try:
        assert np.isfinite(model.force_field.predict([copper()]).forces).all()
        assert model.fingerprint == named_model("emt", ModelConfig(adapter="ase", options=EMT)).fingerprint
    finally:
        model.close()


def test_another_version_here_does_not_do(preset, recipe):
    recipe(requirements=("ase==0.1",))
    with pytest.raises(ForceFieldError, match="elmlff env create tiny"):
        resolve_model(Config(), "tiny-emt")


def test_it_runs_in_its_environment(tiny):
    model = resolve_model(Config(), "tiny-emt")
    assert model.config.python == "env:tiny"
    here = named_model("emt", ModelConfig(adapter="ase", options=EMT))
    try:
        found = model.force_field.predict([copper()])
        expected = here.force_field.predict([copper()])
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-12)
        assert model.force_field.fingerprint != here.force_field.fingerprint
    finally:
        model.close()


def test_the_settings_may_name_another_interpreter(preset):
    config = Config(models={"tiny-emt": ModelConfig(python=sys.executable)})
    assert resolve_model(config, "tiny-emt").config.python == sys.executable


def test_a_stack_names_the_environment_and_no_path(tiny, tmp_path, monkeypatch):
    """It can be sent to another machine, and there it needs no trust: the environment is the user's own."""
    monkeypatch.chdir(tmp_path)
    main(["stack", "--models", "tiny-emt,nep-free", "--set", "models.nep-free.adapter=ase",
          "--set", 'models.nep-free.options.calculator="ase.calculators.emt:EMT"', "--meta", "linear",
          "--data", str(labelled(tmp_path)), "--output", "run"])  # fmt: skip
    record = json.loads((tmp_path / "run" / "stack.json").read_text())
    assert record["base_models"][0]["worker"]["python"] == "env:tiny"
    assert str(tmp_path) not in json.dumps(record["base_models"])
    store_path().unlink()
    stack = load_stack(tmp_path / "run")
    try:
        assert np.isfinite(stack.predict([copper()]).forces).all()
    finally:
        stack.close()


def labelled(folder):
    """Write copper that EMT has labelled."""
    import ase.io
    from ase.calculators.emt import EMT as Calculator

    structures = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        copy = atoms.copy()
        copy.calc = Calculator()
        atoms.info["REF_energy"] = copy.get_potential_energy()
        atoms.arrays["REF_forces"] = copy.get_forces()
        structures.append(atoms)
    ase.io.write(folder / "copper.extxyz", structures)
    return folder / "copper.extxyz"


def test_a_stranger_can_name_no_other_interpreter_that_way(tmp_path):
    for name in ("../../evil", "/evil", "evil/bin/python"):
        with pytest.raises(ElmlffError, match="is not here"):
            named_model("bad", ModelConfig(adapter="ase", options=EMT, python=f"env:{name}"))


def test_the_calculator_of_a_preset_needs_no_trust_and_with_other_arguments_it_does(monkeypatch):
    options = registry().preset("mace-mp-0").options

    def wants(**changes):
        given = {**options, **changes}
        return code_of(named_model("m", ModelConfig(adapter="ase", options=given)))

    assert wants() == []
    assert wants(arguments={"model": "/tmp/evil.model"}) == [f"the callable {options['calculator']}"]
    assert wants(calculator="os:system")


def test_missing_environments_are_made_on_request(preset, monkeypatch, tmp_path):
    made = []

    def make(name, reporter):
        made.append(name)
        raise ElmlffError("enough")

    monkeypatch.setattr("elmlff_core.environments.making.make_environment", make)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["stack", "--models", "tiny-emt", "--create-environments"])
    assert made == ["tiny"]
    assert not (tmp_path / "elmlff-runs").exists()
