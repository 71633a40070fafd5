"""What a stranger's folder would run is refused without trust, and runs with it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elmlff_core import StackCalculator, load_stack
from elmlff_core.base_models.named import named_model
from elmlff_core.base_models.trust import code_of, is_allowed, store_path
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.errors import ElmlffError
from elmlff_core.files import write_record
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.settings.config import ModelConfig
from elmlff_core.stack.stack import Stack
from elmlff_core.testing import example_structures
from tests.commands.running import run_elmlff
from tests.conftest import synthetic_features

LJ = {"calculator": "ase.calculators.lj:LennardJones", "arguments": {"sigma": 1.0, "rc": 10.0}}


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty trust store."""
    monkeypatch.setenv("ELMLFF_TRUST_STORE", str(tmp_path / "store" / "trust.json"))
    return store_path()


def write_stack(folder: Path, **entry: object) -> Path:
    """A stack as a stranger may send it: one base model, described by `entry` over a harmless one."""
    harmless = named_model("m0", ModelConfig(adapter="ase", options=LJ))
    meta = make_meta("linear", {})
    features = synthetic_features(12, n_models=1)
    meta.fit(FitRequest(features, features, None, folder, 0, lambda _: None))
    Stack([harmless], "linear", {}, meta).save(folder)
    store_path().unlink()  # it was made elsewhere
    record = json.loads((folder / "stack.json").read_text())
    record["base_models"][0] |= entry
    write_record(folder / "stack.json", record)
    return folder


def checkpoint(folder: Path, name: str, contents: bytes) -> dict[str, object]:
    """A checkpoint inside the folder, as ``stack.json`` names it."""
    import hashlib

    (folder / name).write_bytes(contents)
    return {"path": name, "relative": name, "sha256": hashlib.sha256(contents).hexdigest()}


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return Path.touch, (self.path,)


CALCULATORS = {
    "a shell command": {"calculator": "os:system", "arguments": {"command": "touch made"}},
    "a process": {"calculator": "subprocess:run", "arguments": {"args": ["touch", "made"]}},
    "a script": {"calculator": "runpy:run_path", "arguments": {"path_name": "script.py"}},
    "a program that ASE starts": {
        "calculator": "ase.calculators.lammpsrun:LAMMPS", "arguments": {"command": "touch made"}
    },
    "a file named as an argument": {
        "calculator": "ase.calculators.lj:LennardJones", "arguments": {"label": "/etc/passwd"}
    },
}  # fmt: skip

# The others need a program or a file of theirs; ASE would leave the program without an end.
RUN_WHEN_MADE = ("a shell command", "a process", "a script")


@pytest.mark.parametrize("name", CALCULATORS)
def test_a_calculator_of_a_stranger_needs_trust(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text("open('made', 'w').close()")
    folder = write_stack(tmp_path / "sent", options=CALCULATORS[name])
    with pytest.raises(ElmlffError, match=r"is not trusted: its base model 'm0' runs the callable .*elmlff trust"):
        load_stack(folder)
    assert not Path("made").exists()
    (model,) = load_stack(folder, trust=True).base_models
    if name in RUN_WHEN_MADE:
        with pytest.raises(ElmlffError):  # what it returns is no calculator, but it ran
            model.force_field.predict(example_structures(["H"]))
        assert Path("made").exists()


def test_an_interpreter_in_the_folder_needs_trust(tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    python = folder / "python"
    write_stack(folder, worker={"python": str(python), "timeout": 60.0, "threads": None})
    python.write_text(f'#!/bin/sh\ntouch {tmp_path}/made\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(ElmlffError, match="runs the Python interpreter"):
        load_stack(folder)
    assert not (tmp_path / "made").exists()
    stack = load_stack(folder, trust=True)
    stack.predict(example_structures(["H"]))
    stack.close()
    assert (tmp_path / "made").exists()


def test_a_pickle_needs_trust_whatever_the_folder_says(tmp_path: Path) -> None:
    pytest.importorskip("schnetpack")
    folder = write_stack(tmp_path / "sent")
    given = checkpoint(folder, "model.pkl", pickle.dumps(Payload(tmp_path / "made")))
    record = json.loads((folder / "stack.json").read_text())
    record["base_models"][0] |= {"adapter": "schnet", "options": {}, "checkpoint": given, "trust": True}
    write_record(folder / "stack.json", record)
    with pytest.raises(ElmlffError, match="runs the Python pickle"):
        load_stack(folder)
    assert not (tmp_path / "made").exists()
    with pytest.raises(ElmlffError):  # the payload is no network, but it ran
        _ = load_stack(folder, trust=True).base_models[0].force_field
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pt2", ".pb"])
def test_a_frozen_model_is_a_program_and_needs_trust(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("deepmd")
    folder = write_stack(tmp_path / "sent")
    torch.jit.save(torch.jit.script(torch.nn.Identity()), folder / "identity")
    given = checkpoint(folder, f"model{suffix}", (folder / "identity").read_bytes())
    record = json.loads((folder / "stack.json").read_text())
    record["base_models"][0] |= {"adapter": "dp", "options": {}, "checkpoint": given}
    write_record(folder / "stack.json", record)
    with pytest.raises(ElmlffError, match="runs the program in the frozen model"):
        load_stack(folder)
    (model,) = load_stack(folder, trust=True).base_models
    assert model.checkpoint == folder / f"model{suffix}"


def test_a_checkpoint_outside_the_folder_needs_trust(tmp_path: Path) -> None:
    pytest.importorskip("calorine")
    secret = tmp_path / "secret.txt"
    secret.write_text("nep4 1 H")
    folder = write_stack(tmp_path / "sent")
    given = checkpoint(tmp_path, "secret.txt", secret.read_bytes()) | {"path": str(secret), "relative": "../secret.txt"}
    record = json.loads((folder / "stack.json").read_text())
    record["base_models"][0] |= {"adapter": "nep", "options": {}, "checkpoint": given}
    write_record(folder / "stack.json", record)
    with pytest.raises(ElmlffError, match=r"reads .*secret\.txt, which lies outside the folder"):
        load_stack(folder)
    assert load_stack(folder, trust=True).names == ("m0",)


def test_harmless_models_need_no_trust(tmp_path: Path) -> None:
    folder = write_stack(tmp_path / "sent")
    assert load_stack(folder).names == ("m0",)


def test_what_was_made_here_runs_here_until_it_changes(tmp_path: Path) -> None:
    """Saved by this user, it needs no ceremony; with other options it is refused again."""
    options = {"calculator": "ase.calculators.lj:LennardJones", "arguments": {"sigma": 1.0, "label": "mine"}}
    model = named_model("m0", ModelConfig(adapter="ase", options=options))
    folder = write_stack(tmp_path / "run")
    assert code_of(model)
    assert not is_allowed(model)
    Stack([model], "linear", {}, load_stack(folder).meta).save(folder)
    assert is_allowed(model)
    assert StackCalculator(folder).stack.names == ("m0",)
    record = json.loads((folder / "stack.json").read_text())
    record["base_models"][0]["options"]["arguments"]["label"] = "other"
    write_record(folder / "stack.json", record)
    with pytest.raises(ElmlffError, match="is not trusted"):
        StackCalculator(folder)
    assert StackCalculator(folder, trust=True).stack.names == ("m0",)


def run(*arguments: str, folder: Path, code: int = 0) -> str:
    """`elmlff` in `folder`, which must end with `code`: what it printed."""
    done = run_elmlff(arguments, folder, code)
    return done.stdout + done.stderr


def test_the_command_says_what_would_run_and_allows_it(tmp_path: Path) -> None:
    options = {"calculator": "ase.calculators.lj:LennardJones", "arguments": {"sigma": 1.0, "label": "x"}}
    write_stack(tmp_path / "sent", options=options)
    (tmp_path / "few.xyz").write_text("2\n\nH 0 0 0\nH 0 0 1.2\n")
    predict = ("predict", "sent", "--data", "few.xyz", "-o", "out.extxyz")
    assert "elmlff trust sent" in run(*predict, folder=tmp_path, code=1)
    run(*predict, "--trust", folder=tmp_path)
    assert "is not trusted" in run(*predict, folder=tmp_path, code=1)  # for that command alone
    assert "m0: adapter ase, the callable ase.calculators.lj:LennardJones" in run("trust", "sent", folder=tmp_path)
    run(*predict, folder=tmp_path)


def test_settings_of_another_folder_need_trust_to_run_code(tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "elmlff.toml").write_text(
        '[models.bad]\nadapter = "ase"\n[models.bad.options]\ncalculator = "os:system"\n'
        'arguments = { command = "touch made" }\n'
    )
    refused = run("stack", "--config", "sent/elmlff.toml", "--meta", "mean", folder=tmp_path, code=1)
    assert "its base model 'bad' runs the callable os:system" in refused
    assert not (tmp_path / "made").exists()
    run("stack", "--config", "sent/elmlff.toml", "--meta", "mean", "--trust", folder=tmp_path, code=1)
    assert (tmp_path / "made").exists()


def test_the_current_folder_brings_no_plugins_and_no_modules(tmp_path: Path) -> None:
    """A downloaded folder may hold a package's metadata, and files named like packages."""
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[elmlff]\nevil = evil\n")
    for name in ("evil", "rich"):
        (tmp_path / f"{name}.py").write_text("open('made', 'w').close()")
    assert "evil" not in run("plugins", folder=tmp_path)
    assert not (tmp_path / "made").exists()


def test_a_module_of_the_current_folder_does_not_stand_in_for_a_package(tmp_path: Path) -> None:
    (tmp_path / "concurrent").mkdir()
    (tmp_path / "concurrent" / "futures.py").write_text("open('made', 'w').close()")
    (tmp_path / "yaml.py").write_text("open('made', 'w').close()")
    (tmp_path / "pools.py").write_text(
        "import yaml\nfrom concurrent.futures import ThreadPoolExecutor\ndef threads(): return ThreadPoolExecutor(1)"
    )
    code = (
        "import sys; del sys.path[0]; from elmlff_core.execution.executors import opened\n"
        "from elmlff_core.execution.placement import Placement\n"
        "with opened(Placement('pools:threads'), 1, 1) as pool: print(pool.submit(pow, 2, 3).result())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "8", done.stderr
    assert not (tmp_path / "made").exists()


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    options = {"calculator": "os:system"}
    folder = write_stack(tmp_path / "sent", options=options)
    store_path().write_text("[")
    with pytest.raises(ElmlffError, match=r"cannot read .*trust"):
        load_stack(folder)


@pytest.mark.parametrize("name", ["meta/meta.safetensors", "uncertainty.json"])
def test_a_damaged_file_of_a_stack_is_refused(name: str, tmp_path: Path) -> None:
    """One flipped bit changes numbers, and nothing else would show it."""
    from elmlff_core.uncertainty.uncertainty import Uncertainty

    folder = write_stack(tmp_path / "run")
    stack = load_stack(folder)
    features = synthetic_features(12, n_models=1)
    stack.uncertainty = Uncertainty.fit(features, stack.meta.predict(features), stack.meta)
    stack.save(folder)
    assert load_stack(folder).uncertainty is not None
    damaged = bytearray((folder / name).read_bytes())
    damaged[-9] ^= 1
    (folder / name).write_bytes(damaged)
    with pytest.raises(ElmlffError, match=f"{Path(name).name} is missing or has changed since elmlff wrote it"):
        load_stack(folder)
