"""CHGNet, SevenNet and xTB: the conformance kit, batches against the packages' own calculators, and their presets."""

from __future__ import annotations

import importlib
import inspect
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.base_models.named import resolve_model
from elmlff_core.base_models.trust import code_of
from elmlff_core.contracts.hookspecs import LoadRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.registry import registry, unusable
from elmlff_core.settings.config import Config
from elmlff_core.testing import check_force_field, example_structures
from elmlff_plugins.universal.calculators import weights_of

IN_WHEELS = ("chgnet", "7net-0", "7net-l3i5", "7net-mf-0")
DOWNLOADED = ("mace-mp-0", "mace-off23", "orb-v3", "mattersim-1m", "upet", "dpa4-mini")

pytestmark = pytest.mark.filterwarnings("ignore")  # of pymatgen, e3nn and torch, when they are imported


def load(name, descriptors=False, **options):
    preset = registry().preset(name)
    plugin = registry().force_field(preset.adapter)
    if problem := unusable(plugin):
        pytest.skip(problem)
    return plugin.load(
        LoadRequest(name, None, plugin.options(**{**preset.options, **options}), descriptors=descriptors)
    )


@pytest.fixture(scope="module")
def crystals():
    """Strained silicon of several sizes, so that a batch is not of one size."""
    structures = []
    for seed, repeat in enumerate([(1, 1, 1), (2, 1, 1), (2, 2, 1), (1, 1, 3)]):
        atoms = bulk("Si", a=5.5 + 0.05 * seed) * repeat
        atoms.rattle(0.1, seed=seed)
        structures.append(atoms)
    return structures


@pytest.mark.parametrize("name", ["chgnet", "7net-0"])
def test_conformance(name):
    # CHGNet has fractional coordinates in single precision: in a box of 60 Å they are too coarse for the limit.
    skip = {"size_consistency": "single-precision coordinates"} if name == "chgnet" else None
    model = load(name, descriptors=True, device="cpu")
    report = check_force_field(model, example_structures(["Si"], spacing=2.6), skip=skip)
    assert {check.status for check in report.checks} <= {"passed", "skipped"}, report
    assert report["descriptors"].status == "passed"


@pytest.mark.parametrize("name", IN_WHEELS)
def test_presets_know_their_elements_and_run_nothing(name):
    model = resolve_model(Config(), name)
    assert code_of(model) == []
    assert load(name, device="cpu").elements == frozenset(registry().preset(name).elements)


@pytest.mark.parametrize("name", ["chgnet", "7net-0", "7net-mf-0"])
def test_batches_are_what_the_calculator_of_the_package_gives(name, crystals):
    model = load(name, device="cpu", batch_atoms=7)
    found = model.predict(crystals)
    calculator = own_calculator(name)
    energy, forces, stress = [], [], []
    for atoms in crystals:
        copy = atoms.copy()
        copy.calc = calculator
        forces.append(copy.get_forces())
        energy.append(copy.get_potential_energy())
        stress.append(copy.get_stress())
    np.testing.assert_allclose(found.forces, np.concatenate(forces), rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.energy, energy, rtol=0, atol=2e-4)
    np.testing.assert_allclose(found.stress, stress, rtol=0, atol=1e-6)


def own_calculator(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "chgnet":
            from chgnet.model.dynamics import CHGNetCalculator

            return CHGNetCalculator(use_device="cpu")
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(name, device="cpu", modal="PBE" if name == "7net-mf-0" else None)


@pytest.mark.parametrize("name", ["chgnet", "7net-0"])
def test_a_molecule_has_no_images(name):
    """CHGNet treats every direction as periodic; a molecule without a cell is put into enough vacuum."""
    model, free = load(name, device="cpu"), molecule("CH3OH")
    boxed = free.copy()
    boxed.cell, boxed.pbc = [40.0] * 3, True
    found, expected = model.predict([free]), model.predict([boxed])
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=0, atol=1e-4)
    assert found.stress is None
    assert np.abs(model.predict([Atoms("H")]).forces).max() == 0


def test_a_level_of_theory_that_is_not_there():
    with pytest.raises(ForceFieldError, match="has no modal 'PBEsol': it has R2SCAN, PBE"):
        load("7net-mf-0", modal="PBEsol", device="cpu")
    with pytest.raises(ForceFieldError, match="it has one level of theory: leave 'modal' out"):
        load("7net-0", modal="PBE", device="cpu")


def test_a_file_with_the_name_of_a_model_is_not_loaded(tmp_path, monkeypatch):
    """SevenNet itself would take a file of the current folder first, and unpickle it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7net-0").write_bytes(b"no weights")
    assert np.isfinite(load("7net-0", device="cpu").predict([bulk("Si")]).forces).all()
    (tmp_path / "mine").write_bytes(b"no weights")
    with pytest.raises(ForceFieldError, match="Not a valid pretrained model name"):
        load("7net-0", model="mine", device="cpu")


def test_xtb_gives_the_energy_of_tblite(tmp_path):
    pytest.importorskip("tblite", reason="tblite is not installed")
    from tblite.interface import Calculator

    atoms = molecule("CH4")
    found = load("gfn2-xtb").predict([atoms])
    single = Calculator("GFN2-xTB", atoms.numbers, atoms.positions / 0.529177210903)
    single.set("verbosity", 0)
    expected = single.singlepoint().get("energy") * 27.211386245988
    assert found.energy[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", [*IN_WHEELS, "gfn1-xtb", "gfn2-xtb", *DOWNLOADED])
def test_presets_say_what_users_must_know(name):
    preset = registry().preset(name)
    adapter = registry().force_field(preset.adapter)
    assert preset.level_of_theory
    assert preset.licence
    assert adapter.citation or preset.citation
    assert bool(preset.download) == (name in DOWNLOADED)
    assert not preset.environment or name in _models_of(preset.environment)
    adapter.options(**preset.options)


def _models_of(environment):
    from elmlff_core.environments.listing import models_in

    assert registry().environment(environment).requirements
    return models_in(environment)


URL = "https://server.invalid/folder/x.model"


def refusal(raised, weights=None, file=None):
    """Return the message about weights whose package raises an exception."""
    with pytest.raises(ForceFieldError) as caught, weights_of("X", URL, weights, file):
        raise raised
    return str(caught.value)


def test_weights_that_cannot_be_downloaded_name_the_file_and_its_place(tmp_path):
    try:
        urllib.request.urlopen(URL, timeout=60)
    except OSError as error:
        lost = RuntimeError("Model download failed")
        lost.__cause__ = error  # as MACE does
    message = refusal(lost, file=tmp_path / "x.model")
    assert "the weights of X cannot be downloaded: no connection to server.invalid: " in message
    assert f"download {URL} on another machine, save the file as {tmp_path / 'x.model'}, and run again" in message
    assert 'name it by checkpoint = "FILE" under [models.NAME] of elmlff.toml, and run again' in refusal(lost)
    assert "cannot be downloaded: RuntimeError: from all sources;" in refusal(RuntimeError("from all sources"))


def test_damaged_weights_name_their_file(tmp_path):
    file = tmp_path / "x.model"
    file.touch()
    error = EOFError("Ran out of input")
    message = refusal(error, file=file)
    assert message.startswith(f"the weights of X cannot be loaded from {file}: EOFError: Ran out of input; remove that")
    assert (
        refusal(error, weights="y.model")
        == "the weights of X cannot be loaded from y.model: EOFError: Ran out of input"
    )


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_checkpoint_replaces_the_download(name):
    """The function of the preset takes it under the name that the preset gives, and such a model needs trust."""
    preset = registry().preset(name)
    module, _, function = preset.options["calculator"].partition(":")
    given = {**preset.options["arguments"], preset.options["checkpoint_argument"]: "file"}
    inspect.signature(getattr(importlib.import_module(module), function)).bind(**given)
    plugin = registry().force_field(preset.adapter)
    request = LoadRequest(name, Path("file"), plugin.options(**preset.options))
    assert plugin.runs(request) == [f"the callable {preset.options['calculator']}"]
