"""Input files for programs on other machines, and real results of Quantum ESPRESSO and VASP, from the tests of ASE."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from elmlff_core.contracts.progress import Reporter
from elmlff_core.errors import ConfigError
from elmlff_core.labelling.elsewhere import FRAME_FILE, read_results, same_atoms, write_inputs
from elmlff_core.labelling.settings import LabelSettings

VASP_RESULTS = Path(str(files("ase"))) / "test" / "testdata" / "vasp"
ESPRESSO = """
from ase.calculators.espresso import Espresso, EspressoProfile

def pw(cutoff, **control):
    return Espresso(
        profile=EspressoProfile(command="pw.x", pseudo_dir="/pseudo"), pseudopotentials={"Cu": "Cu.UPF"},
        input_data={"control": control, "system": {"ecutwfc": cutoff}}, kpts=(2, 2, 2),
    )
"""


def copper(seed: int) -> Atoms:
    """Make a rattled cell of copper."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def place(folder: Path, frame: Atoms, number: int = 0) -> Path:
    """Make a folder as `write_inputs` does."""
    found = folder / f"frame-{number:06d}"
    found.mkdir(parents=True)
    ase.io.write(found / FRAME_FILE, frame)
    return found


def test_inputs_of_quantum_espresso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "espresso_inputs.py").write_text(ESPRESSO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    frames = [copper(seed) for seed in range(3)]
    without = LabelSettings(calculator="espresso_inputs:pw", options={"cutoff": 40})
    with pytest.raises(ConfigError, match="would print no forces: add tprnfor=True"):
        write_inputs(frames, without, tmp_path / "inputs", Reporter())
    settings = without.model_copy(update={"options": {"cutoff": 40, "tprnfor": True}})
    write_inputs(frames, settings, tmp_path / "inputs", Reporter())
    for index, atoms in enumerate(frames):
        text = tmp_path / "inputs" / f"frame-{index:06d}" / "espresso.pwi"
        assert "ecutwfc          = 40" in text.read_text()
        assert "tprnfor          = .true." in text.read_text()
        read = ase.io.read(text, format="espresso-in")
        assert np.allclose(read.positions, atoms.positions, atol=1e-6)
    with pytest.raises(ConfigError, match="not empty"):
        write_inputs(frames, settings, tmp_path / "inputs", Reporter())
    found = read_results(tmp_path / "inputs", Reporter())
    assert not found.labelled
    assert "frame-000001: there is no result" in found.reasons[1]


@pytest.mark.skipif(not (VASP_RESULTS / "fake_pseudos").exists(), reason="this ASE comes without its test data")
def test_inputs_of_vasp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASP_PP_PATH", str(VASP_RESULTS / "fake_pseudos"))  # ASE's stand-ins: real ones are licensed
    salt = bulk("NaCl", "rocksalt", a=5.6)
    settings = LabelSettings(
        calculator="ase.calculators.vasp:Vasp",
        options={"pp": "PBE", "encut": 400, "kpts": [2, 2, 2], "pp_version": "original"},
    )
    write_inputs([salt], settings, tmp_path / "inputs", Reporter())
    written = tmp_path / "inputs" / "frame-000000"
    assert {"INCAR", "KPOINTS", "POSCAR", "POTCAR", FRAME_FILE} <= {path.name for path in written.iterdir()}
    assert "ENCUT = 400" in (written / "INCAR").read_text()
    assert same_atoms(salt, ase.io.read(written / "POSCAR")) is not None


def test_missing_potentials_of_vasp_are_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path))
    settings = LabelSettings(calculator="ase.calculators.vasp:Vasp", options={"pp": "PBE"})
    with pytest.raises(ConfigError, match="Vasp cannot write the input files of frame-000000"):
        write_inputs([copper(0)], settings, tmp_path / "inputs", Reporter())


def test_a_calculator_without_input_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="writes no input files"):
        write_inputs([copper(0)], LabelSettings(calculator="ase.calculators.emt:EMT"), tmp_path / "in", Reporter())


def test_a_result_of_quantum_espresso(tmp_path: Path) -> None:
    tests = pytest.importorskip("ase.test.fio.test_espresso", reason="this ASE comes without its tests")
    (tmp_path / "real.pwo").write_text(tests.pw_output_text)
    real = ase.io.read(tmp_path / "real.pwo", index=0)
    order = np.array([2, 0, 1])
    frame = Atoms(real.numbers, real.positions + real.cell[1], cell=real.cell, pbc=True)[order]
    written = place(tmp_path / "runs", frame)
    (written / "espresso.pwo").write_text(tests.pw_output_text)
    other = place(tmp_path / "runs", copper(0), 1)
    (other / "espresso.pwo").write_text(tests.pw_output_text)
    stopped = place(tmp_path / "runs", frame, 2)
    (stopped / "espresso.pwo").write_text(tests.pw_output_text[: len(tests.pw_output_text) // 3])
    unconverged = place(tmp_path / "runs", frame, 3)
    text = tests.pw_output_text.replace("End of self-consistent", "convergence NOT achieved\n End of self-consistent")
    (unconverged / "espresso.pwo").write_text(f"{text}\n     convergence NOT achieved after 100 iterations: stopping\n")
    found = read_results(tmp_path / "runs", Reporter())
    (labelled,) = found.labelled
    assert labelled.calc.results["energy"] == pytest.approx(real.get_potential_energy())
    assert np.allclose(labelled.calc.results["forces"], real.get_forces(apply_constraint=False)[order])
    assert "of another structure" in found.reasons[1]
    assert "frame-000002" in found.reasons[2]
    assert "not converged" in found.reasons[3]


@pytest.mark.skipif(not (VASP_RESULTS / "OUTCAR_example_1").exists(), reason="this ASE comes without its test data")
@pytest.mark.parametrize(("source", "name"), [("OUTCAR_example_1", "OUTCAR"), ("vasprun_pstress.xml", "vasprun.xml")])
def test_a_result_of_vasp(tmp_path: Path, source: str, name: str) -> None:
    text = (VASP_RESULTS / source).read_text()
    (tmp_path / name).write_text(text)
    real = ase.io.read(tmp_path / name, index=0)
    order = np.random.default_rng(0).permutation(len(real))
    frame = Atoms(real.numbers, real.positions, cell=real.cell, pbc=True)[order]
    (place(tmp_path / "runs", frame) / name).write_text(text)
    (place(tmp_path / "runs", frame, 1) / name).write_text(text[: len(text) // 4])
    found = read_results(tmp_path / "runs", Reporter())
    assert list(found.reasons) == [1]
    (labelled,) = found.labelled
    assert labelled.calc.results["energy"] == pytest.approx(real.get_potential_energy())
    assert np.allclose(labelled.calc.results["forces"], real.get_forces(apply_constraint=False)[order])


@pytest.mark.skipif(not (VASP_RESULTS / "vasprun_pstress.xml").exists(), reason="this ASE comes without its test data")
def test_a_result_of_vasp_that_has_not_converged_is_refused(tmp_path: Path) -> None:
    text = (VASP_RESULTS / "vasprun_pstress.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(text)
    frame = ase.io.read(tmp_path / "vasprun.xml", index=0)
    frame.calc = None
    n_steps = text.split("</calculation>")[0].count("<scstep>")
    # As if so few electronic steps had been allowed.
    few = re.sub(r'(name="NELM">)\s*\d+', rf"\g<1>{n_steps:6d}", text)
    assert few != text
    (place(tmp_path / "runs", frame) / "vasprun.xml").write_text(few)
    assert "not converged, by vasprun.xml" in read_results(tmp_path / "runs", Reporter()).reasons[0]


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no folders frame-"):
        read_results(tmp_path, Reporter())


def test_atoms_are_found_again_in_another_order_and_cell() -> None:
    frame = bulk("NaCl", "rocksalt", a=5.6).repeat(2)
    frame.rattle(0.1, seed=1)
    order = np.random.default_rng(1).permutation(len(frame))
    image = frame[order]
    image.positions += np.arange(len(frame))[:, None] % 3 * image.cell[0]
    assert np.array_equal(np.argsort(order), same_atoms(frame, image))
    image.positions[3] += 0.01
    assert same_atoms(frame, image) is None
