"""Environments are made whole or not at all, found by name, and removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from elmlff_core.cli.main import main
from elmlff_core.environments.creation import create, remove
from elmlff_core.environments.folder import RECORD, find, installed
from elmlff_core.environments.listing import broken_requirements, list_environments
from elmlff_core.errors import ElmlffError


def state(name="tiny"):
    (entry,) = [entry for entry in list_environments() if entry.name == name]
    return entry.state


def test_an_environment_is_made_found_and_removed(recipe, environments, wheel, capsys):
    """One test for all of its life, because to make one takes seconds."""
    made = recipe()
    assert state() == "not here"
    main(["env", "create", "tiny"])
    assert "about 0.1 GB in" in capsys.readouterr().out
    environment = find("tiny")
    assert environment is not None
    code = "import tinyfield, sys; print(tinyfield.value, sys.prefix)"
    found = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert found.stdout.split() == ["42", str(environments / "tiny")]
    assert installed() == [environment]
    assert environment.record["requirements"] == list(made.requirements)
    assert environment.record["bytes"] > 1_000_000  # of pip
    assert not [path for path in environment.folder.iterdir() if path.name.startswith("install-")]
    main(["env", "list", "--json"])
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["tiny"]["state"] == "ready"
    assert entries["chgnet-sevennet"]["models"] == ["chgnet", "7net-0", "7net-l3i5", "7net-mf-0"]
    main(["env", "check", "tiny"])

    marker = environment.folder / "marker"
    marker.touch()
    assert create(made) == environment  # it is there already
    assert marker.exists()
    recipe(requirements=(*made.requirements, "numpy"))
    assert state() == "outdated"
    capsys.readouterr()
    main(["env", "create", "tiny"])
    assert "remove it first with `elmlff env remove tiny`" in " ".join(capsys.readouterr().out.split())
    recipe()
    (environment.folder / RECORD).unlink()  # as an interruption leaves it
    assert find("tiny") is None
    assert state() == "incomplete"
    steps = []
    create(made, steps.append)
    assert steps
    assert all(step.done < step.total for step in steps)
    assert state() == "ready"
    assert not marker.exists()

    main(["env", "remove", "tiny"])
    assert find("tiny") is None
    assert not environment.folder.exists()


def test_a_failed_installation_shows_the_end_of_its_output(recipe, wheel):
    wheel.write_bytes(b"no wheel")
    with pytest.raises(ElmlffError, match=r"'tiny' could not be made: `.* ended with code 1:(?s:.)*tinyfield"):
        create(recipe())
    assert find("tiny") is None


def test_a_server_that_cannot_be_reached_is_named_as_such(recipe):
    """What pip says last is that there is no such version."""
    made = recipe(requirements=("elmlff-no-such-package==1.0",))
    with pytest.raises(ElmlffError, match="a server could not be reached"):
        create(made, installer_options=("--index-url", "https://server.invalid/simple", "--retries", "1", "--no-cache"))


def test_uv_makes_environments(recipe, monkeypatch):
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (uv := shutil.which("uv", path=folders)) is None:
        pytest.skip("uv is not installed")
    monkeypatch.setattr("elmlff_core.environments.creation.find_uv", lambda: uv)
    steps = []
    environment = create(recipe(), steps.append)
    assert environment.record["installer"].startswith("uv ")
    assert all(step.done < step.total for step in steps)
    found = subprocess.run([environment.python, "-c", "import tinyfield"], check=False, cwd="/")
    assert found.returncode == 0
    assert broken_requirements("tiny") == ""  # although there is no pip in it
    remove("tiny")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"python": "<3.10"}, r"'tiny' needs Python <3.10, .* is 3\.\d+\.\d+: name another with --python"),
        ({"gigabytes": 1e9}, "needs about 1500000000.0 GB to be made, .* set ELMLFF_ENVIRONMENTS to a folder"),
    ],
)
def test_what_cannot_work_is_refused_at_once(recipe, fields, message, environments):
    with pytest.raises(ElmlffError, match=message):
        create(recipe(**fields))
    assert not (environments / "tiny").exists()


def test_an_interpreter_that_does_not_run(recipe):
    with pytest.raises(ElmlffError, match="/no/python cannot be run as a Python interpreter"):
        create(recipe(), python="/no/python")


def test_two_processes_do_not_make_the_same_one(recipe, environments):
    environments.mkdir()
    with FileLock(environments / "tiny.lock"), pytest.raises(ElmlffError, match="another process makes"):
        create(recipe())


@pytest.mark.parametrize("name", ["..", "../environments", "a/b", "", "missing"])
def test_names_do_not_lead_out_of_the_folder(name, environments):
    environments.mkdir()
    (environments.parent / RECORD).write_text("{}")
    assert find(name) is None
    with pytest.raises(ElmlffError, match="there is no environment"):
        remove(name)
    assert environments.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "nothing"], "no environment is called 'nothing'"),
        (["create", "dpa4-mini"], "the model 'dpa4-mini' needs no environment"),
        (["remove", "chgnet"], "there is no environment 'chgnet-sevennet'"),
    ],
)
def test_wrong_names_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="1"):
        main(["env", *arguments])
    assert message in capsys.readouterr().err
