"""The kernel: which environments it takes, and what it gives for spectra."""

from __future__ import annotations

import numpy as np
import torch

from elmlff_core.expansion.kernel import POWER, EnvironmentKernel

ROUGHNESS = torch.tensor([2.0, 5.0, 8.0], dtype=torch.float64)


def spectra(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chosen(n_environments: int, found: torch.Tensor, elements: torch.Tensor) -> EnvironmentKernel:
    kernel = EnvironmentKernel(2, n_environments, ROUGHNESS).double()
    kernel.choose(found, elements)
    return kernel


def test_likeness_is_that_of_its_definition():
    found, elements = spectra(30), torch.arange(30) % 2
    kernel = chosen(4, found, elements)
    new = spectra(6, seed=1)
    likeness, _ = kernel.derivatives(
        new, torch.zeros(6, 1, 3, 3, dtype=torch.float64), torch.ones(6, dtype=torch.int64)
    )
    weighted = found[1::2].numpy() / np.sqrt(ROUGHNESS.numpy())
    scale = np.sqrt((weighted**2).sum(axis=1).mean())
    unit = np.array([[*(one / np.sqrt(ROUGHNESS.numpy()) / scale), 1] for one in new.numpy()])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    environments = kernel.environments[1].numpy()
    assert np.allclose(np.linalg.norm(environments, axis=1), 1)
    alone = environments[:, -1] ** POWER
    assert np.allclose(likeness.numpy(), (unit @ environments.T) ** POWER - alone)


def test_environments_are_far_from_each_other():
    near = torch.tensor([1.0, 0.1, 0.1], dtype=torch.float64).expand(50, 3) + 1e-3 * spectra(50)
    far = torch.tensor([[0.1, 3.0, 0.1], [0.1, 0.1, 4.0]], dtype=torch.float64)
    kernel = chosen(3, torch.cat([near, far]), torch.zeros(52, dtype=torch.int64))
    first, *others = kernel.environments[0]
    assert all(float(first @ one) < 0.9 for one in others)
    assert float(others[0] @ others[1]) < 0.9


def test_with_fewer_different_atoms_than_environments_nothing_is_like_the_others():
    twice = spectra(2).repeat(3, 1)
    kernel = chosen(5, twice, torch.zeros(6, dtype=torch.int64))
    assert kernel.environments[0].any(dim=1).tolist() == [True, True, False, False, False]
    gradients = torch.ones(6, 1, 3, 3, dtype=torch.float64)
    for found in kernel.derivatives(twice, gradients, torch.zeros(6, dtype=torch.int64)):
        assert found[..., :2].any()
        assert not found[..., 2:].any()


def test_without_environments_nothing_is_saved():
    assert not EnvironmentKernel(2, 0, ROUGHNESS).state_dict()
    assert len(EnvironmentKernel(2, 1, ROUGHNESS).state_dict()) == 2


def test_an_element_without_atoms_has_no_likeness():
    kernel = chosen(3, spectra(5), torch.zeros(5, dtype=torch.int64))
    of_second = torch.ones(4, dtype=torch.int64)
    coefficients = torch.ones(2, 3, 1, dtype=torch.float64)
    energies, slopes = kernel.energies(spectra(4, seed=2), of_second, coefficients)
    assert not energies.any()
    assert not slopes.any()
