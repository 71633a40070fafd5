"""CP2K by its files: inputs from a template of the user, and what CP2K prints read back.

The calculator of ASE for CP2K speaks with a running ``cp2k_shell``.  `CP2K` here writes an input file instead, so that
CP2K may run anywhere; where it is installed, `CP2K` starts it too.  ASE reads no output of CP2K.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import FileIOCalculator
from ase.calculators.cp2k import InputSection, parse_input
from ase.geometry import find_mic
from ase.units import Bohr, GPa, Hartree, bar

from elmlff_core.errors import ConfigError, DataError
from elmlff_core.labelling.frames import Labels

INPUT_FILE, OUTPUT_FILE = "cp2k.inp", "cp2k.out"
RUN_TYPE = "ENERGY_FORCE"
OF_TEMPLATE = ("COORD_FILE_NAME", "COORD_FILE_FORMAT", "COORDINATE")  # replaced by the atoms of each structure
MOVED = 1e-3  # Å, by which the rounding of input or output moves an atom at most
MARK = "CP2K| version string"  # in every output of CP2K
FAILED = ("SCF run NOT converged", "outer SCF loop FAILED to converge")
NUMBER = r"(-?\d+\.\d+(?:E[+-]\d+)?)"
ENERGY = re.compile(rf"^ ENERGY\| Total FORCE_EVAL .*[(\[](?:a\.u\.|hartree)[)\]]:?\s+{NUMBER}", re.MULTILINE)
FORCES = re.compile(r"^ (?:ATOMIC FORCES in \[a\.u\.\]|FORCES\| Atomic forces \[hartree/bohr\])", re.MULTILINE)
# With the element before version 2025, with the norm behind the components since then.
FORCE = re.compile(
    rf"\s*(?:FORCES\|)?(?:\s+\d+)?\s+\d+(?:\s+[A-Z]\w*)?\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}(?:\s+{NUMBER})?\s*$"
)
STRESS = re.compile(r"^ STRESS\| (?:Analytical|Numerical) stress tensor \[(GPa|bar)\]", re.MULTILINE)
STRESS_ROW = re.compile(rf" STRESS\|\s+[xyz]\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}\s*$")
PLACES = re.compile(r"ATOMIC COORDINATES IN ANGSTROM", re.IGNORECASE)
PLACE = re.compile(rf"\s+\d+\s+\d+\s+([A-Z][a-z]?)\w*\s+(\d+)\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}\s")
STRESS_UNITS = {"GPa": GPa, "bar": bar}


class CP2K(FileIOCalculator):
    """Calculator that writes ``cp2k.inp``, runs CP2K, and reads ``cp2k.out``.

    Parameters
    ----------
    template : an input of CP2K; atoms, cell, run type and the printing of forces and stresses are put into it
    command : how CP2K is started

    Raises
    ------
    ConfigError
        The template cannot be read.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, template: str, command: str = "cp2k.psmp", **others: Any) -> None:
        super().__init__(command=f"{command} -i {INPUT_FILE} -o {OUTPUT_FILE}", **others)
        try:
            self.template = Path(template).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the template {template}: {error}") from error

    def write_input(
        self, atoms: Atoms, properties: Sequence[str] | None = None, system_changes: Sequence[str] | None = None
    ) -> None:
        """Write the input of a structure to the folder of the calculator; ConfigError as `input_of`."""
        super().write_input(atoms, properties, system_changes)
        (Path(self.directory) / INPUT_FILE).write_text(input_of(atoms, self.template), encoding="utf-8")

    def read_results(self) -> None:
        """Read the output of CP2K; DataError as `labels_in`."""
        found = labels_in(Path(self.directory) / OUTPUT_FILE, self.atoms)
        self.results = {"energy": found.energy, "forces": found.forces}
        if found.stress is not None:
            self.results["stress"] = found.stress


def input_of(atoms: Atoms, template: str) -> str:
    """Return the input of CP2K for the energy and the forces of a structure, and its stress if it is periodic.

    Atoms and cell of the template are replaced; the cell is kept where the structure has none.

    Raises
    ------
    ConfigError
        The template has preprocessor lines beside ``@SET``, not one ``FORCE_EVAL``, another run type, no ``KIND`` of an
        element although it has some, or no cell where the structure has none.
    """
    if found := re.search(r"^\s*(@(?!SET\b)\w+)", template, re.MULTILINE | re.IGNORECASE):
        raise ConfigError(f"the template has {found[1]}, which depends on other files or on order: write it out")
    root = parse_input(template)
    evaluations = [section for section in root.subsections if section.name == "FORCE_EVAL"]
    if len(evaluations) != 1:
        raise ConfigError(f"the template has {len(evaluations)} sections FORCE_EVAL, expected one")
    (evaluation,) = evaluations
    if (run_type := _value(root.get_subsection("GLOBAL"), "RUN_TYPE")) is None:
        root.add_keyword("GLOBAL", f"RUN_TYPE {RUN_TYPE}")
    elif run_type.upper() != RUN_TYPE:
        raise ConfigError(f"the template has RUN_TYPE {run_type}: labels need {RUN_TYPE}, which moves no atom")
    _put_atoms(evaluation.get_subsection("SUBSYS"), atoms)
    _print(evaluation.get_subsection("PRINT/FORCES"))
    _print(evaluation.get_subsection("SUBSYS/PRINT/ATOMIC_COORDINATES"))  # by which results are checked
    if atoms.pbc.all():
        if _value(evaluation, "STRESS_TENSOR") is None:
            evaluation.keywords.append("STRESS_TENSOR ANALYTICAL")
        _print(evaluation.get_subsection("PRINT/STRESS_TENSOR"))
    return "\n".join([*root.write(), ""])


def _value(section: InputSection, key: str) -> str | None:
    found = (line.split(None, 1) for line in section.keywords)
    return next((words[1].strip() for words in found if words[0].upper() == key and len(words) > 1), None)


def _print(section: InputSection) -> None:
    section.params = "ON"


def _put_atoms(subsystem: InputSection, atoms: Atoms) -> None:
    """Put atoms and cell in the place of those of the template."""
    kinds = {(section.params or "").split()[0].upper() for section in subsystem.subsections if section.name == "KIND"}
    elements = {
        value.upper()
        for section in subsystem.subsections
        if section.name == "KIND" and (value := _value(section, "ELEMENT"))
    }
    missing = [symbol for symbol in sorted(set(atoms.symbols)) if symbol.upper() not in kinds - elements]
    if kinds and missing:
        raise ConfigError(f"the template has no KIND {missing[0]}, with its basis set and potential")
    replaced = {"COORD", "CELL"} if atoms.cell.rank == 3 else {"COORD"}
    subsystem.subsections = [section for section in subsystem.subsections if section.name not in replaced]
    for section in subsystem.subsections:
        if section.name == "TOPOLOGY":
            section.keywords = [line for line in section.keywords if line.split()[0].upper() not in OF_TEMPLATE]
    if atoms.cell.rank == 3:
        cell = subsystem.get_subsection("CELL")
        cell.keywords += [f"{name} {_numbers(vector)}" for name, vector in zip("ABC", atoms.cell.array, strict=True)]
        cell.keywords.append(f"PERIODIC {''.join(np.array(list('XYZ'))[atoms.pbc]) or 'NONE'}")
    elif not any(section.name == "CELL" for section in subsystem.subsections):
        raise ConfigError("the structure has no cell: give the template a CELL that holds the molecule")
    subsystem.get_subsection("COORD").keywords = [
        f"{symbol} {_numbers(position)}" for symbol, position in zip(atoms.symbols, atoms.positions, strict=True)
    ]


def _numbers(vector: np.ndarray) -> str:
    return " ".join(f"{value:.12f}" for value in vector)


@dataclass(frozen=True)
class Output:
    """What CP2K has printed on one structure; numbers and units as in `Labels`, positions in Å."""

    symbols: list[str]
    positions: np.ndarray
    labels: Labels


def is_output(path: Path) -> bool:
    """Return whether a file is an output of CP2K."""
    return MARK in path.read_text(errors="replace")


def labels_in(path: Path, frame: Atoms) -> Labels:
    """Return the labels of `frame` from an output of CP2K, as the versions 2023 and 2025 print it.

    Raises
    ------
    DataError
        The output is missing, cut off, of another structure, or has no energy or forces; or the electronic structure
        has not converged.
    """
    if not path.is_file():
        raise DataError(f"there is no {path.name}")
    text = path.read_text(errors="replace")
    text = text[max(0, text.rfind(MARK)) :]  # a later run in the same folder writes behind the one before
    if any(words in text for words in FAILED):
        raise DataError(f"the electronic structure has not converged, by {path.name}")
    if "PROGRAM ENDED AT" not in text:
        raise DataError(f"{path.name} ends in the middle: CP2K has not finished")
    symbols, positions = _atoms(text)
    if symbols != list(frame.symbols) or not _same_places(frame, positions):
        raise DataError(f"{path.name} is of another structure")
    energies = ENERGY.findall(text)
    forces = [np.array(found[:3], np.float64) for found in _rows(text, FORCES, FORCE)]
    if len(energies) != 1 or len(forces) != len(frame):
        raise DataError(
            f"{path.name} has {len(energies)} energies and forces on {len(forces)} atoms, expected one and {len(frame)}"
        )
    found = Labels(
        float(energies[0]) * Hartree, np.array(forces) * Hartree / Bohr, _stress(text) if frame.pbc.all() else None
    )
    return found.checked(len(frame))


def _rows(text: str, head: re.Pattern[str], row: re.Pattern[str]) -> Iterator[tuple[str, ...]]:
    """Yield the groups of the rows below the first line that matches `head`, up to the first other line behind them."""
    if (start := head.search(text)) is None:
        return
    begun = False
    for line in text[start.end() :].splitlines()[1:]:
        if found := row.match(line):
            begun = True
            yield found.groups()
        elif begun:
            return


def _atoms(text: str) -> tuple[list[str], np.ndarray]:
    """Return the chemical symbols of the atoms, and their positions (n_atoms, 3) in Å."""
    rows = list(_rows(text, PLACES, PLACE))
    return [row[0] for row in rows], np.array([row[2:5] for row in rows], np.float64).reshape(-1, 3)


def _stress(text: str) -> np.ndarray | None:
    """Return the stress as `Labels` has it, or None.  CP2K has the opposite sign."""
    if (start := STRESS.search(text)) is None:
        return None
    tensor = np.array(list(_rows(text, STRESS, STRESS_ROW)), np.float64)
    return -tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * STRESS_UNITS[start[1]]


def _same_places(frame: Atoms, positions: np.ndarray) -> bool:
    """Return whether the atoms are those of `frame`, in the same order; CP2K may move all of them together."""
    moved = positions - frame.positions
    moved -= moved[0]
    if frame.pbc.any():
        moved, _ = find_mic(moved, frame.cell, frame.pbc)
    return bool(np.abs(moved).max() < MOVED)
