"""Readers: ASE formats, deepmd/npy trees, the embedded example, and files that cannot be read."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from elmlff_core.data.readers import read_dataset, read_structures
from elmlff_core.errors import DataError


def write_deepmd(folder, symbols, n_frames, nopbc=False, virial=False, seed=0):
    """Write a deepmd/npy system with random labels, without dpdata, and return its arrays."""
    rng = np.random.default_rng(seed)
    kinds = sorted(set(symbols))
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("\n".join(str(kinds.index(s)) for s in symbols))
    (folder / "type_map.raw").write_text("\n".join(kinds))
    arrays = {
        "coord": rng.normal(size=(n_frames, 3 * len(symbols))),
        "force": rng.normal(size=(n_frames, 3 * len(symbols))),
        "energy": rng.normal(size=n_frames),
        "box": np.tile(np.diag([9.0, 10.0, 11.0]).ravel(), (n_frames, 1)),
    }
    if virial:
        arrays["virial"] = rng.normal(size=(n_frames, 9))
    if nopbc:
        (folder / "nopbc").touch()
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array)
    return arrays


def test_the_embedded_example_agrees_with_its_description():
    dataset = read_dataset("methane")
    assert len(dataset) == 1200
    assert dataset.elements == {"C", "H"}
    assert not dataset.structures[0].pbc.any()
    # Exact derivatives of a translation-invariant energy give no net force.
    net = np.array([forces.sum(axis=0) for forces in dataset.forces.reshape(1200, 5, 3)])
    assert np.abs(net).max() < 1e-6


def test_virials_of_some_frames_are_an_error(tmp_path):
    arrays = write_deepmd(tmp_path, ["C", "H"], 3, virial=True)
    np.save(tmp_path / "set.000" / "virial.npy", arrays["virial"][:0])
    with pytest.raises(DataError, match=r"has virials of shape \(0, 3, 3\), expected \(3, 3, 3\)|cannot read"):
        read_dataset(tmp_path)


@pytest.mark.timeout(60)
def test_a_huge_number_of_atoms_is_an_error_at_once(tmp_path):
    """ASE would skip as many lines, at the end of the file, for hours."""
    ase.io.write(tmp_path / "data.extxyz", [Atoms("CH4", positions=np.eye(5, 3)) for _ in range(3)])
    text = (tmp_path / "data.extxyz").read_text()
    (tmp_path / "data.extxyz").write_text(text[: text.rindex("5\n")] + "99999999999" + text[text.rindex("5\n") + 1 :])
    with pytest.raises(DataError, match=r"data\.extxyz: EOFError: it ends within a structure, whose number of atoms"):
        read_structures(tmp_path / "data.extxyz")


def test_arrays_of_half_precision_are_read(tmp_path):
    arrays = write_deepmd(tmp_path, ["C", "H"], 3, virial=True)
    for name, array in arrays.items():
        np.save(tmp_path / "set.000" / f"{name}.npy", array.astype(np.float16))
    dataset = read_dataset(tmp_path)
    assert dataset.structures[1].cell.array.dtype == np.float64
    assert dataset.forces.ravel() == pytest.approx(arrays["force"].ravel(), rel=1e-3)
    assert dataset.stress.ravel() * 990 == pytest.approx(
        -full_3x3_to_voigt_6_stress(arrays["virial"].reshape(-1, 3, 3)).ravel(), rel=2e-3, abs=2e-3
    )


def test_tree_of_systems_of_different_sizes(tmp_path):
    first = write_deepmd(tmp_path / "a", ["C", "H"], 3, virial=True)
    write_deepmd(tmp_path / "b" / "c", ["O", "H", "H"], 2, virial=True, seed=1)
    dataset = read_dataset(tmp_path)
    assert dataset.n_atoms.tolist() == [2, 2, 2, 3, 3]
    assert np.array_equal(dataset.structures[1].positions.ravel(), first["coord"][1])
    assert np.array_equal(dataset.forces_of(2).ravel(), first["force"][2])
    assert dataset.structures[4].get_chemical_symbols() == ["O", "H", "H"]
    assert dataset.structures[0].pbc.all()
    # The stress is minus the symmetric part of the virial over the volume, in Voigt order xx yy zz yz xz xy.
    virial = first["virial"][0].reshape(3, 3)
    virial = (virial + virial.T) / 2
    expected = -np.array([virial[0, 0], virial[1, 1], virial[2, 2], virial[1, 2], virial[0, 2], virial[0, 1]]) / 990
    assert np.allclose(dataset.stress[0], expected)


def test_molecules_without_a_cell(tmp_path):
    write_deepmd(tmp_path, ["C", "H"], 2, nopbc=True)
    assert not read_dataset(tmp_path).structures[0].pbc.any()


def test_truncated_and_mismatched_arrays_are_refused(tmp_path):
    write_deepmd(tmp_path / "cut", ["C", "H"], 5)
    path = tmp_path / "cut" / "set.000" / "force.npy"
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(DataError, match="cannot read the deepmd/npy system"):
        read_dataset(tmp_path / "cut")
    arrays = write_deepmd(tmp_path / "short", ["C", "H"], 5)
    np.save(tmp_path / "short" / "set.000" / "force.npy", arrays["force"][:4])
    with pytest.raises(DataError, match="short"):
        read_dataset(tmp_path / "short")
    write_deepmd(tmp_path / "none", ["C", "H"], 5)
    (tmp_path / "none" / "set.000" / "force.npy").unlink()
    with pytest.raises(DataError, match=r"no force\.npy"):
        read_dataset(tmp_path / "none")
    arrays = write_deepmd(tmp_path / "nan", ["C", "H"], 5)
    arrays["force"][2, 4] = np.nan
    np.save(tmp_path / "nan" / "set.000" / "force.npy", arrays["force"])
    with pytest.raises(DataError, match=r"structure 2 .* non-finite force labels on atom 1"):
        read_dataset(tmp_path / "nan")


def test_errors_name_missing_and_unreadable_sources(tmp_path):
    with pytest.raises(DataError, match="did you mean 'methane'"):
        read_dataset("metane")
    with pytest.raises(DataError, match="no file, folder, embedded example or published dataset"):
        read_dataset(tmp_path / "no.extxyz")
    with pytest.raises(DataError, match=r"no type\.raw"):
        read_dataset(tmp_path)
    (tmp_path / "empty.extxyz").touch()
    with pytest.raises(DataError, match=r"empty\.extxyz"):
        read_dataset(tmp_path / "empty.extxyz")


def test_truncated_extxyz_is_refused(tmp_path):
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    atoms.arrays["REF_forces"] = np.ones((2, 3))
    path = tmp_path / "x.extxyz"
    ase.io.write(path, [atoms] * 3)
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match="cannot read"):
        read_dataset(path)


def test_formats_of_ase(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    atoms.calc = SinglePointCalculator(atoms, energy=2.0, forces=np.ones((2, 3)))
    for name in ("x.extxyz", "x.db", "x.traj", "x.json"):
        ase.io.write(tmp_path / name, [atoms, atoms])
        dataset = read_dataset(tmp_path / name)
        assert dataset.energy.tolist() == [2.0, 2.0], name
        assert np.array_equal(dataset.forces_of(1), np.ones((2, 3))), name


def test_structures_can_be_read_without_labels(tmp_path):
    ase.io.write(tmp_path / "x.xyz", [Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])] * 2)
    assert len(read_structures(tmp_path / "x.xyz")) == 2


def test_the_papers_data(shared):
    dataset = read_dataset(shared / "data" / "methanol-cu100" / "train")
    raw = shared / "data" / "methanol-cu100" / "train" / "set.000"
    assert len(dataset) == 3106
    positions = np.array([atoms.positions for atoms in dataset.structures]).reshape(3106, -1)
    assert np.array_equal(positions, np.load(raw / "coord.npy"))
    assert np.array_equal(dataset.forces.reshape(3106, -1), np.load(raw / "force.npy"))
    assert len(read_dataset(shared / "data" / "methane" / "train")) == 5009
