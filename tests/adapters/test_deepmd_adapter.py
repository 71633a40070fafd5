"""Adapter `dp`: input of the trainer, resuming, and comparison with the calculator of DeePMD-kit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from elmlff_core.contracts.dataset import Dataset
from elmlff_core.contracts.protocols import BaseForceField, TrainingRequest
from elmlff_core.errors import ForceFieldError
from elmlff_core.plugins.registry import registry
from elmlff_plugins.deepmd.adapter import DeepMDTrainer
from elmlff_plugins.deepmd.options import DeepMDOptions
from elmlff_plugins.deepmd.training import trainer_input, write_systems

pytest.importorskip("deepmd", reason="adapter dp needs deepmd-kit")


def request_for(dataset: Dataset, tmp_path: Path, **options: Any) -> TrainingRequest:
    return TrainingRequest("dp1", dataset, dataset, DeepMDOptions(**options), tmp_path, 1, lambda _: None)


def unlabelled(structures: list) -> Dataset:
    return Dataset(structures, np.zeros((sum(map(len, structures)), 3)), np.zeros(len(structures)))


@pytest.mark.parametrize("preset", ["dp1", "dp2", "dp3"])
def test_the_paper_budget_is_the_papers_input(preset: str, shared: Path, tmp_path: Path) -> None:
    paper = json.loads((shared / "models" / "inputs" / f"methane-{preset}.json").read_text())
    methane = unlabelled([molecule("CH4", cell=[15, 15, 15], pbc=True)])
    record = registry().preset(preset)
    options = {**record.options, **record.budgets["paper"]}
    ours = trainer_input(request_for(methane, tmp_path, **options))

    def plain(settings: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key[0] != "_" and key != "seed"}

    assert ours["model"]["type_map"] == paper["model"]["type_map"]
    for room in ("descriptor", "fitting_net"):
        assert json.loads(json.dumps(plain(ours["model"][room]))) == plain(paper["model"][room])
    for room in ("learning_rate", "loss"):
        assert plain(ours[room]) == plain(paper[room])
    assert ours["training"]["numb_steps"] == paper["training"]["numb_steps"]
    assert ours["training"]["training_data"]["batch_size"] == paper["training"]["training_data"]["batch_size"]


def test_sel_counts_neighbours_with_a_margin_in_crystals(tmp_path: Path) -> None:
    # Face-centred copper has 12 + 6 + 24 = 42 neighbours within 4.5 Å; a tenth more is 46.2.
    copper = unlabelled([bulk("Cu", "fcc", a=3.6, cubic=True)])
    settings = trainer_input(request_for(copper, tmp_path, rcut=4.5))
    assert settings["model"]["descriptor"]["sel"] == [47]


def test_sel_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForceFieldError, match=r"sel has 3 numbers, expected one for each of \['H', 'C'\]"):
        trainer_input(request_for(unlabelled([molecule("CH4")]), tmp_path, sel=[1, 2, 3]))


def test_decay_steps_are_a_tenth(tmp_path: Path) -> None:
    methane = unlabelled([molecule("CH4")])
    assert trainer_input(request_for(methane, tmp_path))["learning_rate"]["decay_steps"] == 5000
    assert trainer_input(request_for(methane, tmp_path, steps=1234))["learning_rate"]["decay_steps"] == 123


def test_length_counts_batches_of_seven_methanes() -> None:
    length = DeepMDTrainer().length(DeepMDOptions(steps=1000), 3500)
    assert (length.steps, length.epochs) == (1000, 2.0)


def test_dpdata_reads_what_is_written(tiny_data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    dpdata = pytest.importorskip("dpdata")
    train, _ = tiny_data
    write_systems(train, tmp_path, ["H", "C"], request_for(train, tmp_path))
    systems = [dpdata.LabeledSystem(str(folder), fmt="deepmd/npy") for folder in sorted(tmp_path.iterdir())]
    assert [system.nopbc for system in systems] == [True, True, False]
    methane = systems[0]
    assert [methane["atom_names"][kind] for kind in methane["atom_types"]] == ["C", "H", "H", "H", "H"]
    np.testing.assert_allclose(methane["coords"][3], train.structures[3].positions)
    np.testing.assert_allclose(methane["forces"][3], train.forces_of(3))
    assert methane["energies"][3] == pytest.approx(train.energy[3])
    np.testing.assert_allclose(systems[2]["cells"][0], np.diag([7.0, 7.5, 8.0]))


def test_a_system_has_virials_of_all_structures_or_of_none(tmp_path: Path) -> None:
    copper = [Atoms("Cu", cell=[3.0, 3.0, 3.0 + place], pbc=True) for place in range(3)]
    stress = np.arange(18.0).reshape(3, 6)
    stress[1] = np.nan
    dataset = Dataset(copper, np.zeros((3, 3)), np.zeros(3), stress)
    write_systems(dataset, tmp_path, ["Cu"], request_for(dataset, tmp_path))
    labelled, unlabelled = (folder / "set.000" for folder in sorted(tmp_path.iterdir()))
    np.testing.assert_allclose(np.load(labelled / "virial.npy")[:, [0, 4, 8]], [[0, -27, -54], [-540, -585, -630]])
    np.testing.assert_allclose(np.load(labelled / "box.npy")[:, 8], [3.0, 5.0])
    assert np.load(unlabelled / "box.npy")[:, 8].tolist() == [4.0]
    assert not (unlabelled / "virial.npy").exists()


def test_an_interrupted_training_resumes(resumed_dp: tuple[Path, int]) -> None:
    checkpoint, interrupted_at = resumed_dp
    directory = checkpoint.parent
    starts = [line for line in (directory / "training.log").read_text().splitlines() if line.startswith("$ python")]
    assert len(starts) >= 2
    assert "--restart" in (directory / "training.log").read_text()
    steps = [int(line.split()[0]) for line in (directory / "lcurve.out").read_text().splitlines() if line[0] != "#"]
    assert 4 <= interrupted_at < 60
    assert steps.count(1) == 1
    assert steps[-1] == 60
    assert not list(directory.glob("model.ckpt*"))


def test_a_resumed_training_ends_as_one_that_was_not_interrupted(
    resumed_dp: tuple[Path, int],
    training_request: Callable[..., TrainingRequest],
    load: Callable[..., BaseForceField],
    tiny_data: tuple[Dataset, Dataset],
    tmp_path: Path,
) -> None:
    checkpoint, _ = resumed_dp
    whole = DeepMDTrainer().train(training_request("dp", tmp_path))
    assert "--restart" not in (tmp_path / "training.log").read_text()
    curves = [(folder / "lcurve.out").read_text().splitlines() for folder in (tmp_path, checkpoint.parent)]
    assert curves[0][-1] == curves[1][-1]
    structures = tiny_data[1].structures
    found, expected = (load("dp", path).predict(structures) for path in (checkpoint, whole))
    assert np.array_equal(found.forces, expected.forces)


def test_a_finished_training_is_not_repeated(
    resumed_dp: tuple[Path, int], training_request: Callable[..., TrainingRequest]
) -> None:
    checkpoint, _ = resumed_dp
    before = checkpoint.stat().st_mtime_ns
    assert DeepMDTrainer().train(training_request("dp", checkpoint.parent)) == checkpoint
    assert checkpoint.stat().st_mtime_ns == before


def test_predictions_are_those_of_the_own_calculator(
    trained: Callable[[str], BaseForceField], resumed_dp: tuple[Path, int], tiny_data: tuple[Dataset, Dataset]
) -> None:
    from deepmd.calculator import DP

    model, calculator = trained("dp"), DP(str(resumed_dp[0]))
    boxed = [atoms for atoms in tiny_data[1].structures if atoms.pbc.all()]
    found = model.predict(boxed)
    assert found.stress is not None
    for index, atoms in enumerate(boxed):
        copy = atoms.copy()
        copy.calc = calculator
        assert found.energy[index] == pytest.approx(copy.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(found.forces_of(index), copy.get_forces(), atol=1e-9)
        np.testing.assert_allclose(found.stress[index], copy.get_stress(), atol=1e-9)


def test_more_neighbours_than_sel_are_told_once(
    resumed_dp: tuple[Path, int], load: Callable[..., BaseForceField]
) -> None:
    """Methane in a box of 3 Å: DeePMD-kit would leave out neighbours without a word."""
    model = load("dp", resumed_dp[0], trust=True)
    sparse, dense = (molecule("CH4", cell=[side] * 3, pbc=True) for side in (9.0, 3.0))
    model.predict([sparse])
    with pytest.warns(UserWarning, match=r"an atom of structure 1 \(CH4\) has \d+ H neighbours within 4 Å.* takes 40"):
        model.predict([sparse, dense])
    model.predict([dense])


def test_evaluation_is_quiet(resumed_dp: tuple[Path, int]) -> None:
    """This runs in a new process, where DeePMD-kit is imported for the first time."""
    import subprocess
    import sys

    code = (
        "from pathlib import Path; from ase.build import molecule; "
        "from elmlff_core.contracts.hookspecs import LoadRequest; "
        "from elmlff_plugins.deepmd.adapter import DeepMDForceField, DeepMDOptions; "
        f"m = DeepMDForceField(LoadRequest('m', Path({str(resumed_dp[0])!r}), DeepMDOptions())); "
        "m.predict([molecule('CH4')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_a_tensorflow_model_without_tensorflow_is_an_error(load: Callable[..., BaseForceField], tmp_path: Path) -> None:
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        (tmp_path / "graph.pb").write_bytes(b"graph")
        with pytest.raises(ForceFieldError, match=r"TensorFlow is not installed here: .* `elmlff env create deepmd"):
            load("dp", tmp_path / "graph.pb")
    else:
        pytest.skip("TensorFlow is installed")
