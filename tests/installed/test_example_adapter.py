"""The example adapter and the package that `elmlff new-adapter` writes, installed as users install them."""

import json
import re


def test_the_example_adapter_is_listed(sound):
    entries = json.loads(sound.elmlff("plugins", "--json").stdout)
    (emt,) = [entry for entry in entries if entry["name"] == "emt"]
    assert (emt["package"], emt["version"], emt["module"]) == ("elmlff-emt", "0.1.0", "elmlff_emt")
    assert emt["works"] is True


def test_the_example_adapter_passes_its_test(sound):
    folder = sound.python.parents[2] / "adapter-emt"
    done = sound.run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=folder)
    assert re.search(r"^4 passed", done.stdout, re.MULTILINE), done.stdout


def test_the_example_adapter_can_be_checked(sound):
    assert "adapter 'emt': OK: ase" in sound.elmlff("plugins", "--check", "emt").stdout


def test_the_example_adapter_makes_a_base_model(sound, tmp_path):
    (tmp_path / "elmlff.toml").write_text('base_models = ["metal"]\n[models.metal]\nadapter = "emt"\n')
    done = sound.elmlff("models", "--check", "metal", folder=tmp_path)
    assert done.stdout == "model 'metal': OK: elements Al, Ni, Cu, Pd, Ag, Pt, Au; cutoff unknown\n"


def test_a_new_adapter_can_be_installed_and_passes_its_tests(sound, tmp_path):
    sound.elmlff("new-adapter", "soft-spheres", folder=tmp_path)
    package = tmp_path / "soft-spheres"
    sound.install(package, tmp_path / "copy")
    assert "adapter 'soft-spheres': OK" in sound.elmlff("plugins", "--check", "soft-spheres").stdout
    done = sound.run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=package)
    assert re.search(r"^2 passed", done.stdout, re.MULTILINE), done.stdout
    sound.run("-m", "pip", "uninstall", "--yes", "elmlff-soft-spheres")


def test_the_pytest_plugin_imports_little(sound, tmp_path):
    # pytest loads it in every run in this environment, also for projects that do not use elmlff.
    (tmp_path / "test_modules.py").write_text(
        "import sys\ndef test(): assert not {'torch', 'ase', 'numpy', 'elmlff_core.testing'} & set(sys.modules)"
    )
    sound.run("-m", "pytest", "-q", "-p", "elmlff", "test_modules.py", folder=tmp_path)


def test_templates_are_installed(sound, tmp_path):
    sound.elmlff("init", folder=tmp_path)
    assert (tmp_path / "elmlff.toml").exists()
