"""Real spherical harmonics, and the invariant products of three of them.

Shapes: E unit vectors, L the highest degree; harmonics are in the order l = 0, 1, ..., L and m = -l, ..., l.
"""

from __future__ import annotations

import math

import numpy as np
import torch


def of_degree(l: int) -> slice:  # noqa: E741, the field's name of the degree
    """Return where the harmonics of degree `l` are among all of them."""
    return slice(l * l, (l + 1) ** 2)


def real_harmonics(units: torch.Tensor, highest: int) -> torch.Tensor:
    """Return the orthonormal real spherical harmonics of unit vectors (3, E) up to degree `highest`: ((L + 1)^2, E).

    They are polynomials of the components, so that their derivatives are finite at the poles too.
    """
    return _Polynomials(units, highest).values()


def harmonics_and_derivatives(units: torch.Tensor, highest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `real_harmonics` does, (Y, E), and the derivatives of these polynomials: (3, Y, E)."""
    polynomials = _Polynomials(units, highest)
    return polynomials.values(), polynomials.derivatives()


class _Polynomials:
    """The factors of real spherical harmonics: a polynomial of z for each l and m, and one of x and y for each m."""

    def __init__(self, units: torch.Tensor, highest: int) -> None:
        x, y, z = units
        # The real part of (x + i y)^m for m from 0 to L, behind the imaginary part for -m from L to 1.
        real, imaginary = [torch.ones_like(x)], [torch.zeros_like(x)]
        for m in range(highest):
            real.append(x * real[m] - y * imaginary[m])
            imaginary.append(x * imaginary[m] + y * real[m])
        self.azimuthal = torch.stack([*imaginary[:0:-1], *real])  # (2 L + 1, E)
        # The derivative of order m of the Legendre polynomial of each degree.
        zero = torch.zeros_like(z)
        legendre = {(degree, m): zero for degree in range(highest + 1) for m in range(highest + 2)}
        for m in range(highest + 1):
            legendre[m, m] = torch.full_like(z, math.prod(range(1, 2 * m, 2)))
            if m < highest:
                legendre[m + 1, m] = (2 * m + 1) * z * legendre[m, m]
            for degree in range(m + 2, highest + 1):
                higher = (2 * degree - 1) * z * legendre[degree - 1, m] - (degree + m - 1) * legendre[degree - 2, m]
                legendre[degree, m] = higher / (degree - m)
        pairs = [(degree, m) for degree in range(highest + 1) for m in range(-degree, degree + 1)]
        norms = units.new_tensor([_norm(degree, abs(m)) for degree, m in pairs]).unsqueeze(1)
        self.polar = norms * torch.stack([legendre[degree, abs(m)] for degree, m in pairs])  # (Y, E)
        self.steeper = norms * torch.stack([legendre[degree, abs(m) + 1] for degree, m in pairs])
        self.m = torch.tensor([m for _, m in pairs], device=units.device)
        self.highest = highest

    def values(self) -> torch.Tensor:
        """(Y, E)."""
        return self.polar * self.azimuthal[self.m + self.highest]

    def derivatives(self) -> torch.Tensor:
        """(3, Y, E)."""
        # d/dx (x + i y)^m = m (x + i y)^(m - 1), and d/dy is i times this.
        order = self.m.abs()
        lower_real = self.azimuthal[self.highest + (order - 1).clamp(min=0)]
        lower_imaginary = self.azimuthal[self.highest - (order - 1).clamp(min=0)] * (order > 1).unsqueeze(1)
        times = order.to(self.polar.dtype).unsqueeze(1) * self.polar
        is_real = (self.m >= 0).unsqueeze(1)
        by_x = times * torch.where(is_real, lower_real, lower_imaginary)
        by_y = times * torch.where(is_real, -lower_imaginary, lower_real)
        return torch.stack([by_x, by_y, self.steeper * self.azimuthal[self.m + self.highest]])


def _norm(degree: int, m: int) -> float:
    share = (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)
    return math.sqrt(share * (2 if m else 1))


class Couplings:
    """The products of three harmonics that do not change with rotations, for degrees up to `highest`.

    The integral of three harmonics over the sphere is such a product, as the Wigner 3j symbols are, for degrees with an
    even sum; for others the integral is zero.
    """

    def __init__(self, highest: int) -> None:
        # A quadrature that is exact for products of three: in the cosine of the polar angle, and in the azimuth.
        cosines, weights = np.polynomial.legendre.leggauss(2 * highest + 2)
        n_azimuths = 4 * highest + 4
        azimuths = 2 * np.pi * np.arange(n_azimuths) / n_azimuths
        cosine, azimuth = (grid.ravel() for grid in np.meshgrid(cosines, azimuths, indexing="ij"))
        sine = np.sqrt(1 - cosine**2)
        units = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine])
        self.values = real_harmonics(torch.from_numpy(units), highest)
        self.weights = torch.from_numpy(np.repeat(weights * 2 * np.pi / n_azimuths, n_azimuths))

    def coupling(self, first: int, second: int, third: int) -> torch.Tensor:
        """Return the invariant product of degrees with an even sum, of norm one: (2 l1 + 1, 2 l2 + 1, 2 l3 + 1)."""
        one, two, three = (self.values[of_degree(degree)] for degree in (first, second, third))
        integrals = torch.einsum("g,ag,bg,cg->abc", self.weights, one, two, three)
        return integrals / integrals.norm()
