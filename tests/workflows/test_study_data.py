"""The data of a study: what is missing is got, and where that cannot be, what is here is studied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import DataError
from elmlff_core.workflows.reproduction.data import frames_here, study_data
from elmlff_core.workflows.reproduction.studies import STUDIES
from tests.data.fake_repository import FakeRepository

STUDY = STUDIES["methane"]


class Warnings(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRepository]:
    fake = FakeRepository(tmp_path, "methane")
    monkeypatch.setenv("ELMLFF_CATALOGUE", str(fake.catalogue))
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path / "kept"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield fake
    fake.close()


def half(repository: FakeRepository, folder: Path) -> Path:
    """A copy of the repository without the second training set and without test structures."""
    shutil.copytree(repository.root, folder)
    shutil.rmtree(folder / "study" / "validation_data")
    shutil.rmtree(folder / "study" / "training_data" / "set.001")
    return folder


def test_everything_is_fetched(repository: FakeRepository) -> None:
    reporter = Warnings()
    assert study_data(STUDY, None, reporter) == {"train": "paper-methane", "test": "paper-methane/test"}
    assert frames_here(STUDY) == {"train": (11, 11), "test": (3, 3)}
    assert reporter.said == []


def test_what_is_in_a_folder_is_taken_and_said(repository: FakeRepository, tmp_path: Path) -> None:
    reporter = Warnings()
    assert study_data(STUDY, half(repository, tmp_path / "half"), reporter) == {"train": "paper-methane"}
    assert frames_here(STUDY) == {"train": (7, 11), "test": (0, 3)}
    assert "paper-methane/train: 7 of 11 published frames are here" in reporter.said
    assert repository.requested == []


def test_what_an_interrupted_download_left_is_completed(repository: FakeRepository, tmp_path: Path) -> None:
    study_data(STUDY, half(repository, tmp_path / "half"), Warnings())
    assert study_data(STUDY, None, Warnings())["test"] == "paper-methane/test"
    assert frames_here(STUDY)["train"] == (11, 11)


def test_without_a_network_what_is_here_is_studied(repository: FakeRepository, tmp_path: Path) -> None:
    study_data(STUDY, half(repository, tmp_path / "half"), Warnings())
    repository.close()
    reporter = Warnings()
    assert study_data(STUDY, None, reporter) == {"train": "paper-methane"}
    assert "going on with what is here" in reporter.said[0]


def test_without_network_and_data_there_is_no_study(repository: FakeRepository) -> None:
    repository.close()
    with pytest.raises(DataError):
        study_data(STUDY, None, Warnings())
