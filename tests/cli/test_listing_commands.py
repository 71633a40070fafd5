"""The commands `elmlff plugins`, `models`, `init` and `new-adapter`; listings import no backend."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from elmlff_core.base_models.named import model_settings
from elmlff_core.errors import ElmlffError
from elmlff_core.files import sha256_of, write_record
from elmlff_core.plugins.registry import registry
from elmlff_core.plugins.settings_schema import settings_schema
from elmlff_core.settings.config import Config, DataConfig, ModelConfig, TrainingConfig
from elmlff_core.settings.reading import read_config

BACKENDS = ("torch", "deepmd", "schnetpack", "calorine", "neppo", "torch_geometric", "matplotlib", "pytorch_lightning")


def modules_after(command: list[str], folder: Path) -> set[str]:
    """Return the top-level modules that a command imports."""
    code = (
        "import sys\nfrom elmlff_core.cli.main import main\n"
        f"try: main({command!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print('\\nmodules', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("\nmodules ")[2].split())


@pytest.mark.parametrize("command", [["--help"], ["plugins"], ["plugins", "gat"], ["models"], ["init"]])
def test_no_backend_is_imported(command, tmp_path):
    assert not modules_after(command, tmp_path) & set(BACKENDS)


def test_plugins_shows_packages_and_whether_they_can_be_used(elmlff, tmp_path):
    entries = {entry["name"]: entry for entry in json.loads(elmlff("plugins", "--json", folder=tmp_path).stdout)}
    assert set(entries) >= {"ase", "dp", "nep", "painn", "schnet", "mean", "median", "best", "linear", "gat"}
    assert entries["ase"] == {
        "kind": "adapter",
        "name": "ase",
        "summary": "any ASE calculator, named as module:callable",
        "trainable": False,
        "package": "elmlff",
        "version": "0.1.0",
        "module": "elmlff_plugins.ase.adapter",
        "works": True,
        "problem": "",
    }


def test_plugins_without_any_backend_shows_what_to_install(elmlff, tmp_path):
    # A finder that finds no backend, as on a machine without backends.
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import importlib.util
        known = importlib.util.find_spec
        def find_spec(name, package=None):
            return None if name in {BACKENDS!r} else known(name, package)
        importlib.util.find_spec = find_spec
        """)
    )
    listed = elmlff("plugins", "--json", folder=tmp_path, PYTHONPATH=str(tmp_path)).stdout
    entries = {entry["name"]: entry for entry in json.loads(listed)}
    assert entries["dp"]["works"] is False
    assert entries["dp"]["problem"] == 'deepmd not installed: pip install "elmlff[deepmd]"'
    assert entries["linear"]["works"] is True
    done = elmlff("plugins", "--check", "painn", folder=tmp_path, check=False, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert 'pip install "elmlff[schnet]"' in done.stdout


def test_plugins_shows_options_with_defaults(elmlff, tmp_path):
    shown = elmlff("plugins", "gat", folder=tmp_path).stdout
    assert "cutoff: float, default 5.0" in shown
    assert "calculator: str, required" in elmlff("plugins", "ase", folder=tmp_path).stdout


def test_plugins_check_makes_a_meta_model(elmlff, tmp_path):
    assert elmlff("plugins", "--check", "linear", folder=tmp_path).stdout == "meta-model 'linear': OK\n"


def test_plugins_check_of_an_unknown_name_suggests_one(elmlff, tmp_path):
    done = elmlff("plugins", "--check", "gta", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "did you mean 'gat'?" in done.stderr


def test_a_backend_that_crashes_is_reported(tmp_path, monkeypatch):
    from elmlff_core.plugins.import_check import check_import

    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    (tmp_path / "leaving.py").write_text("import os; os._exit(7)")
    (tmp_path / "failing.py").write_text("raise ImportError('libbar.so')")
    (tmp_path / "talking.py").write_text("__version__ = '3.1'; print('{banner}')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert check_import("crashing").failure == "Python crashed with signal 11"
    assert check_import("leaving").failure == "Python ended with code 7"
    assert check_import("failing").failure == "ImportError: libbar.so"
    assert check_import("talking").version == "3.1"
    assert check_import("json", "/nowhere/python").failure.startswith("cannot start /nowhere/python")


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with settings, an earlier training with these options, and one with other options."""
    (tmp_path / "elmlff.toml").write_text(
        textwrap.dedent("""
        base_models = ["metal", "nep"]
        [models.metal]
        adapter = "ase"
        [models.metal.options]
        calculator = "ase.calculators.emt:EMT"
        elements = ["Cu", "Au"]
        [models.nep.options]
        neuron = 7
        [models.lost]
        adapter = "nep"
        checkpoint = "nowhere.txt"
        [models.odd]
        adapter = "nepp"
        """)
    )
    for digest, neuron in (("0123456789", 7), ("abcdefabcd", 30)):
        options = model_settings(read_config(tmp_path / "elmlff.toml"), "nep").options | {"neuron": neuron}
        from elmlff_plugins.nep.options import NEPOptions

        folder = tmp_path / "elmlff-models" / f"nep-{digest}"
        folder.mkdir(parents=True)
        (folder / "nep.txt").write_text("")
        record = {
            "adapter": "nep",
            "checkpoint": "nep.txt",
            "checkpoint_sha256": sha256_of(folder / "nep.txt"),
            "options": NEPOptions(**options).model_dump(mode="json"),
        }
        write_record(folder / "trained.json", record)
    return tmp_path


def test_models_shows_states(elmlff, project):
    entries = {entry["name"]: entry for entry in json.loads(elmlff("models", "--json", folder=project).stdout)}
    assert list(entries)[:4] == ["metal", "nep", "lost", "odd"]
    assert set(entries) == {"metal", "lost", "odd", *registry().presets}
    assert (entries["metal"]["state"], entries["metal"]["elements"]) == ("ready", ["Cu", "Au"])
    assert entries["nep"]["state"] == "trained"
    assert entries["nep"]["checkpoints"] == ["elmlff-models/nep-0123456789/nep.txt"]
    assert entries["nep"]["cutoff"] == 8.0
    assert entries["painn"]["state"] == "not trained"
    assert (entries["painn"]["source"], entries["painn"]["in_stack"]) == ("preset", False)
    assert "nowhere.txt" in entries["lost"]["problem"]
    assert "did you mean 'nep'?" in entries["odd"]["problem"]


def test_models_lists_presets_in_the_papers_order_and_marks_those_stacked_by_default(elmlff, tmp_path):
    entries = json.loads(elmlff("models", "--json", folder=tmp_path).stdout)
    own = [entry["name"] for entry in entries if entry["source"] == "preset" and not entry["in_stack"]]
    assert [entry["name"] for entry in entries if entry["in_stack"]] == ["dp1", "painn", "nep"]
    assert own[:6] == ["dp2", "dp3", "sch1", "sch2", "sch3", "chgnet"]
    assert {entry["name"]: entry["cutoff"] for entry in entries if entry["state"] == "not trained"} == {
        "dp1": 6.0, "dp2": 6.0, "dp3": 6.0, "sch1": 5.0, "sch2": 5.0, "sch3": 5.0, "painn": 5.0, "nep": 8.0
    }  # fmt: skip


def test_models_marks_the_models_that_a_file_names(elmlff, tmp_path):
    (tmp_path / "elmlff.toml").write_text(
        '[models.metal]\nadapter = "ase"\noptions.calculator = "ase.calculators.emt:EMT"\n'
    )
    entries = json.loads(elmlff("models", "--json", folder=tmp_path).stdout)
    assert [entry["name"] for entry in entries if entry["in_stack"]] == ["metal"]


def test_models_check_loads_one(elmlff, project):
    assert elmlff("models", "--check", "metal", folder=project).stdout.startswith("model 'metal': OK: elements Cu, Au;")
    done = elmlff("models", "--check", "lost", folder=project, check=False)
    assert done.returncode == 1
    assert "nowhere.txt" in done.stdout


def test_models_prints_a_table(elmlff, project):
    table = elmlff("models", folder=project).stdout
    assert "metal *" in table
    assert "problem: no" in table
    assert "89 elements, H to" in table


def test_models_shows_all_that_is_known_of_one(elmlff, tmp_path):
    card = elmlff("models", "7net-0", folder=tmp_path).stdout
    for text in ("runs in          env:chgnet-sevennet", "PBE and PBE+U", "licence          MIT", "@article{Park2024"):
        assert text in card


def test_init_writes_every_default(elmlff, tmp_path):
    elmlff("init", folder=tmp_path)
    assert read_config(tmp_path / "elmlff.toml") == Config()


def test_init_documents_every_key(elmlff, tmp_path):
    elmlff("init", folder=tmp_path)
    text = (tmp_path / "elmlff.toml").read_text()
    sections = {"data": DataConfig, "training": TrainingConfig, "models.mine": ModelConfig}
    for table, section in sections.items():
        from_table = text[text.index(f"[{table}]") :]
        for key in section.model_fields:
            assert f"{key} = " in from_table or f"[{table}.{key}]" in from_table, f"{table}.{key}"
    for key in Config.model_fields:
        assert f"{key} = " in text or f"[{key}" in text, key


def test_commented_settings_of_init_are_valid(elmlff, tmp_path):
    elmlff("init", folder=tmp_path)
    path = tmp_path / "elmlff.toml"
    lines = []
    for line in path.read_text().splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if line.startswith("# ") and (" = " in bare.partition("#")[0] or bare[0] == "[") else line)
    del lines[:3]  # text, one line with an equals sign
    path.write_text("\n".join(lines))
    with pytest.raises(ElmlffError, match="generation-0 holds no run"):  # valid, but it names a run that is not there
        read_config(path)
    path.write_text("\n".join(line for line in lines if not line.startswith("earlier_run")))
    config = read_config(path)
    assert config.models["mine"].adapter == "painn"
    assert config.training.epochs == 50
    assert config.data.test is not None


def test_init_writes_the_schema_that_the_settings_name(elmlff, tmp_path):
    elmlff("init", folder=tmp_path)
    assert (tmp_path / "elmlff.toml").read_text().startswith("#:schema ./elmlff.schema.json\n")
    assert json.loads((tmp_path / "elmlff.schema.json").read_text()) == settings_schema()
    assert json.loads(elmlff("schema", folder=tmp_path).stdout) == settings_schema()


def test_init_does_not_overwrite(elmlff, tmp_path):
    (tmp_path / "elmlff.toml").write_text("seed = 3\n")
    done = elmlff("init", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert (tmp_path / "elmlff.toml").read_text() == "seed = 3\n"
    elmlff("init", "--force", folder=tmp_path)
    assert read_config(tmp_path / "elmlff.toml") == Config()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Bad Name", "lower-case"),
        ("9lives", "starting with a letter"),
        ("../up", "lower-case"),
        ("dp", "taken by elmlff"),
        ("core", "elmlff_core exists"),
    ],
)
def test_new_adapter_refuses_names(elmlff, tmp_path, name, reason):
    done = elmlff("new-adapter", name, folder=tmp_path, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_new_adapter_does_not_overwrite(elmlff, tmp_path):
    elmlff("new-adapter", "my-fluid", folder=tmp_path)
    written = {path.name for path in (tmp_path / "my-fluid").iterdir()}
    assert written == {"README.md", "elmlff_my_fluid.py", "pyproject.toml", "test_elmlff_my_fluid.py"}
    done = elmlff("new-adapter", "my-fluid", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "exists" in done.stderr
