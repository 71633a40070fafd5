"""Spherical harmonics and their products, compared with SciPy, with quadrature and with automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from elmlff_core.expansion.harmonics import Couplings, harmonics_and_derivatives, of_degree, real_harmonics

HIGHEST = 6


@pytest.fixture
def units() -> torch.Tensor:
    vectors = torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.cat(
        [vectors / vectors.norm(dim=0), torch.eye(3).double(), -torch.eye(3).double()], dim=1
    )  # with poles


def test_harmonics_are_scipys(units):
    x, y, z = units.numpy()
    found = real_harmonics(units, HIGHEST).numpy()
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    for degree in range(HIGHEST + 1):
        for m in range(-degree, degree + 1):
            of_scipy = (
                sph_harm_y(degree, abs(m), polar, azimuth) * (-1) ** m
            )  # without the phase of Condon and Shortley
            part = of_scipy.imag if m < 0 else of_scipy.real
            expected = part * (np.sqrt(2) if m else 1)
            assert np.allclose(found[of_degree(degree)][m + degree], expected, atol=1e-12)


def test_derivatives_are_those_of_the_polynomials(units):
    values, derivatives = harmonics_and_derivatives(units, HIGHEST)
    assert torch.equal(values, real_harmonics(units, HIGHEST))

    def sums(units: torch.Tensor) -> torch.Tensor:
        return real_harmonics(units, HIGHEST).sum(dim=1)

    expected = torch.autograd.functional.jacobian(sums, units)  # (Y, 3, E)
    assert torch.allclose(derivatives, expected.transpose(0, 1), atol=1e-11)


def test_couplings_do_not_change_with_a_rotation(units):
    couplings = Couplings(HIGHEST)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    here, there = real_harmonics(units, HIGHEST), real_harmonics(rotation @ units, HIGHEST)
    for degrees in ((0, 0, 0), (1, 1, 2), (2, 2, 2), (1, 3, 4), (3, 5, 6)):
        coupling = couplings.coupling(*degrees)
        assert float(coupling.norm()) == pytest.approx(1)

        def product(harmonics: torch.Tensor, coupling=coupling, degrees=degrees) -> torch.Tensor:
            one, two, three = (harmonics[of_degree(degree), place : place + 5] for place, degree in enumerate(degrees))
            return torch.einsum("abc,ae,be,ce->e", coupling, one, two, three)

        assert torch.allclose(product(there), product(here), atol=1e-12)
