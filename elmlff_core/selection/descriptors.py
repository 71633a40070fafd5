"""Descriptors: the surroundings of atoms as vectors whose distances tell how new an atom is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from elmlff_core.arrays import blocks, new_array
from elmlff_core.base_models.named import NamedModel
from elmlff_core.base_models.prediction import predict_checked
from elmlff_core.contracts.hookspecs import PROJECT
from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.contracts.structures import n_atoms_of
from elmlff_core.errors import ConfigError, did_you_mean
from elmlff_core.plugins.requirements import is_importable
from elmlff_core.stack.stack import Stack
from elmlff_core.uncertainty.surroundings import channels, surroundings

SOAP, SURROUNDINGS = "soap", "surroundings"
SOAP_CUTOFF, SOAP_WIDTH = 5.0, 0.5  # Å
N_RADIAL, L_MAX = 6, 4
MANY_ELEMENTS = 4  # from here on the power spectrum is compressed: its length would grow with their square
MOST_COMPONENTS = 64  # of descriptors, before the length of the rest
KEPT = 0.999  # share of the variance in the components
SAMPLE_ATOMS = 20_000  # from which the components are found
BLOCK_ATOMS = 2048  # described at a time


class Describe(Protocol):
    """Returns the descriptors of all atoms of structures, one structure after the other: (n_rows, n_numbers)."""

    def __call__(self, structures: Sequence[Atoms]) -> np.ndarray: ...


def describe_by(name: str, stack: Stack, elements: np.ndarray) -> Describe:
    """Return the function that describes structures of `elements`, atomic numbers, in ascending order.

    `name` is ``soap``, ``surroundings``, or a base model of the stack that has descriptors.

    Raises
    ------
    ConfigError
        There are no such descriptors, or their package is not installed.
    """
    if name == SOAP:
        return Soap.of(elements)
    if name == SURROUNDINGS:
        table = channels(elements)
        return lambda structures: surroundings(structures, table)
    describing = {model.name: model for model in stack.base_models if model.plugin.describes}
    if name in describing:
        model = describing[name].with_descriptors(True)
        return lambda structures: _described_by(model, structures)
    if name in stack.names:
        raise ConfigError(
            f"the base model '{name}' has no descriptors that elmlff can read; there are: "
            f"{', '.join((SOAP, SURROUNDINGS, *describing))}"
        )
    raise ConfigError(f"no descriptors are called '{name}'{did_you_mean(name, (SOAP, SURROUNDINGS, *describing))}")


def _described_by(model: NamedModel, structures: Sequence[Atoms]) -> np.ndarray:
    found = predict_checked(model, structures).descriptors
    assert found is not None
    return found


@dataclass(frozen=True)
class Soap:
    """The power spectrum of SOAP by DScribe (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013)).

    It is divided by the square root of its length, so that it grows with the density of neighbours and not with its
    square.

    Attributes
    ----------
    periodic, free : DScribe's own objects for structures with and without periodic directions
    """

    periodic: Any
    free: Any

    @classmethod
    def of(cls, elements: np.ndarray) -> Soap:
        """Make it for structures of `elements`; ConfigError if DScribe is not installed."""
        if not is_importable("dscribe"):
            raise ConfigError(
                f'SOAP descriptors need dscribe: pip install "{PROJECT}[select]", or take --descriptors {SURROUNDINGS}'
            )
        from dscribe.descriptors import SOAP as Power  # takes seconds to import

        mode = "mu1nu1" if len(elements) >= MANY_ELEMENTS else "off"
        settings = {
            "r_cut": SOAP_CUTOFF, "n_max": N_RADIAL, "l_max": L_MAX, "sigma": SOAP_WIDTH, "species": elements.tolist(),
            "compression": {"mode": mode, "species_weighting": None},
        }  # fmt: skip
        return cls(Power(periodic=True, **settings), Power(periodic=False, **settings))

    def __call__(self, structures: Sequence[Atoms]) -> np.ndarray:
        found = [(self.periodic if atoms.pbc.any() else self.free).create(atoms) for atoms in structures]
        power = np.concatenate(found)
        return power / np.sqrt(np.maximum(np.linalg.norm(power, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Components:
    """Main components of descriptors, and the length of what they leave out.

    A distance of components is almost that of the whole descriptors on atoms like those from which the components were
    found, with a tenth of the numbers.  An atom that is unlike them has most of its descriptor outside the components:
    the length of this rest is a component too, so that it stays far away from the others.

    Attributes
    ----------
    mean : (n_numbers,)
    axes : (n_numbers, n_components), orthonormal columns
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray) -> Components:
        """Find the components of descriptors (n_rows, n_numbers)."""
        mean = rows.mean(axis=0)
        values, axes = np.linalg.eigh((rows - mean).T @ (rows - mean))
        share = np.cumsum(np.maximum(values[::-1], 0.0))
        n_components = int(np.searchsorted(share, KEPT * share[-1])) + 1
        return cls(mean, axes[:, ::-1][:, : min(n_components, MOST_COMPONENTS)])

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return the components of descriptors and the length of the rest: (n_rows, n_components + 1) float32."""
        centred = rows - self.mean
        found = centred @ self.axes
        rest = np.maximum((centred**2).sum(axis=1) - (found**2).sum(axis=1), 0.0)
        return np.column_stack([found, np.sqrt(rest)]).astype(np.float32)


def components_of(describe: Describe, structures: Sequence[Atoms]) -> Components:
    """Find the components of the descriptors of `structures`, from as many as have about 20,000 atoms."""
    n_atoms = n_atoms_of(structures)
    step = max(1, -(-int(n_atoms.sum()) // SAMPLE_ATOMS))
    rows = [part for *_, part in _parts(describe, structures[::step], n_atoms[::step])]
    return Components.fit(np.concatenate(rows).astype(np.float64))


def described(
    describe: Describe, components: Components, structures: Sequence[Atoms], progress: ProgressCallback
) -> np.ndarray:
    """Return the components of all atoms of `structures`, block by block: (n_rows, n_components + 1) float32."""
    n_atoms = n_atoms_of(structures)
    found = new_array((int(n_atoms.sum()), components.axes.shape[1] + 1), np.float32)
    for rows, stop, part in _parts(describe, structures, n_atoms):
        found[rows] = components.of(part)
        progress(Progress(stop, len(structures)))
    return found


def _parts(
    describe: Describe, structures: Sequence[Atoms], n_atoms: np.ndarray
) -> Iterator[tuple[slice, int, np.ndarray]]:
    for block, rows in blocks(n_atoms, BLOCK_ATOMS):
        yield rows, block.stop, describe(structures[block])
