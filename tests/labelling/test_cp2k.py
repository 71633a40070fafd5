"""CP2K by its files: inputs from a template, and a real output of CP2K 2023.1 for a water molecule in a skewed cell.

Where ``ELMLFF_CP2K`` names CP2K, the input that is written is run too, and forces and stresses are compared with finite
differences of its energies.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.cp2k import parse_input

from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.writers import write_structures
from elmlff_core.errors import ConfigError, DataError
from elmlff_core.labelling.cp2k import CP2K, input_of, labels_in
from elmlff_core.labelling.elsewhere import FRAME_FILE, read_results, write_inputs
from elmlff_core.labelling.frames import compute
from elmlff_core.labelling.settings import LabelSettings

REAL = Path(__file__).with_name("cp2k-2023.1.out")
HARTREE, BOHR, GPA = 27.211386, 0.529177, 1 / 160.21766  # eV, Å, eV/Å³
TEMPLATE = """
! with comments, and the atoms of another structure
@SET CUTOFF 200
&GLOBAL
  PROJECT water
&END GLOBAL
&FORCE_EVAL
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &MGRID
      CUTOFF ${CUTOFF}
    &END MGRID
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
    &CELL
      ABC 9 9 9
    &END CELL
    &COORD
      He 0 0 0
    &END COORD
    &TOPOLOGY
      COORD_FILE_NAME other.xyz
    &END TOPOLOGY
    &KIND H
      BASIS_SET SZV-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE
    &END KIND
    &KIND O
      BASIS_SET SZV-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""


def water() -> Atoms:
    """Make the structure of the real output."""
    positions = [
        [2.65842808, 2.47710284, 2.94705490],
        [2.68227012, 3.31371188, 2.25294510],
        [2.61772988, 1.68628812, 2.29664805],
    ]
    return Atoms("OH2", positions, cell=[[5, 0, 0], [0.3, 5, 0], [0, 0, 5.2]], pbc=True)


def section(text: str, path: str) -> list[str]:
    """Return the keywords in a section of an input."""
    found = parse_input(text)
    for name in path.split("/"):
        (found,) = (one for one in found.subsections if one.name == name)
    return found.keywords


def test_atoms_and_cell_are_put_into_the_template() -> None:
    atoms = water()
    text = input_of(atoms, TEMPLATE)
    coordinates = [line.split() for line in section(text, "FORCE_EVAL/SUBSYS/COORD")]
    assert [line[0] for line in coordinates] == list(atoms.symbols)
    assert np.allclose([[float(x) for x in line[1:]] for line in coordinates], atoms.positions, atol=1e-11)
    cell = {line.split()[0]: line.split()[1:] for line in section(text, "FORCE_EVAL/SUBSYS/CELL")}
    assert np.allclose([[float(x) for x in cell[name]] for name in "ABC"], atoms.cell.array, atol=1e-11)
    assert cell["PERIODIC"] == ["XYZ"]
    assert section(text, "FORCE_EVAL/SUBSYS/TOPOLOGY") == []
    assert section(text, "GLOBAL") == ["PROJECT water", "RUN_TYPE ENERGY_FORCE"]
    assert section(text, "FORCE_EVAL") == ["STRESS_TENSOR ANALYTICAL"]
    assert "@SET CUTOFF 200" in text
    assert section(text, "FORCE_EVAL/DFT/MGRID") == ["CUTOFF ${CUTOFF}"]
    for printed in ("FORCES", "STRESS_TENSOR", "ATOMIC_COORDINATES"):
        assert re.search(rf"&{printed} ON\n", text)


def test_a_molecule_keeps_the_cell_of_the_template() -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    text = input_of(atoms, TEMPLATE)
    assert section(text, "FORCE_EVAL/SUBSYS/CELL") == ["ABC 9 9 9"]
    assert "STRESS_TENSOR" not in text
    with pytest.raises(ConfigError, match="the structure has no cell"):
        input_of(atoms, re.sub(r"&CELL.*&END CELL", "", TEMPLATE, flags=re.DOTALL))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("PROJECT water", "RUN_TYPE GEO_OPT"), "RUN_TYPE GEO_OPT"),
        (("@SET", "@INCLUDE"), "@INCLUDE"),
        (("&KIND O", "&KIND N"), "no KIND O"),
        (("&FORCE_EVAL", "&MULTIPLE_FORCE_EVALS"), "0 sections FORCE_EVAL"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        input_of(water(), TEMPLATE.replace(*change))


def in_layout_of_2025(text: str) -> str:
    """Return an output as CP2K 2025.2 prints it: other heads and units, and the norm of each force behind it."""
    head, rest = text.split(" ATOMIC FORCES in [a.u.]")
    rows = re.findall(r"^ +(\d+) +\d+ +[A-Z] +(\S+) +(\S+) +(\S+)$", rest.split("SUM OF")[0], re.MULTILINE)
    lines = [" FORCES| Atomic forces [hartree/bohr]", " FORCES|   Atom x y z |f|"]
    for row in rows:
        values = [float(value) for value in row[1:]]
        numbers = " ".join(f"{value: .8E}" for value in (*values, float(np.linalg.norm(values))))
        lines.append(f" FORCES| {int(row[0]):6d} {numbers}")
    lines.append(" FORCES| Sum    -1.50100000E-05  3.62678000E-03 -1.06816000E-03")
    stress = rest[rest.index(" STRESS|") :].replace("[GPa]", "[bar]")
    stress = re.sub(r"-?\d\.\d{11}E[+-]\d\d", lambda found: f"{1e4 * float(found[0]):.11E}", stress)
    head = re.sub(r"energy \[a\.u\.\]:", "energy [hartree]", head)
    return head + "\n".join(lines) + "\n\n" + stress


@pytest.mark.parametrize("layout", [str, in_layout_of_2025])
def test_labels_are_those_of_the_output(layout: object, tmp_path: Path) -> None:
    (tmp_path / "cp2k.out").write_text(layout(REAL.read_text()))  # type: ignore[operator]
    found = labels_in(tmp_path / "cp2k.out", water())
    assert found.energy == pytest.approx(-17.139529789323145 * HARTREE, rel=1e-7)
    forces = [
        [0.00141150, 0.04347042, -0.01674711],
        [-0.00009173, -0.02698622, 0.02476286],
        [-0.00133478, -0.01285742, -0.00908390],
    ]
    assert np.allclose(found.forces, np.array(forces) * HARTREE / BOHR, rtol=1e-5, atol=1e-12)
    # Of opposite sign in ASE, and in the order xx, yy, zz, yz, xz, xy.
    stress = -np.array([0.554296378, 0.057605690, -0.500777913, 1.714203038, 0.060567595, 0.037898289]) * GPA
    assert found.stress == pytest.approx(stress, rel=1e-6)


def test_results_that_tell_nothing_are_failures(tmp_path: Path) -> None:
    text, other = REAL.read_text(), water()
    other.positions[1, 0] += 0.01
    shifted = water()
    shifted.positions += [5.3, 5, 0]  # by lattice vectors
    cases = {
        "": (text.replace("-17.1395", "-17.0000") + text, shifted),  # the second run in one folder
        "of another structure": (text, other),
        "ends in the middle": (text[: text.index("STRESS|")], water()),
        "has not converged": (text.replace("SCF run converged in    12 steps", "SCF run NOT converged"), water()),
        "0 energies and forces on 0 atoms": (re.sub(r" ENERGY\||ATOMIC FORCES", " ", text), water()),
    }
    for number, (output, frame) in enumerate(cases.values()):
        place = tmp_path / f"frame-{number:06d}"
        place.mkdir()
        write_structures([frame], place / FRAME_FILE)
        (place / "my.out").write_text(output)
    found = read_results(tmp_path, Reporter())
    (labelled,) = found.labelled
    assert labelled.calc.results["energy"] == pytest.approx(-17.139529789323145 * HARTREE, rel=1e-7)
    for number, reason in enumerate(cases):
        assert reason in found.reasons.get(number, "")


def test_inputs_are_written_for_each_structure(tmp_path: Path) -> None:
    (tmp_path / "dft.inp").write_text(TEMPLATE)
    settings = LabelSettings(
        calculator="elmlff_core.labelling.cp2k:CP2K", options={"template": str(tmp_path / "dft.inp")}
    )
    write_inputs([water(), water()], settings, tmp_path / "inputs", Reporter())
    for number in range(2):
        assert (tmp_path / "inputs" / f"frame-{number:06d}" / "cp2k.inp").read_text() == input_of(water(), TEMPLATE)
    with pytest.raises(ConfigError, match="cannot read the template"):
        CP2K(str(tmp_path / "nothing.inp"))
    with pytest.raises(DataError, match=r"there is no cp2k\.out"):
        labels_in(tmp_path / "cp2k.out", water())


@pytest.mark.skipif("ELMLFF_CP2K" not in os.environ, reason="ELMLFF_CP2K does not name CP2K")
def test_the_program_itself(tmp_path: Path) -> None:
    """Forces and stresses of CP2K's tight binding are derivatives of its energy."""
    (tmp_path / "xtb.inp").write_text(
        "&FORCE_EVAL\n&DFT\n&QS\nMETHOD xTB\n&XTB\nDO_EWALD T\nCHECK_ATOMIC_CHARGES F\n&END XTB\n&END QS\n"
        "&SCF\nEPS_SCF 1E-8\nMAX_SCF 100\n&END SCF\n&END DFT\n&END FORCE_EVAL\n"
    )
    calculator = CP2K(str(tmp_path / "xtb.inp"), os.environ["ELMLFF_CP2K"])
    atoms, step = water(), 1e-3
    found = compute(atoms, calculator, tmp_path / "here")
    assert found.stress is not None
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strain = np.eye(3)
        strain[1, 2] = strain[2, 1] = sign * step / 2
        strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        moved = atoms.copy()
        moved.positions[0, 1] += sign * step
        energies.append([compute(one, calculator, tmp_path / "there").energy for one in (strained, moved)])
    by_strain, by_place = (np.array(energies[0]) - energies[1]) / (2 * step)
    assert by_strain / atoms.cell.volume == pytest.approx(found.stress[3], rel=1e-3)
    assert -by_place == pytest.approx(found.forces[0, 1], rel=1e-3)
