"""The JSON files of mlearn: what is read, what is left out, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elmlff_core.data.mlearn import read_mlearn
from elmlff_core.errors import DataError

Entry = dict[str, Any]


def entry() -> Entry:
    """Return two atoms in a triclinic cell, as pymatgen writes them."""
    sites = [
        {"species": [{"element": "Si", "occu": 1}], "abc": [0.0, 0.0, 0.0], "xyz": [0.0, 0.0, 0.0], "label": "Si"},
        {"species": [{"element": "Si", "occu": 1}], "abc": [0.5, 0.25, 0.1], "xyz": [2.0, 0.85, 0.5], "label": "Si"},
    ]
    return {
        "structure": {"lattice": {"matrix": [[4, 0, 0], [0, 3.0, 0], [0, 1, 5.0]], "a": 4.0}, "sites": sites},
        "num_atoms": 2,
        "outputs": {
            "energy": -10.5,
            "forces": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
            "virial_stress": [1, 2, 3, 4, 5, 6],
        },
        "group": "Vacancy",
        "tag": "train",
    }


def write(path: Path, *entries: Entry) -> Path:
    path.write_text(json.dumps(entries))
    return path


def test_structures_and_labels_are_read(tmp_path: Path) -> None:
    (atoms,) = read_mlearn(write(tmp_path / "a.json", entry()))
    assert atoms.get_chemical_symbols() == ["Si", "Si"]
    assert atoms.pbc.all()
    assert atoms.cell.tolist() == [[4, 0, 0], [0, 3, 0], [0, 1, 5]]
    assert atoms.positions.tolist() == [[0, 0, 0], [2, 0.85, 0.5]]
    assert atoms.get_potential_energy() == -10.5
    assert atoms.get_forces().tolist() == [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
    assert atoms.info == {"group": "Vacancy"}
    assert "stress" not in atoms.calc.results


def test_fractions_of_the_cell_stand_in_for_positions(tmp_path: Path) -> None:
    fractional = entry()
    for site in fractional["structure"]["sites"]:
        del site["xyz"]
    (atoms,) = read_mlearn(write(tmp_path / "a.json", fractional))
    assert np.allclose(atoms.positions[1], [2, 0.85, 0.5])  # 0.5 a + 0.25 b + 0.1 c


def change(*path: Any, to: Any) -> Callable[[Entry], None]:
    """Return a function that sets the value at `path` in an entry; None removes it."""

    def changed(found: Entry) -> None:
        *parents, last = path
        inner: Any = found
        for key in parents:
            inner = inner[key]
        if to is None:
            del inner[last]
        else:
            inner[last] = to

    return changed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("outputs", "energy", to=None), r"'outputs\.energy' of structure 1 of .*a\.json: Field required"),
        (change("outputs", "energy", to=float("nan")), r"'outputs\.energy' of structure 1 .*finite number"),
        (change("outputs", "forces", 1, 2, to="x"), r"'outputs\.forces\.1\.2' of structure 1 .*valid number"),
        (change("outputs", "forces", 1, to=None), r"structure 1 .*2 sites but forces on 1 atoms and num_atoms 2"),
        (change("num_atoms", to=3), r"structure 1 .*2 sites but forces on 2 atoms and num_atoms 3"),
        (change("structure", "sites", 1, "species", 0, "occu", to=0.5), r"'structure\.sites\.1' .*disordered"),
        (change("structure", "sites", 1, "species", 0, "element", to="Xy"), r"'Xy' is not a chemical symbol"),
        (change("structure", "lattice", "matrix", 2, to=None), r"'structure\.lattice\.matrix\.2' of structure 1"),
    ],
)
def test_a_damaged_structure_is_named(tmp_path: Path, damage: Callable[[Entry], None], message: str) -> None:
    damaged = entry()
    damage(damaged)
    with pytest.raises(DataError, match=message):
        list(read_mlearn(write(tmp_path / "a.json", entry(), damaged)))


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    for content, message in (
        ("[{", r"a\.json is not a JSON file of mlearn, .*Invalid JSON"),
        ('{"structure": 1}', r"a\.json is not a JSON file of mlearn, .*valid array"),
        ("[]", r"a\.json holds no structures"),
    ):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(DataError, match=message):
            list(read_mlearn(tmp_path / "a.json"))
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.json: No such file"):
        list(read_mlearn(tmp_path / "nowhere.json"))
