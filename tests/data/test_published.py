"""Published datasets: download, copy, resuming, refusal of changed files, and reading by name."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from elmlff_core.contracts.progress import Progress, ProgressCallback, Reporter
from elmlff_core.data.published.catalogue import PublishedDataset, load_catalogue
from elmlff_core.data.published.local_copy import default_folder, examine, git_blob
from elmlff_core.data.published.obtain import obtain
from elmlff_core.data.readers import read_dataset, read_structures
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.files import PARTIAL, temporary_prefix
from tests.data.fake_repository import FakeRepository, blob

N_FILES = 2 * 2 + 3 * 4  # two files of types for two splits, four arrays for three sets
FORCE = "study/training_data/set.001/force.npy"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRepository]:
    fake = FakeRepository(tmp_path)
    monkeypatch.setenv("ELMLFF_CATALOGUE", str(fake.catalogue))
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path / "kept"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield fake
    fake.close()


@pytest.fixture
def fluid(repository: FakeRepository) -> PublishedDataset:
    return load_catalogue().named("fluid")


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {".lock"}


def tampered(content: bytes) -> bytes:
    """Change one bit."""
    return content[:-1] + bytes([content[-1] ^ 1])


def test_the_hash_agrees_with_git(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_all_files_are_fetched_and_can_be_read_by_name(repository, fluid):
    copy = obtain(fluid)
    assert copy.complete
    assert copy.folder == Path(os.environ["ELMLFF_DATA"]) / "datasets" / "paper-fluid"
    assert len(repository.requested) == N_FILES
    assert files_in(copy.folder) == {file.path for file in fluid.files()}
    forces = [np.load(repository.root / f"study/training_data/{name}/force.npy") for name in ("set.000", "set.001")]
    for name in ("paper-fluid", "paper-fluid/train", "fluid"):
        train = read_dataset(name)
        assert np.array_equal(np.reshape(train.forces, (11, 9)), np.concatenate(forces))
        assert train.source == "paper-fluid/train"
    test = read_structures("paper-fluid/test")
    coordinates = np.load(repository.root / "study/validation_data/set.000/coord.npy")
    assert np.array_equal([atoms.positions.ravel() for atoms in test], coordinates)


def test_a_complete_copy_needs_no_network_and_is_not_written(repository, fluid):
    folder = obtain(fluid).folder
    (folder / ".lock").unlink()
    repository.close()
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert obtain(fluid).complete
        assert len(read_dataset("paper-fluid")) == 11
        assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before
    finally:
        for path in before:
            path.chmod(0o755)


def test_an_interrupted_get_keeps_finished_files_and_fetches_the_rest(repository, fluid):
    folder = default_folder(fluid)
    box = folder / "train" / "set.000" / "box.npy"
    leftover = box.with_name(f"{temporary_prefix(box)}0123abcd{PARTIAL}")
    leftover.mkdir(parents=True)
    (leftover / "box.npy").write_bytes(b"left by a process that was killed")
    hidden = repository.root / "hidden"
    (repository.root / FORCE).rename(hidden)
    with pytest.raises(DataError, match="404"):
        obtain(fluid)
    finished = files_in(folder)
    assert 0 < len(finished) < N_FILES
    assert finished == examine(fluid, folder).here
    hidden.rename(repository.root / FORCE)
    repository.requested.clear()
    assert obtain(fluid).complete
    assert len(repository.requested) == N_FILES - len(finished)


def test_two_calls_at_the_same_time_fetch_each_file_once(repository, fluid):
    copies = []
    threads = [threading.Thread(target=lambda: copies.append(obtain(fluid))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [copy.complete for copy in copies] == [True, True]
    assert len(repository.requested) == N_FILES


def test_a_truncated_answer_is_refused(repository, fluid):
    path = repository.root / FORCE
    size, expected = path.stat().st_size, blob(path.read_bytes())
    repository.cut.add(FORCE)
    with pytest.raises(DataError, match=rf"{FORCE}.* {size // 2} of {size} bytes"):
        obtain(fluid)
    repository.cut.clear()
    path.write_bytes(path.read_bytes()[:-8])  # the file on the server is truncated, and the announced length is right
    with pytest.raises(DataError, match=rf"{FORCE} .*truncated: {size - 8} bytes .* {size} bytes with {expected}"):
        obtain(fluid)
    assert not any("force" in name for name in files_in(default_folder(fluid) / "train" / "set.001"))


def test_a_tampered_answer_is_refused(repository, fluid):
    path = repository.root / FORCE
    expected = blob(path.read_bytes())
    path.write_bytes(tampered(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{FORCE} .*{blob(path.read_bytes())}, expected .*{expected}.*--from"):
        obtain(fluid)
    assert not any("force" in name for name in files_in(default_folder(fluid) / "train" / "set.001"))


def test_errors_of_the_network_give_a_remedy(repository, fluid):
    (repository.root / FORCE).unlink()
    with pytest.raises(DataError, match=rf"{repository.url}/{FORCE}: the server answers 404 .*--from"):
        obtain(fluid)
    repository.refused.add(FORCE)
    with pytest.raises(DataError, match=r"503 .*try again later"):
        obtain(fluid)
    repository.close()
    with pytest.raises(DataError, match=r"cannot reach 127\.0\.0\.1:\d+ .*Connection refused; check the network"):
        obtain(fluid)


def test_a_damaged_local_file_is_named_and_not_changed(repository, fluid):
    path = obtain(fluid).folder / "train" / "set.001" / "force.npy"
    damaged = path.read_bytes()[:-8]
    path.write_bytes(damaged)
    for attempt in (lambda: obtain(fluid), lambda: read_dataset("paper-fluid")):
        with pytest.raises(DataError, match=r"set\.001/force\.npy is truncated: .*remove it, and `elmlff data get"):
            attempt()
    assert path.read_bytes() == damaged
    path.unlink()
    with pytest.raises(DataError, match=r"set\.001 is not a complete set"):
        read_dataset("paper-fluid")
    assert obtain(fluid).complete


def test_frames_that_were_not_published_are_refused(repository, fluid):
    folder = obtain(fluid).folder / "train"
    shutil.copytree(folder / "set.000", folder / "set.007")
    with pytest.raises(DataError, match=r"set\.007 .*not published"):
        read_dataset("paper-fluid")


def test_copying_from_a_clone_of_the_repository(repository, fluid):
    assert obtain(fluid, origin=repository.root).complete
    assert repository.requested == []


def test_copying_from_another_local_copy(repository, fluid, tmp_path):
    folder = obtain(fluid, tmp_path / "elsewhere" / "fluid").folder
    repository.close()
    assert obtain(fluid, tmp_path / "a", origin=folder).complete
    assert obtain(fluid, tmp_path / "b", origin=folder.parent).complete


def half(repository: FakeRepository, folder: Path) -> Path:
    """Make a folder with only the second training set, under the name set.000."""
    training = repository.root / "study/training_data"
    shutil.copytree(training / "set.001", folder / "fluid" / "train" / "set.000")
    for name in ("type.raw", "type_map.raw"):
        shutil.copy(training / name, folder / "fluid" / "train" / name)
    return folder


def test_an_incomplete_copy_names_its_sets(repository, fluid, tmp_path):
    copy = obtain(fluid, origin=half(repository, tmp_path / "half"))
    assert (copy.complete, copy.n_frames, copy.n_frames_of("train")) == (False, 4, 4)
    dataset = read_dataset("paper-fluid")
    assert dataset.source == "paper-fluid/train (set.001 alone: 4 of 11 frames)"
    expected = np.load(repository.root / "study/training_data/set.001/force.npy")
    assert np.array_equal(np.reshape(dataset.forces, (4, 9)), expected)
    with pytest.raises(DataError, match=r"'paper-fluid/test' is not in .*`elmlff data get paper-fluid`"):
        read_dataset("paper-fluid/test")
    assert obtain(fluid).complete  # the missing files come from the network
    assert len(repository.requested) == N_FILES - 6
    assert len(read_dataset("paper-fluid")) == 11


def test_copying_from_a_folder_with_a_damaged_file(repository, fluid, tmp_path):
    path = half(repository, tmp_path / "half") / "fluid" / "train" / "set.000" / "coord.npy"
    original = path.read_bytes()
    for damaged, found in ((original[:-8], "truncated"), (tampered(original), "not the published file")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{path} is {found}: .* with {blob(original)}"):
            obtain(fluid, origin=tmp_path / "half")
    assert examine(fluid, default_folder(fluid)).here == frozenset()


def test_copying_from_a_folder_without_a_complete_set(repository, fluid, tmp_path):
    class WarningRecorder(Reporter):
        warnings: list[str] = []  # noqa: RUF012

        def warn(self, text: str) -> None:
            self.warnings.append(text)

    folder = half(repository, tmp_path / "half")
    (folder / "fluid" / "train" / "set.000" / "energy.npy").unlink()
    with pytest.raises(DataError, match=r"no complete set or file of paper-fluid .*study/training_data or .*fluid/tr"):
        obtain(fluid, origin=folder, reporter=WarningRecorder())
    assert any("set.000/force.npy is left out" in text for text in WarningRecorder.warnings)
    with pytest.raises(DataError, match="no complete set or file"):
        obtain(fluid, origin=tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        obtain(fluid, origin=tmp_path / "nowhere")


def test_progress_counts_bytes(repository, fluid):
    class StepRecorder(Reporter):
        def __init__(self) -> None:
            self.steps: list[Progress] = []

        @contextmanager
        def progress(self, title: str) -> Iterator[ProgressCallback]:
            yield self.steps.append

    reporter = StepRecorder()
    obtain(fluid, reporter=reporter)
    total = sum((repository.root / file.remote).stat().st_size for file in fluid.files())
    done = [step.done for step in reporter.steps]
    assert {step.total for step in reporter.steps} == {total}
    assert done[-1] == total
    assert max(done) == total


def test_a_folder_that_cannot_be_written(repository, fluid, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file"):
        obtain(fluid, tmp_path / "file")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "train").touch()
    with pytest.raises(DataError, match=r"cannot write .*taken.*--output"):
        obtain(fluid, tmp_path / "taken")


def test_errors_on_unknown_names_suggest_a_name(repository, fluid, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"did you mean 'paper-fluid'"):
        read_dataset("paper-fluids")
    with pytest.raises(DataError, match=r"no split 'tset'; did you mean 'test'"):
        read_dataset("paper-fluid/tset")
    with pytest.raises(DataError, match=r"did you mean 'fluid'"):
        load_catalogue().named("fluids")
    monkeypatch.delenv("ELMLFF_CATALOGUE")
    with pytest.raises(DataError, match="did you mean 'paper-methane/test'"):
        read_dataset("methane/test")
    assert len(read_dataset("methane")) == 1200  # the embedded example


def test_a_folder_of_the_same_name_takes_precedence(repository, fluid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    obtain(fluid)
    shutil.copytree(repository.root / "study/validation_data", tmp_path / "paper-fluid")
    assert len(read_dataset("paper-fluid")) == 3


def test_the_users_catalogue_is_checked(repository, monkeypatch):
    text = repository.catalogue.read_text()
    repository.catalogue.write_text(text[:-1])
    with pytest.raises(DataError, match="cannot read the catalogue"):
        load_catalogue()
    raw = json.loads(text)
    raw["datasets"][0]["parts"]["../../escape"] = raw["datasets"][0]["parts"].pop("test")
    repository.catalogue.write_text(json.dumps(raw))
    with pytest.raises(ElmlffError, match=r"escape"):
        load_catalogue()
    repository.catalogue.write_text(json.dumps({**json.loads(text), "format_version": 1}))
    with pytest.raises(DataError, match=r"format version 1, expected 2, in which each split has a 'format'"):
        load_catalogue()


def test_the_available_data_of_the_paper(shared, tmp_path, monkeypatch):
    monkeypatch.delenv("ELMLFF_CATALOGUE", raising=False)
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path))
    catalogue = load_catalogue()
    methane = obtain(catalogue.named("methane"), origin=shared / "data")
    assert methane.complete
    assert (len(read_dataset("paper-methane")), len(read_dataset("paper-methane/test"))) == (5009, 500)
    methanol = obtain(catalogue.named("methanol-cu100"), origin=shared / "data")
    assert (methanol.n_frames, methanol.dataset.n_frames) == (3106, 8606)
    dataset = read_dataset("methanol-cu100")
    assert dataset.source == "paper-methanol-cu100/train (set.001 alone: 3106 of 8106 frames)"
    raw = np.load(shared / "data" / "methanol-cu100" / "train" / "set.000" / "force.npy")
    assert np.array_equal(np.reshape(dataset.forces, raw.shape), raw)
    assert dataset.stress is not None


def test_the_catalogue_agrees_with_the_manifest_of_the_paper(shared, monkeypatch):
    monkeypatch.delenv("ELMLFF_CATALOGUE", raising=False)
    manifest = json.loads((shared / "data" / "manifest.json").read_text())
    published = {entry["path"]: entry["git_blob"] for entry in manifest["files"]}
    for dataset in (found for found in load_catalogue().datasets if found.name.startswith("paper-")):
        assert (dataset.source, dataset.revision) == (manifest["repository"], manifest["revision"])
        assert dataset.url.endswith(manifest["revision"])
        listed = {file.remote: file.facts.git_blob for file in dataset.files()}
        folders = tuple(f"{split.folder}/" for split in dataset.parts.values())
        assert listed == {path: digest for path, digest in published.items() if path.startswith(folders)}
