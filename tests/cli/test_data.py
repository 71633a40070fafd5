"""The command `elmlff data`, with a small repository served by the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from tests.cli.test_listing_commands import BACKENDS, modules_after
from tests.data.fake_repository import FakeRepository, crystals, mlearn_json

Command = Callable[..., CompletedProcess[str]]
SETTINGS = """
base_models = ["lj", "emt"]

[models.lj]
adapter = "ase"
options = { calculator = "ase.calculators.lj:LennardJones", arguments = { sigma = 1.0, rc = 4.0 } }

[models.emt]
adapter = "ase"
options = { calculator = "ase.calculators.emt:EMT" }
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRepository]:
    fake = FakeRepository(tmp_path)
    monkeypatch.setenv("ELMLFF_CATALOGUE", str(fake.catalogue))
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path / "kept"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield fake
    fake.close()


def listed(elmlff: Command, folder: Path) -> dict[str, dict]:
    return {entry["name"]: entry for entry in json.loads(elmlff("data", "list", "--json", folder=folder).stdout)}


def test_listing_imports_no_backend(tmp_path):
    assert not modules_after(["data", "list"], tmp_path) & {*BACKENDS, "pooch", "requests"}


def test_list_shows_the_data_of_the_paper(elmlff, tmp_path, monkeypatch):
    monkeypatch.delenv("ELMLFF_CATALOGUE", raising=False)
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path / "none"))
    entries = listed(elmlff, tmp_path)
    assert entries["paper-methane"]["frames"] == {"train": 5009, "test": 500}
    assert entries["paper-methanol-cu100"]["frames"] == {"train": 8106, "test": 500}
    assert entries["mlearn-mo"]["frames"] == {"train": 194, "test": 23}
    assert entries["mlearn-cu"]["frames"] == {"train": None, "test": None}
    assert entries["mpf-tp"]["frames"] == {"all": 1069}
    assert {name: entry["licence"] for name, entry in entries.items() if entry["licence"] != "MIT"} == dict.fromkeys(
        ("mlearn-mo", "mlearn-si", "mlearn-cu", "mlearn-ni"), "BSD-3-Clause"
    )
    assert all(entry["theory"] and entry["citation"] for entry in entries.values())
    table = elmlff("data", "list", folder=tmp_path).stdout
    assert "paper-methanol-cu100" in table
    assert table.count("not here") == len(entries) == 7
    assert not (tmp_path / "none").exists()


def test_list_shows_which_frames_are_here(elmlff, repository, tmp_path):
    assert listed(elmlff, tmp_path)["paper-fluid"]["state"] == "not here"
    (hidden := repository.root / "study/validation_data/type.raw").rename(tmp_path / "hidden")
    done = elmlff("data", "get", "fluid", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "404" in done.stderr
    entry = listed(elmlff, tmp_path)["paper-fluid"]
    assert (entry["state"], entry["frames_here"]) == ("in part", {"train": 11, "test": 0})
    (tmp_path / "hidden").rename(hidden)
    elmlff("data", "get", "fluid", folder=tmp_path)
    entry = listed(elmlff, tmp_path)["paper-fluid"]
    assert (entry["state"], entry["frames_here"]) == ("complete", {"train": 11, "test": 3})
    (Path(entry["folder"]) / "train" / "type.raw").write_text("1\n0\n1\n")
    entry = listed(elmlff, tmp_path)["paper-fluid"]
    assert (entry["state"], list(entry["faults"])) == ("damaged", ["train/type.raw"])
    assert "damaged: train/type.raw" in elmlff("data", "list", folder=tmp_path).stdout


def test_get_shows_how_to_use_the_data(elmlff, repository, tmp_path):
    done = elmlff("data", "get", "fluid", folder=tmp_path)
    assert f"paper-fluid: complete, 14 frames, in {tmp_path}/kept/datasets/paper-fluid\n" in done.stdout
    use = "elmlff stack --data paper-fluid --test paper-fluid/test"
    assert f"use: {use}\n" in done.stdout
    (tmp_path / "elmlff.toml").write_text(SETTINGS)
    ran = elmlff(*use.split()[1:], "--meta", "mean", "--output", "run", folder=tmp_path)
    assert "data: paper-fluid/train, 10 training, 1 validation and 3 test structures" in ran.stdout
    errors = json.loads((tmp_path / "run/metrics.json").read_text())["errors"]
    (emt,) = (model for model in errors if model["name"] == "emt")
    assert emt["errors"]["test"]["rmse"] > 0
    evaluated = elmlff("evaluate", "run", "--data", "paper-fluid/test", "--json", folder=tmp_path).stdout
    (again,) = (model for model in json.loads(evaluated)["errors"] if model["name"] == "emt")
    assert again["errors"]["test"]["rmse"] == pytest.approx(emt["errors"]["test"]["rmse"])


def test_get_with_output_writes_to_that_folder(elmlff, repository, tmp_path):
    done = elmlff("data", "get", "paper-fluid", "--output", "mine", folder=tmp_path)
    assert "use: elmlff stack --data mine/train --test mine/test\n" in done.stdout
    expected = np.load(repository.root / "study/validation_data/set.000/force.npy")
    assert np.array_equal(np.load(tmp_path / "mine/test/set.000/force.npy"), expected)
    assert not (tmp_path / "kept").exists()


def test_get_converts_json_files(elmlff, repository, tmp_path):
    files = {
        "train": ("data/Cu/training.json", mlearn_json(crystals(6, 0))),
        "test": ("data/Cu/test.json", mlearn_json(crystals(2, 1))),
    }
    repository.add("crystals", "mlearn-json", files, {"train": 6})
    done = elmlff("data", "get", "crystals", "--output", "mine", folder=tmp_path)
    assert "crystals: complete, in mine\n" in done.stdout  # the number of test structures is not known
    assert "cite: A. Author, 2020\n" in done.stdout
    use = "elmlff stack --data mine/train/training.extxyz --test mine/test/test.extxyz"
    assert f"use: {use}\n" in done.stdout
    (tmp_path / "elmlff.toml").write_text(SETTINGS)
    ran = elmlff(*use.split()[1:], "--meta", "mean", "--output", "run", folder=tmp_path)
    assert "5 training, 1 validation and 2 test structures" in ran.stdout
    entry = listed(elmlff, tmp_path)["crystals"]
    assert (entry["state"], entry["frames"], entry["bytes"]) == ("not here", {"train": 6, "test": None}, None)


def test_get_from_a_folder_reports_missing_sets(elmlff, repository, tmp_path):
    shutil.rmtree(repository.root / "study/validation_data")
    shutil.rmtree(repository.root / "study/training_data/set.000")
    done = elmlff("data", "get", "fluid", "--from", "repository", folder=tmp_path)
    assert "paper-fluid: in part, 4 of 14 frames" in done.stdout
    assert "not here: train/set.000 (7 frames), test/set.000 (3 frames); `elmlff data get paper-fluid`" in done.stdout
    assert "use: elmlff stack --data paper-fluid\n" in done.stdout
    assert repository.requested == []


def test_errors_are_one_line(elmlff, repository, tmp_path):
    repository.close()
    for arguments in (["get", "fluid"], ["get", "fliud"], ["get", "fluid", "--from", "nowhere"], ["lst"], ["get"]):
        done = elmlff("data", *arguments, folder=tmp_path, check=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "unexpected" not in done.stderr
    assert "list" in elmlff("data", folder=tmp_path).stdout
