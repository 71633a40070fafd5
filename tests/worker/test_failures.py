"""Workers that are killed, hang, run out of memory, print, or send invalid answers."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import numpy as np
import pytest

from elmlff_core.base_models.cache import FeatureCache
from elmlff_core.base_models.prediction import cached_prediction, predict_checked
from elmlff_core.errors import ForceFieldError
from elmlff_core.worker.errors import WorkerError
from tests.worker.conftest import children, is_alive, spring, wait_until


def assert_spring_forces(prediction, structures):
    np.testing.assert_array_equal(prediction.forces, -np.concatenate([atoms.positions for atoms in structures]))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_killed_during_a_batch_is_restarted(worker, tmp_path, number):
    structures = spring(8, fatal=5)
    model = worker("Dying", once=str(tmp_path / "died"), signal_number=int(number))
    first = model.force_field._process.pid
    assert_spring_forces(predict_checked(model, structures), structures)
    assert (tmp_path / "died").exists()
    assert model.force_field._process.pid != first
    assert not is_alive(first)


def test_a_worker_killed_between_batches_is_restarted(worker):
    model = worker("Spring")
    assert_spring_forces(predict_checked(model, spring(3)), spring(3))
    os.kill(model.force_field._process.pid, signal.SIGKILL)
    assert_spring_forces(predict_checked(model, spring(3)), spring(3))


def test_a_worker_killed_at_every_attempt_is_an_error(worker):
    model = worker("Dying")
    with pytest.raises(WorkerError) as caught:
        predict_checked(model, spring(8, fatal=5), first=100)
    message = str(caught.value)
    assert "model 'tested' (adapter 'ase', worker self) was killed by SIGSEGV" in message
    assert "at structures 100 to 107" in message
    assert "the last output of the calculator" in message
    assert "Segmentation fault" in message  # from the trace of faulthandler
    assert_spring_forces(predict_checked(model, spring(2)), spring(2))  # the next batch starts a new worker


def test_a_worker_that_ends_while_loading_is_not_restarted(worker):
    with pytest.raises(
        WorkerError, match=r"ended with exit code 3 while it loaded; its last output was:\nno licence found"
    ):
        _ = worker("exits").force_field


def test_a_hanging_worker_is_killed(worker):
    model = worker("Hanging", timeout=5.0, child=True)
    assert_spring_forces(predict_checked(model, spring(2)), spring(2))
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"no answer within 5 s .* at structures 0 to 3") as caught:
        predict_checked(model, spring(4, fatal=2))
    assert time.monotonic() - started < 9
    pids = [int(pid) for pid in re.search(r"pids (\d+) (\d+)", str(caught.value)).groups()]
    assert wait_until(lambda: not any(map(is_alive, pids)))


def test_an_invalid_answer_is_an_error(worker):
    model = worker("Garbling")
    with pytest.raises(WorkerError, match=r"sent an invalid answer .* found the bytes b'step 1"):
        predict_checked(model, spring(2))


def test_an_invalid_answer_that_looks_like_a_message(worker):
    with pytest.raises(WorkerError, match=r"sent an invalid answer .* protocol version"):
        predict_checked(worker("Garbling", text="ELMW and then something else altogether"), spring(1))


def test_printed_output_does_not_disturb_the_messages(worker):
    model = worker("Chatty", size=100_000)
    structures = spring(50)
    for _ in range(2):
        assert_spring_forces(predict_checked(model, structures), structures)
    # Each batch printed 5 MB, and the log was shortened.
    assert os.fstat(model.force_field._process._log.fileno()).st_size < 10_000
    assert "native noise\nnoise of a child" in model.force_field._process.tail()


def test_the_log_is_shortened_during_a_request(worker):
    model = worker("PrintsForEver")
    log = model.force_field._process._log.fileno()
    sizes, ended = [], threading.Event()

    def watch():
        while not ended.wait(0.05):
            sizes.append(os.fstat(log).st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    predict_checked(model, spring(20))  # prints 200 MB
    ended.set()
    watcher.join()
    assert max(sizes) < 100e6


def test_a_batch_too_large_for_memory_is_divided(worker):
    model = worker("Hungry", mib=100, limit_mib=550)
    structures = spring(16)
    pid = model.force_field._process.pid
    assert_spring_forces(predict_checked(model, structures), structures)
    assert model.force_field._process.pid == pid
    assert model.force_field._batch_limit == 4  # 550 MiB are enough for 5 structures; 16 are halved twice


def test_a_structure_too_large_for_memory(worker):
    model = worker("Hungry", mib=4000, limit_mib=500)
    with pytest.raises(WorkerError, match=r"ran out of memory: .*, at structure 0$"):
        predict_checked(model, spring(3))


def test_an_exception_of_the_calculator(worker):
    model = worker("ase.calculators.emt:EMT")
    from ase import Atoms

    with pytest.raises(
        WorkerError, match=r"model 'tested' \(adapter 'ase'\) cannot evaluate structure 0.*worker self"
    ) as caught:
        predict_checked(model, [Atoms("U2", positions=[[0, 0, 0], [0, 0, 2]])])
    assert "in emt.py" in str(caught.value.__cause__) or "emt.py" in str(caught.value.__cause__)


def test_closing_from_another_thread_ends_a_prediction(worker):
    import threading

    model = worker("Hanging")
    _ = model.force_field
    closing = threading.Timer(0.5, model.close)
    closing.start()
    with pytest.raises(ForceFieldError, match="was closed during a request"):
        predict_checked(model, spring(2, fatal=1))
    closing.join()
    assert_spring_forces(predict_checked(model, spring(2)), spring(2))


def test_the_worker_of_a_deleted_model_ends(worker):
    before = children()
    model = worker("Spring")
    pid = model.force_field._process.pid
    assert pid in children() - before
    del model.__dict__["force_field"]
    assert wait_until(lambda: not is_alive(pid))


def test_complete_chunks_stay_in_the_cache_after_a_failure(worker, tmp_path, monkeypatch):
    monkeypatch.setattr("elmlff_core.base_models.prediction.CHUNK_ATOMS", 15)
    structures = spring(10, fatal=7)
    model = worker("Dying", once=str(tmp_path / "died"))
    cache = FeatureCache(tmp_path / "cache")

    def compute():
        return cached_prediction(model, structures, "0" * 64, cache, lambda _: None)

    monkeypatch.setattr("elmlff_core.worker.client.WorkerForceField._restart", _refuse)
    with pytest.raises(ForceFieldError, match="no restart"):
        compute()
    monkeypatch.undo()
    monkeypatch.setattr("elmlff_core.base_models.prediction.CHUNK_ATOMS", 15)
    done = cache.read(model.force_field.fingerprint, "0" * 64, 6)
    assert_spring_forces(done, structures[:6])
    assert cache.read(model.force_field.fingerprint, "0" * 64, 7) is None
    assert_spring_forces(compute(), structures)


def _refuse(self):
    raise WorkerError("no restart")
