"""The feature cache: predictions are computed once, resumed after a kill, safe between processes, and never stale."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import time

import numpy as np
import pytest
from ase import Atoms

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.contracts.prediction import Prediction
from elmlff_core.errors import ElmlffError
from tests.conftest import random_molecules


def predict(structures):
    """Return forces and energy that depend on the positions."""
    return Prediction.from_lists(
        [2 * atoms.positions for atoms in structures], [atoms.positions.sum() for atoms in structures]
    )


class Counting:
    """A `predict` that counts structures and fails after a given number."""

    def __init__(self, fail_after=None):
        self.count, self.fail_after = 0, fail_after

    def __call__(self, structures):
        if self.fail_after is not None and self.count >= self.fail_after:
            raise KeyboardInterrupt
        self.count += len(structures)
        return predict(structures)


def mixed_sizes(n):
    return [Atoms("H" * (1 + i % 3), positions=np.random.default_rng(i).normal(size=(1 + i % 3, 3))) for i in range(n)]


def compute(cache, structures, function, model="a" * 32):
    return cache.compute(model, "d" * 32, structures, function, 4, lambda _: None)


def test_computed_once_and_read_back(tmp_path):
    cache, structures = FeatureCache(tmp_path), mixed_sizes(10)
    assert cache.read("a" * 32, "d" * 32, 10) is None
    first = compute(cache, structures, Counting())
    again = Counting()
    second = compute(cache, structures, again)
    assert again.count == 0
    expected = predict(structures)
    for found in (first, second, cache.read("a" * 32, "d" * 32, 10)):
        assert np.array_equal(found.forces, expected.forces)
        assert np.array_equal(found.energy, expected.energy)
        assert np.array_equal(found.n_atoms, expected.n_atoms)


def test_descriptors_are_kept_and_left_out_where_a_chunk_has_none(tmp_path):
    def described(structures):
        found = predict(structures)
        return Prediction(found.n_atoms, found.forces, found.energy, None, found.forces[:, :2].astype(np.float32))

    cache, structures = FeatureCache(tmp_path), mixed_sizes(10)
    found = compute(cache, structures, described)
    assert found.descriptors.dtype == np.float32
    assert np.array_equal(found.descriptors, found.forces[:, :2].astype(np.float32))
    part = cache.whole("a" * 32, "d" * 32, 10).part(3, 9)
    assert np.array_equal(part.descriptors, found.subset(range(3, 9)).descriptors)
    compute(cache, structures[:4], described, model="b" * 32)
    assert compute(cache, structures, predict, model="b" * 32).descriptors is None


def test_another_model_or_dataset_gives_another_file(tmp_path):
    cache = FeatureCache(tmp_path)
    compute(cache, mixed_sizes(3), Counting())
    assert cache.read("b" * 32, "d" * 32, 3) is None
    assert cache.read("a" * 32, "e" * 32, 3) is None


def test_interrupted_prediction_resumes(tmp_path):
    cache, structures = FeatureCache(tmp_path), mixed_sizes(10)
    with pytest.raises(KeyboardInterrupt):
        compute(cache, structures, Counting(fail_after=8))
    assert cache.read("a" * 32, "d" * 32, 10) is None
    rest = Counting()
    assert np.array_equal(compute(cache, structures, rest).forces, predict(structures).forces)
    assert rest.count == 2


def chunk_files(cache):
    return sorted(cache.path("a" * 32, "d" * 32).glob("*.safetensors"))


def test_only_chunks_that_are_missing_are_computed(tmp_path):
    """Also with chunks of another size: they do not overlap those that are there."""
    cache, structures = FeatureCache(tmp_path), mixed_sizes(12)
    compute(cache, structures, Counting())
    chunk_files(cache)[1].unlink()
    assert cache.read("a" * 32, "d" * 32, 12) is None
    for size in (3, 100):
        rest = Counting()
        found = cache.compute("a" * 32, "d" * 32, structures, rest, size, lambda _: None)
        assert rest.count == (4 if size == 3 else 0)
        assert np.array_equal(found.forces, predict(structures).forces)
    assert len(chunk_files(cache)) == 4


def test_half_a_chunk_is_computed_again(tmp_path):
    cache, structures = FeatureCache(tmp_path), mixed_sizes(10)
    compute(cache, structures, Counting())
    path = chunk_files(cache)[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert cache.read("a" * 32, "d" * 32, 10) is None
    rest = Counting()
    assert np.array_equal(compute(cache, structures, rest).forces, predict(structures).forces)
    assert rest.count == 4


def test_a_full_disk_is_an_error_and_loses_no_finished_chunk(tmp_path, monkeypatch):
    cache, structures = FeatureCache(tmp_path), mixed_sizes(10)
    written, replace = [], os.replace

    def full_after_two(source, target):
        if len(written) == 2:  # the record of the origin, and one chunk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_after_two)
    with pytest.raises(ElmlffError, match="No space left on device"):
        compute(cache, structures, Counting())
    monkeypatch.undo()
    rest = Counting()
    assert np.array_equal(compute(cache, structures, rest).forces, predict(structures).forces)
    assert rest.count == 6


def _slow_process(folder, queue):
    def slow(structures):
        time.sleep(0.05)
        return predict(structures)

    counting = Counting()
    result = compute(FeatureCache(folder), random_molecules(20), lambda part: (counting(part), slow(part))[1])
    queue.put((counting.count, result.forces))


def test_two_runs_at_once_compute_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_slow_process, args=(tmp_path, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(count for count, _ in results) == [0, 20]
    expected = predict(random_molecules(20)).forces
    assert all(np.array_equal(forces, expected) for _, forces in results)


def _process_without_locks(directory, queue, chunk_size, others):
    """Compute with a cache on a file system without locks; `others` waits for all processes at the first structures."""

    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = no_locks
    structures, count = mixed_sizes(30), 0

    def slowly(part):
        nonlocal count
        if not count:
            others.wait(60)
        count += len(part)
        time.sleep(0.02)
        return predict(part)

    found = FeatureCache(directory).compute("a" * 32, "d" * 32, structures, slowly, chunk_size, lambda _: None)
    queue.put((count, found.forces, found.energy))


def test_without_locks_two_runs_write_the_same_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue, both = context.Queue(), context.Barrier(2)
    processes = [context.Process(target=_process_without_locks, args=(tmp_path, queue, n, both)) for n in (4, 6)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert min(count for count, *_ in results) > 0
    expected = predict(mixed_sizes(30))
    whole = FeatureCache(tmp_path).read("a" * 32, "d" * 32, 30)
    for forces, energy in [result[1:] for result in results] + [(whole.forces, whole.energy)]:
        assert np.array_equal(forces, expected.forces)
        assert np.array_equal(energy, expected.energy)
    starts = [path.name.partition("-")[0] for path in chunk_files(FeatureCache(tmp_path))]
    assert starts.count("00000000") == 2  # of both runs


def test_of_two_chunks_for_the_same_structures_all_readers_take_the_same(tmp_path):
    """Another machine may round the last digit in another way."""
    structures, caches = mixed_sizes(8), [FeatureCache(tmp_path / name) for name in ("here", "there", "both", "other")]

    def a_little_more(part):
        found = predict(part)
        return Prediction(found.n_atoms, np.nextafter(found.forces, np.inf), found.energy)

    here, there = compute(caches[0], structures, predict), compute(caches[1], structures, a_little_more)
    for cache, order in ((caches[2], (0, 1)), (caches[3], (1, 0))):
        for number in order:
            shutil.copytree(folder_of(caches[number]), folder_of(cache), dirs_exist_ok=True)
    first, second = (cache.read("a" * 32, "d" * 32, 8).forces for cache in caches[2:])
    assert len(chunk_files(caches[2])) == 4
    assert np.array_equal(first, second)
    assert first.shape == here.forces.shape
    assert all(
        np.array_equal(row, one) or np.array_equal(row, two)
        for row, one, two in zip(first, here.forces, there.forces, strict=True)
    )


def folder_of(cache):
    return cache.path("a" * 32, "d" * 32)


def test_damaged_numbers_are_computed_again(tmp_path):
    """A flipped bit is seen by the checksum."""
    cache, structures = FeatureCache(tmp_path), mixed_sizes(30)
    expected = compute(cache, structures, Counting())
    path = chunk_files(cache)[2]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert cache.read("a" * 32, "d" * 32, len(structures)) is None
        found = compute(cache, structures, Counting())
        assert np.array_equal(found.forces, expected.forces)
        assert np.array_equal(found.energy, expected.energy)
        assert path.read_bytes() == whole


def test_a_file_under_the_name_of_another_model_is_not_read(tmp_path):
    """Names of files have only the beginning of a fingerprint; files are also copied and renamed by hand."""
    cache, structures = FeatureCache(tmp_path), mixed_sizes(4)
    compute(cache, structures, Counting())
    cache.path("a" * 32, "d" * 32).rename(cache.path("b" * 32, "d" * 32))
    assert cache.read("b" * 32, "d" * 32, 4) is None
    assert cache.elements("b" * 32, "d" * 32) is None
    counting = Counting()
    compute(cache, structures, counting, model="b" * 32)
    assert counting.count == 4
    assert cache.read("b" * 24 + "c" * 8, "d" * 32, 4) is None
    assert cache.read("b" * 32, "d" * 24 + "c" * 8, 4) is None
    assert cache.read("b" * 32, "d" * 32, 4) is not None


@pytest.mark.parametrize("symbols", [frozenset({"C", "Cu"}), frozenset(), None])
def test_elements_of_the_model_are_kept(tmp_path, symbols):
    cache = FeatureCache(tmp_path)
    assert cache.elements("a" * 32, "d" * 32) is None
    cache.compute("a" * 32, "d" * 32, mixed_sizes(4), predict, 2, lambda _: None, lambda: symbols)
    assert cache.elements("a" * 32, "d" * 32).symbols == symbols
