"""The command `elmlff distill`: what it says before, a kill, and a student that other commands use."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest

from elmlff_core.data.content import are_among, signatures
from elmlff_core.stack.stack import load_stack
from tests.cli.small_data import elmlff, kill_when, write_small_data

pytest.importorskip("neppo", reason="training of adapter nep needs neppo")

STUDENT = """
[models.tiny]
adapter = "nep"
options = { steps = 30, neuron = 5, basis_size = [4, 4], radial_cutoff = 5.0, batch_size = 8, device = "cpu" }
"""
DISTILL = (
    "distill", "stack", "--into", "tiny", "--made", "48", "--rattle", "0.02,0.05", "--temperatures", "300", "--spacing",
    "10", "--timestep", "1", "--seed", "5",
)  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stack, and a distillation of it in ``whole``."""
    folder = tmp_path_factory.mktemp("distill")
    write_small_data(folder)
    elmlff(folder, "stack", "--meta", "mean", "--output", "stack")
    with (folder / "elmlff.toml").open("a") as file:
        file.write(STUDENT)
    said = elmlff(folder, *DISTILL, "--workers", "2", "--output", "whole").stdout
    (folder / "said").write_text(said)
    return folder


def results(workplace: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workplace / name / "results.json").read_text())
    return found


def errors(found: dict[str, Any]) -> dict[str, Any]:
    return {model["kind"]: model["errors"] for model in found["errors"] if model["kind"] != "base model"}


def test_a_plan_says_how_many_and_from_what_and_does_nothing(workplace: Path) -> None:
    said = elmlff(workplace, *DISTILL, "--output", "planned", "--dry-run").stdout
    for line in ("rattles of 0.02 Å", "rattles of 0.05 Å", "molecular dynamics at 300 K"):
        assert line in said
        assert line in (workplace / "said").read_text()
    assert "30 steps" in said
    assert not (workplace / "planned").exists()


def test_the_report_compares_student_stack_and_control(workplace: Path) -> None:
    found = results(workplace, "whole")
    kinds = [model["kind"] for model in found["errors"]]
    assert kinds == ["base model", "base model", "stack", "control", "student"]
    assert set(errors(found)["student"]) == {"test", "made"}
    assert set(errors(found)["stack"]) == {"test"}
    for kept in found["kept"]:
        left_out = kept["n_close"] + kept["n_strong"] + kept["n_uncertain"]
        assert kept["n_made"] == left_out + kept["n_kept"]
    n_kept = sum(kept["n_kept"] for kept in found["kept"])
    student, control = found["lessons"]
    assert (student["n_reference"], student["n_made"]) == (
        control["n_reference"],
        n_kept - 2 * max(1, round(n_kept / 10)),
    )
    assert control["n_made"] == 0
    assert [speed["seconds"] > 0 for speed in found["speeds"]] == [True] * 5
    assert found["program"] == "GPUMD"
    assert "times that of the stack" in found["summary"]
    plotted = [row.split(",") for row in (workplace / "whole" / "figures" / "speed.csv").read_text().splitlines()[1:]]
    assert [kind for _, kind, *_ in plotted] == kinds
    assert plotted[3][2] == plotted[4][2]  # the control is as fast as the student
    page = (workplace / "whole" / "report.html").read_text()
    assert "Where the student leaves its data" in page
    assert "ms a step" in page
    assert found["summary"].split(",")[0] in page


def test_made_structures_are_weighted(workplace: Path) -> None:
    weights = workplace / "whole" / "data" / "train.weights.txt"
    assert "count by how sure the stack is of them" in (workplace / "said").read_text()
    found = [float(line) for line in weights.read_text().split()]
    reference = results(workplace, "whole")["lessons"][0]["n_reference"]
    assert found[:reference] == [1.0] * reference
    assert all(0 < weight < 1 for weight in found[reference:])


def test_no_student_has_seen_a_test_structure(workplace: Path) -> None:
    metrics = json.loads((workplace / "stack" / "metrics.json").read_text())
    structures = ase.io.read(workplace / "few.extxyz", ":")
    test = signatures([structures[index] for index in metrics["splits"]["test"]])
    seen = load_stack(workplace / "whole" / "student").seen
    assert seen is not None
    assert len(seen.train) > len(metrics["splits"]["train"])
    assert not are_among(test, np.concatenate([seen.train, seen.valid])).any()


def test_a_killed_distillation_goes_on_to_the_same_numbers(workplace: Path) -> None:
    arguments = (*DISTILL, "--no-control", "--workers", "1", "--output", "cut")
    cut = workplace / "cut"
    kill_when(workplace, lambda: (cut / "dynamics" / "300K-0" / "restart.npz").exists(), *arguments)
    assert not list(cut.glob("training/*/begun"))
    kill_when(workplace, lambda: bool(list(cut.glob("training/*/begun"))), *arguments)
    assert not (cut / "results.json").exists()
    elmlff(workplace, *arguments)
    found, whole = results(workplace, "cut"), results(workplace, "whole")
    assert found["kept"] == whole["kept"]
    assert errors(found)["student"] == errors(whole)["student"]
    assert errors(found)["stack"] == errors(whole)["stack"]
    assert "control" not in errors(found)
    assert "is complete: showing its results" in elmlff(workplace, *arguments).stdout


def test_the_student_is_a_base_model_and_moves_atoms(workplace: Path) -> None:
    settings = workplace / "whole" / "student" / "elmlff.toml"
    model = tomllib.loads(settings.read_text())["models"]["student"]
    assert model["adapter"] == "nep"
    assert (settings.parent / model["checkpoint"]).is_file()
    done = elmlff(workplace, "models", "--config", str(settings), "--check", "student")
    assert "OK: elements H, C" in done.stdout
    md = ("md", "stack", "--structure", "few.extxyz", "--steps", "20", "--timestep", "0.25", "--output", "driven")
    elmlff(workplace, *md, "--driver", "whole/student")
    frame = ase.io.read(workplace / "driven" / "trajectory.extxyz", "0")
    assert np.allclose(frame.get_forces(), load_stack(workplace / "stack").predict([frame]).forces, atol=1e-6)
    alone = load_stack(workplace / "whole" / "student").predict([frame])
    assert alone.forces_std is not None
    assert (alone.forces_std > 0).all()
    assert "has no base model 'whole'" in elmlff(workplace, *md[:-1], "other", "--driver", "whole", code=1).stderr


def test_calorine_reads_what_gpumd_gets(workplace: Path) -> None:
    from calorine.calculators import CPUNEP

    inputs = workplace / "whole" / "inputs"
    lines = dict(line.split(maxsplit=1) for line in (inputs / "run.in").read_text().splitlines())
    assert lines["potential"] == "nep.txt"
    assert lines["time_step"] == "1"
    atoms = ase.io.read(inputs / "model.xyz")
    assert not atoms.pbc.any()
    assert atoms.cell.lengths().min() > 2 * 5.0
    (student,) = load_stack(workplace / "whole" / "student").base_models
    predicted = student.force_field.predict([atoms])
    boxed = atoms.copy()
    boxed.pbc = True
    boxed.calc = CPUNEP(str(inputs / "nep.txt"))
    assert boxed.get_potential_energy() == pytest.approx(predicted.energy[0], abs=1e-6)
    assert np.allclose(boxed.get_forces(), predicted.forces, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--into", "emt"), "cannot train: name another student"),
        (("--into", "tiny", "--rattle", "0.1,x"), "--rattle takes numbers separated by commas, found '0.1,x'"),
        (("--into", "tiny", "--made", "0"), "no structure is made"),
        (("--into", "tiny", "--driver", "nepp"), "the stack has no base model 'nepp'"),
        (("--into", "tiny", "--data", "methane", "--forces-key", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(workplace: Path, arguments: tuple[str, ...], message: str) -> None:
    stderr = elmlff(workplace, "distill", "stack", *arguments, "--output", "never", code=1).stderr
    assert message in stderr
    assert not (workplace / "never").exists()
