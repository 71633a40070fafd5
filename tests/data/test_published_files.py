"""Published datasets of one file for each split: extxyz files, and JSON files of mlearn with an extxyz copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from elmlff_core.data.published.catalogue import PublishedDataset, load_catalogue
from elmlff_core.data.published.local_copy import default_folder, examine
from elmlff_core.data.published.obtain import obtain
from elmlff_core.data.readers import read_dataset
from elmlff_core.errors import DataError, ElmlffError
from tests.data.fake_repository import FakeRepository, blob, crystals, mlearn_json

JSON = {"train": "data/Cu/training.json", "test": "data/Cu/test.json"}
HOT = "data/benchmarks/hot.xyz"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRepository]:
    fake = FakeRepository(tmp_path)
    monkeypatch.setenv("ELMLFF_CATALOGUE", str(fake.catalogue))
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path / "kept"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield fake
    fake.close()


@pytest.fixture
def copper(repository: FakeRepository) -> PublishedDataset:
    """A dataset of two JSON files; the number of its test structures and the size of their file are not known."""
    contents = {"train": mlearn_json(crystals(5, 0)), "test": mlearn_json(crystals(2, 1))}
    repository.add("copper", "mlearn-json", {name: (JSON[name], contents[name]) for name in JSON}, {"train": 5})
    return load_catalogue().named("copper")


@pytest.fixture
def hot(repository: FakeRepository, tmp_path: Path) -> PublishedDataset:
    """A dataset of one extxyz file."""
    ase.io.write(tmp_path / "hot.xyz", crystals(4, 2), format="extxyz")
    repository.add("hot", "extxyz", {"all": (HOT, (tmp_path / "hot.xyz").read_bytes())}, {"all": 4})
    return load_catalogue().named("hot")


def forces_of(structures: list[Atoms]) -> np.ndarray:
    return np.concatenate([atoms.get_forces() for atoms in structures])


def test_a_json_file_is_read_by_name_and_has_an_extxyz_copy(repository, copper):
    copy = obtain(copper)
    assert copy.complete
    assert sorted(repository.requested) == sorted(JSON.values())
    train, test = read_dataset("copper"), read_dataset("copper/test")
    assert (train.source, test.source) == ("copper/train", "copper/test")
    assert np.array_equal(train.forces, forces_of(crystals(5, 0)))
    assert np.array_equal(test.energy, [atoms.get_potential_energy() for atoms in crystals(2, 1)])
    assert train.stress is None
    for split, dataset in (("train", train), ("test", test)):
        copied = read_dataset(copy.path_of(split))
        assert copied.source.endswith(".extxyz")
        assert np.allclose(copied.forces, dataset.forces, rtol=0, atol=5.1e-9)  # eight decimals
        assert np.array_equal(copied.energy, dataset.energy)


def test_the_extxyz_copy_is_made_once_and_again_where_it_is_missing(repository, copper):
    copy = obtain(copper)
    path = copy.path_of("train")
    path.write_text("the user's own")
    repository.close()
    obtain(copper)
    assert path.read_text() == "the user's own"
    assert np.array_equal(read_dataset("copper").forces, forces_of(crystals(5, 0)))  # from the published file
    path.unlink()
    obtain(copper)
    assert len(read_dataset(path)) == 5


def test_an_extxyz_file_is_kept_as_it_is(repository, hot):
    copy = obtain(hot)
    assert copy.path_of("all").read_bytes() == (repository.root / HOT).read_bytes()
    assert [path.name for path in (copy.folder / "all").iterdir()] == ["hot.xyz"]
    dataset = read_dataset("hot")
    assert dataset.source == "hot/all"
    assert np.allclose(dataset.forces, forces_of(crystals(4, 2)), rtol=0, atol=5.1e-9)
    with pytest.raises(DataError, match="'hot' has no split 'test'"):
        read_dataset("hot/test")


def test_copying_from_a_clone_and_from_folders_of_the_data(repository, copper, hot, tmp_path):
    kept = obtain(copper, origin=repository.root).folder
    obtain(hot, origin=repository.root)
    for number, origin in enumerate((repository.root / "data" / "benchmarks", kept.parent, kept.parent / "hot")):
        assert obtain(hot, tmp_path / f"hot{number}", origin).complete
    for number, origin in enumerate((repository.root / "data" / "Cu", kept.parent, kept)):
        assert obtain(copper, tmp_path / f"copper{number}", origin).complete
    assert repository.requested == []
    with pytest.raises(
        DataError, match=r"no complete set or file of hot is in .*: expected data/benchmarks/hot\.xyz or"
    ):
        obtain(hot, tmp_path / "nothing", origin=kept)


def test_a_part_of_the_files(repository, copper, tmp_path):
    (tmp_path / "copper").mkdir()
    shutil.copy(repository.root / JSON["test"], tmp_path / "copper")
    copy = obtain(copper, origin=tmp_path)
    assert (copy.splits, copy.n_frames_of("train"), copy.n_frames_of("test")) == (["test"], 0, None)
    assert (copy.complete, copper.n_frames) == (False, None)
    assert len(read_dataset("copper/test")) == 2
    with pytest.raises(DataError, match=r"'copper/train' is not in .*`elmlff data get copper`"):
        read_dataset("copper")


def test_a_changed_file_of_unknown_size_is_refused(repository, copper):
    path = repository.root / JSON["test"]
    original = path.read_bytes()
    path.write_bytes(original[:-1])
    expected = rf"not the published file: {len(original) - 1} bytes .*expected git hash {blob(original)}"
    with pytest.raises(DataError, match=rf"{JSON['test']} as received is {expected}"):
        obtain(copper)
    assert examine(copper, default_folder(copper)).splits == ["train"]
    repository.cut.add(JSON["test"])
    with pytest.raises(DataError, match=rf"{JSON['test']}: the connection broke after \d+ bytes"):
        obtain(copper)
    path.unlink()
    with pytest.raises(DataError, match=rf"{JSON['test']}: the server answers 404 [A-Za-z ]+; it may"):
        obtain(copper)


def test_a_file_that_does_not_have_its_declared_format_is_refused(repository):
    repository.add("wrong", "mlearn-json", {"all": ("wrong.json", b"[{}]")}, {"all": 1})
    with pytest.raises(DataError, match=r"'structure' of structure 0 of .*wrong\.json: Field required"):
        obtain(load_catalogue().named("wrong"))


def test_paths_that_lead_out_of_the_folder_are_refused(repository, copper):
    raw = json.loads(repository.catalogue.read_text())
    for path in ("../escape.json", "data/../../escape.json", "/escape.json", "data/"):
        raw["datasets"][-1]["parts"]["train"]["path"] = path
        repository.catalogue.write_text(json.dumps(raw))
        with pytest.raises(ElmlffError, match=r"path' in .*should match pattern"):
            load_catalogue()


@pytest.mark.parametrize("element", ["Mo", "Si"])
def test_mlearn_is_converted_to_the_same_text_as_by_others(shared, repository, element):
    """The copies in `shared` were converted from the published JSON files by other code than ours.

    The JSON files themselves are not at hand; they are made again from those copies, which have eight decimals.
    """
    folder = shared / "data" / "mlearn" / element
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: the structures of mlearn are not at hand")
    contents = {name: mlearn_json(ase.io.read(folder / f"{name}.extxyz", ":")) for name in JSON}
    repository.add("again", "mlearn-json", {name: (JSON[name], contents[name]) for name in JSON}, {})
    copy = obtain(load_catalogue().named("again"))
    for split in JSON:
        expected = read_dataset(folder / f"{split}.extxyz")
        found = read_dataset(f"again/{split}")
        assert np.array_equal(found.forces, expected.forces)
        assert np.array_equal(found.energy, expected.energy)
        for ours, theirs in zip(found.structures, expected.structures, strict=True):
            assert ours == theirs
        assert copy.path_of(split).read_text() == (folder / f"{split}.extxyz").read_text()


def test_mpf_tp_has_energies_forces_and_stresses(shared, tmp_path, monkeypatch):
    if not (shared / "data" / "mpf-tp").is_dir():
        pytest.skip(f"there is no {shared / 'data' / 'mpf-tp'}: mpf-TP.xyz is not at hand")
    monkeypatch.delenv("ELMLFF_CATALOGUE", raising=False)
    monkeypatch.setenv("ELMLFF_DATA", str(tmp_path))
    copy = obtain(load_catalogue().named("mpf-tp"), origin=shared / "data")
    assert (copy.complete, copy.n_frames) == (True, 1069)
    dataset = read_dataset("mpf-tp")
    n_atoms = [len(atoms) for atoms in dataset.structures]
    assert (len(dataset), min(n_atoms), max(n_atoms)) == (1069, *copy.dataset.n_atoms)
    assert len({symbol for atoms in dataset.structures for symbol in atoms.symbols}) == 80
    _, header, first, *_ = copy.path_of("all").read_text().splitlines()
    assert dataset.energy[0] == float(header.split(" energy=")[1].split()[0])
    stress = np.reshape(header.split(' stress="')[1].split('"')[0].split(), (3, 3)).astype(float)
    assert np.allclose(dataset.stress[0], stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], rtol=0, atol=1e-12)
    assert dataset.forces[0].tolist() == [float(number) for number in first.split()[4:]]


def test_the_catalogue_agrees_with_the_manifest_of_other_data(shared, monkeypatch):
    monkeypatch.delenv("ELMLFF_CATALOGUE", raising=False)
    path = shared / "data" / "manifest-universal.json"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    expected = {
        (entry["repository"], entry["revision"], entry["licence"], file["path"], file["git_blob"], file.get("size"))
        for entry in json.loads(path.read_text())
        for file in entry["files"]
    }
    datasets = [found for found in load_catalogue().datasets if not found.name.startswith("paper-")]
    assert {
        (found.source, found.revision, found.licence, file.remote, file.facts.git_blob, file.facts.size)
        for found in datasets
        for file in found.files()
    } == expected
    for found in datasets:
        owner = found.source.removeprefix("https://github.com/")
        assert found.url == f"https://raw.githubusercontent.com/{owner}/{found.revision}"
