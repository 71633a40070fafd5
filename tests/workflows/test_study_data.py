"""The data of a study: missing files are downloaded; without a network, the files on this machine are used."""

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
        self.messages: list[str] = []

    def warn(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRepository]:
    fake = FakeRepository(tmp_path, "methane")
    monkeypatch.setenv("ELMLFF_CATALOGUE", str(fake.catalogue))
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path / "kept"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield fake
    fake.close()


def half(repository: FakeRepository, folder: Path) -> Path:
    """Copy the repository without the second training set and without test structures."""
    shutil.copytree(repository.root, folder)
    shutil.rmtree(folder / "study" / "validation_data")
    shutil.rmtree(folder / "study" / "training_data" / "set.001")
    return folder


def test_everything_is_fetched(repository: FakeRepository) -> None:
    reporter = Warnings()
    assert study_data(STUDY, None, reporter) == {"train": "paper-methane", "test": "paper-methane/test"}
    assert frames_here(STUDY) == {"train": (11, 11), "test": (3, 3)}
    assert reporter.messages == []


def test_frames_in_a_folder_are_used_and_missing_ones_reported(repository: FakeRepository, tmp_path: Path) -> None:
    reporter = Warnings()
    assert study_data(STUDY, half(repository, tmp_path / "half"), reporter) == {"train": "paper-methane"}
    assert frames_here(STUDY) == {"train": (7, 11), "test": (0, 3)}
    assert "paper-methane/train: only 7 of 11 published frames are on this machine" in reporter.messages
    assert repository.requested == []


def test_an_incomplete_download_is_completed(repository: FakeRepository, tmp_path: Path) -> None:
    study_data(STUDY, half(repository, tmp_path / "half"), Warnings())
    assert study_data(STUDY, None, Warnings())["test"] == "paper-methane/test"
    assert frames_here(STUDY)["train"] == (11, 11)


def test_without_a_network_the_frames_on_this_machine_are_used(repository: FakeRepository, tmp_path: Path) -> None:
    study_data(STUDY, half(repository, tmp_path / "half"), Warnings())
    repository.close()
    reporter = Warnings()
    assert study_data(STUDY, None, reporter) == {"train": "paper-methane"}
    assert "continuing with the frames on this machine" in reporter.messages[0]


def test_without_network_and_data_there_is_an_error(repository: FakeRepository) -> None:
    repository.close()
    with pytest.raises(DataError):
        study_data(STUDY, None, Warnings())
