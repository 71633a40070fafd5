"""Adapter `nep`: input and failures of neppo, and the zero of energies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.progress import Progress
from elmlff_core.contracts.protocols import BaseForceField, TrainingRequest
from elmlff_core.errors import ForceFieldError

pytest.importorskip("calorine", reason="adapter nep needs calorine")
pytest.importorskip("neppo", reason="training of adapter nep needs neppo")

from calorine.nep import get_descriptors

from elmlff_plugins.nep.adapter import NEPTrainer
from elmlff_plugins.nep.options import NEPOptions
from elmlff_plugins.nep.training import element_shifts, trainer_input, write_structures

Request = Callable[..., TrainingRequest]


def test_the_input_is_the_papers_architecture(training_request: Request, shared: Path, tmp_path: Path) -> None:
    request = training_request("nep", tmp_path)
    request = TrainingRequest("nep", request.train, request.valid, NEPOptions(), tmp_path, 1, request.progress)
    ours = dict(line.split(maxsplit=1) for line in trainer_input(request).splitlines())
    theirs = dict(
        line.split(maxsplit=1) for line in (shared / "models/methanol-cu100/nep.txt").read_text().splitlines()[1:6]
    )
    assert ours["type"] == "2 H C"
    assert ours["cutoff"].split() == [f"{value}.0" for value in theirs["cutoff"].split()[:2]]
    for keyword in ("n_max", "basis_size", "l_max"):
        assert ours[keyword].split() == theirs[keyword].split()
    assert ours["neuron"] == theirs["ANN"].split()[0]


def test_written_structures_are_boxed_and_keep_their_labels(tiny_data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    train, _ = tiny_data
    shifts = element_shifts(train)
    write_structures(train, tmp_path / "train.xyz", shifts, NEPOptions())
    written = read(tmp_path / "train.xyz", ":")
    assert all(atoms.pbc.all() for atoms in written)
    np.testing.assert_allclose(written[0].get_forces(), train.forces_of(0), atol=1e-7)
    # Methane is less than 2.5 Å wide, and its box leaves 16 Å to the next image.
    assert 16.0 < written[0].cell.lengths().min() < 18.5
    carbon, hydrogen = shifts[6], shifts[1]
    assert written[0].get_potential_energy() == pytest.approx(train.energy[0] - carbon - 4 * hydrogen, abs=1e-5)
    # The mean over atoms does not change: 16 methane and 8 ethylene molecules have 32 C and 96 H.
    assert 32 * carbon + 96 * hydrogen == pytest.approx(0.0, abs=1e-9)


def test_a_structure_without_a_stress_label_is_written_without(tmp_path: Path) -> None:
    copper = [Atoms("Cu", cell=[3.0, 3.0, 3.0], pbc=True) for _ in range(2)]
    dataset = Dataset(copper, np.zeros((2, 3)), np.zeros(2), np.stack([np.arange(6.0), np.full(6, np.nan)]))
    write_structures(dataset, tmp_path / "train.xyz", element_shifts(dataset), NEPOptions())
    first, second = read(tmp_path / "train.xyz", ":")
    assert first.get_stress().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert "stress" not in second.calc.results


def test_labels_without_weight_are_not_learnt(training_request: Request, tmp_path: Path) -> None:
    request = training_request("nep", tmp_path)
    train = request.train
    wrong = np.arange(len(train)) % 2 == 1
    forces = np.where(np.repeat(wrong, train.n_atoms)[:, None], 5.0, train.forces)
    weight = np.where(wrong, 1e-9, 1.0)
    given = {
        "true": replace(train, weight=weight),
        "nonsense": replace(train, weight=weight, forces=forces),
        "unweighted": replace(train, forces=forces),
    }
    rms = {}
    for name, data in given.items():
        (tmp_path / name).mkdir()
        NEPTrainer().train(replace(request, train=data, directory=tmp_path / name))
        lines = (tmp_path / name / "loss.out").read_text().splitlines()
        columns = next(line.split()[2:] for line in lines if line.startswith("# columns"))
        rms[name] = float(lines[-1].split()[columns.index("rmse_force_test")])
    assert rms["nonsense"] == pytest.approx(rms["true"], abs=1e-4)
    assert rms["unweighted"] != pytest.approx(rms["true"], abs=1e-2)


def test_energies_of_one_composition_are_not_shifted(tiny_data: tuple[Dataset, Dataset]) -> None:
    train, _ = tiny_data
    assert not element_shifts(train.subset(range(8))).any()


def test_the_end_of_neppos_log_is_in_the_error(training_request: Request, tmp_path: Path) -> None:
    request = training_request("nep", tmp_path, l_max=[4, 2, 0, 0, 0, 0, 0, 0])
    with pytest.raises(ForceFieldError, match="Wrong number of values for l_max"):
        NEPTrainer().train(request)


# Each of 25 reports may be the one at which a training is interrupted; it takes seconds on the fastest machine.
RESUMED_STEPS = 300


def test_a_resumed_training_ends_as_one_that_was_not_interrupted(training_request: Request, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    halves, whole = tmp_path / "halves", tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        NEPTrainer().train(training_request("nep", halves, interrupt, steps=RESUMED_STEPS))
    assert 0 < last_step(halves) < RESUMED_STEPS
    reported: list[int] = []
    checkpoint = NEPTrainer().train(
        training_request("nep", halves, lambda p: reported.append(p.done), steps=RESUMED_STEPS)
    )
    assert last_step(halves) == reported[-1] == RESUMED_STEPS
    assert steps_of(halves) == steps_of(whole_training(training_request, whole))  # no step is repeated
    assert checkpoint.name == "nep_best.txt"
    assert checkpoint.read_text() == (whole / "nep_best.txt").read_text()
    assert (halves / "nep.txt").read_text() == (whole / "nep.txt").read_text()


def test_other_settings_start_again_and_a_finished_training_does_not(training_request: Request, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NEPTrainer().train(training_request("nep", tmp_path, interrupt, steps=1000))
    checkpoint = NEPTrainer().train(training_request("nep", tmp_path))
    assert last_step(tmp_path) == 30
    assert not (tmp_path / "resume.pt").exists()
    done: list[int] = []
    assert NEPTrainer().train(training_request("nep", tmp_path, lambda p: done.append(p.done))) == checkpoint
    assert done == []


def whole_training(training_request: Request, directory: Path) -> Path:
    NEPTrainer().train(training_request("nep", directory, steps=RESUMED_STEPS))
    return directory


def test_a_training_killed_at_its_end_resumes(training_request: Request, tmp_path: Path) -> None:
    """The training is killed after the last report and before the model is read; the last report is then repeated."""

    def interrupt(progress: Progress) -> None:
        if progress.done == RESUMED_STEPS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NEPTrainer().train(training_request("nep", tmp_path, interrupt, steps=RESUMED_STEPS))
    assert last_step(tmp_path) == RESUMED_STEPS
    assert NEPTrainer().train(training_request("nep", tmp_path, steps=RESUMED_STEPS)).exists()
    assert steps_of(tmp_path) == list(range(12, RESUMED_STEPS + 1, 12))


def test_a_training_with_half_a_state_starts_again(training_request: Request, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NEPTrainer().train(training_request("nep", tmp_path, interrupt))
    (tmp_path / "resume.pt").write_bytes(b"PK\x03\x04")
    NEPTrainer().train(training_request("nep", tmp_path))
    assert steps_of(tmp_path) == list(range(1, 31))


def steps_of(directory: Path) -> list[int]:
    rows = [line for line in (directory / "loss.out").read_text().splitlines() if line[0] != "#"]
    return [int(row.split()[0]) for row in rows]


def last_step(directory: Path) -> int:
    return steps_of(directory)[-1]


def test_length() -> None:
    length = NEPTrainer().length(NEPOptions(steps=1000, batch_size=32), 320)
    assert (length.steps, length.epochs) == (1000, 100.0)


def test_order_of_sizes_does_not_matter(trained: Callable) -> None:
    model = trained("nep")
    structures = [molecule(name) for name in ("C2H4", "CH4", "C2H2", "CH4", "C6H6")]
    forward, backward = model.predict(structures), model.predict(structures[::-1])
    np.testing.assert_allclose(forward.energy, backward.energy[::-1], atol=1e-12)


def test_descriptors_are_those_of_calorine(trained: Callable[..., BaseForceField]) -> None:
    model, atoms = trained("nep", descriptors=True), molecule("CH4", vacuum=10.0)
    found = model.predict([atoms]).descriptors
    assert found is not None
    np.testing.assert_allclose(found[2:], found[1:2].repeat(3, axis=0), rtol=1e-5, atol=1e-8)  # four equal atoms
    expected = get_descriptors(atoms, model._calculator.model_filename)  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
