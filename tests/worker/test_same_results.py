"""A base model in a worker gives the same predictions, bit by bit, as in this process."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms

from elmlff_core.base_models.named import named_model
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.data.readers import read_structures
from elmlff_core.settings.config import ModelConfig
from elmlff_core.worker.errors import WorkerError
from tests.worker.conftest import spring

EMT = "ase.calculators.emt:EMT"
AUTHORS = {"nep": ("nep.txt", "calorine"), "painn": ("painn.best_inference_model", "schnetpack")}


def equal(found, expected):
    for name in ("n_atoms", "forces", "energy", "stress", "descriptors"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def various_structures():
    slab = fcc111("Cu", (3, 3, 2), vacuum=6.0)
    slab.set_constraint(FixAtoms([0, 1]))
    structures = [bulk("Cu", cubic=True) * (2, 2, 2), slab, molecule("CH3OH"), Atoms("Cu", cell=[3.0] * 3, pbc=True)]
    for seed, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=seed)
    return structures


def test_a_calculator_of_ase(worker):
    here, there = worker(EMT, python=None), worker(EMT)
    equal(predict_checked(there, various_structures()), predict_checked(here, various_structures()))
    periodic = various_structures()[:1]
    prediction = predict_checked(there, periodic)
    equal(prediction, predict_checked(here, periodic))
    assert prediction.stress is not None
    assert there.force_field.fingerprint == here.force_field.fingerprint
    assert there.force_field.elements is None


@pytest.mark.parametrize("adapter", AUTHORS)
def test_authors_checkpoints(adapter, shared, monkeypatch, request):
    file, backend = AUTHORS[adapter]
    pytest.importorskip(backend)
    import torch

    # Both processes use one thread, because sums over several threads differ in the last digit between calls.  The
    # worker reads the number from the environment when it starts; in this process torch has been imported already.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    n_threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(n_threads))
    torch.set_num_threads(1)
    checkpoint = shared / "models" / "methanol-cu100" / file
    settings = ModelConfig(adapter=adapter, checkpoint=checkpoint, trust=True, descriptors=True)
    here, there = (named_model("tested", settings.model_copy(update={"python": python})) for python in (None, "self"))
    structures = read_structures(str(shared / "data" / "methanol-cu100" / "train"))[:6]
    equal(predict_checked(there, structures), predict_checked(here, structures))
    for name in ("fingerprint", "cutoff", "elements", "name"):
        assert getattr(there.force_field, name) == getattr(here.force_field, name)
    there.close()


def test_further_arrays_and_info_reach_the_calculator(worker):
    structures = spring(3)
    structures[0].set_initial_magnetic_moments([1, 0, 0, 0, 0.5])
    structures[2].set_initial_charges([0.25] * 5)
    structures[1].info = {"charge": np.int64(7), "nested": {"a": [1, None, "x"], "b": np.arange(3.0)}, "flag": True}
    arguments = {"calculator": "Magnetic"}
    found, expected = (predict_checked(worker(**arguments, python=python), structures) for python in ("self", None))
    np.testing.assert_array_equal(found.energy, [1.5, 7.0, 1.25])
    equal(found, expected)


def test_the_error_names_data_that_cannot_be_sent(worker):
    structures = spring(3)
    structures[1].info["object"] = object()
    with pytest.raises(WorkerError, match=r"structure 1 has info that cannot be sent \(a value of type object\)"):
        predict_checked(worker("Spring"), structures)


def test_no_structures_and_no_atoms(worker):
    model = worker("Spring")
    assert len(predict_checked(model, []).n_atoms) == 0
    equal(
        predict_checked(model, [Atoms(), *spring(1)]),
        predict_checked(worker("Spring", python=None), [Atoms(), *spring(1)]),
    )


def test_a_batch_larger_than_the_buffer_of_a_pipe(worker):
    structures = spring(40, n_atoms=20_000)
    prediction = predict_checked(worker("Spring"), structures)
    np.testing.assert_array_equal(prediction.forces, -np.concatenate([atoms.positions for atoms in structures]))


def test_a_forked_child_starts_a_worker_of_its_own(worker):
    model = worker("Spring")
    pid = model.force_field._process.pid
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child():
        prediction = predict_checked(model, spring(2))
        sender.send((model.force_field._process.pid, prediction.energy))
        model.close()

    process = context.Process(target=child)
    process.start()
    other_pid, energy = receiver.recv()
    process.join()
    assert other_pid != pid
    np.testing.assert_array_equal(energy, predict_checked(model, spring(2)).energy)
    assert model.force_field._process.pid == pid
