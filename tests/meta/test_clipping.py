"""Clipping of gradients: each part by its own norm, and what it saves a training from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta.egat import EGATNetwork
from elmlff_core.meta.options import EGATOptions
from elmlff_core.meta.training.clipping import clip_gradients
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features

SMALL = {"width": 8, "layers": 1, "heads": 2}


def with_gradients(of_variance: float, of_others: float) -> tuple[EGATNetwork, list[nn.Parameter], list[nn.Parameter]]:
    """Return a network whose gradients have these norms, and the parameters of its two parts."""
    network = EGATNetwork(EGATOptions(**SMALL), 2, torch.tensor([1, 6]), 4.0)
    assert network.variance is not None
    apart = list(network.variance.parameters())
    others = [one for one in network.parameters() if all(one is not other for other in apart)]
    for part, norm in ((apart, of_variance), (others, of_others)):
        n = sum(one.numel() for one in part)
        for one in part:
            one.grad = torch.full_like(one, norm / n**0.5)
    return network, apart, others


def norm(parameters: list[nn.Parameter]) -> float:
    return float(nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None]))


def test_a_gradient_of_the_usual_size_is_not_changed():
    network, *_ = with_gradients(90.0, 9.0)
    before = [one.grad.clone() for one in network.parameters() if one.grad is not None]
    clip_gradients(network, 10.0)
    after = [one.grad for one in network.parameters() if one.grad is not None]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_large_gradient_of_one_part_leaves_the_other_part_alone():
    network, apart, others = with_gradients(1e9, 5.0)
    clip_gradients(network, 10.0)
    assert norm(apart) == pytest.approx(100.0, rel=1e-3)
    assert norm(others) == pytest.approx(5.0, rel=1e-5)
    network, apart, others = with_gradients(2.0, 300.0)
    clip_gradients(network, 10.0)
    assert norm(apart) == pytest.approx(2.0, rel=1e-5)
    assert norm(others) == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_of_a_gradient_without_a_finite_norm_no_step_is_made(wrong: float):
    network, apart, others = with_gradients(2.0, 5.0)
    assert others[0].grad is not None
    others[0].grad[..., 0] = wrong
    clip_gradients(network, 10.0)
    assert all(one.grad is None for one in others)
    assert norm(apart) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("name", ["egat", "conservative", "egat-ace", "conservative-ace"])
def test_equivariant_meta_models_clip_by_default(name: str):
    assert registry().meta_model(name).training["gradient_clip"] == 10.0


def test_that_of_the_paper_does_not_clip():
    assert TrainingConfig().with_defaults(registry().meta_model("gat").training).gradient_clip == 0.0


def test_a_training_clips(tmp_path: Path):
    """Adam adds 1e-8 to the size of gradients, so that those that are clipped to much less hardly move a network."""
    features = example_features(12)

    def fitted(clip: float) -> np.ndarray:
        meta = make_meta("egat", SMALL)
        training = TrainingConfig(
            epochs=4, batch_size=4, device="cpu", loss="norm", learning_rate=1e-2, gradient_clip=clip
        )
        meta.fit(FitRequest(features, features, training, tmp_path / str(clip), 0, lambda _: None))
        return meta.predict(features).forces

    combined = make_meta("egat", SMALL)
    start = TrainingConfig(epochs=0, device="cpu")
    combined.fit(FitRequest(features, features, start, tmp_path / "start", 0, lambda _: None))
    moved = [np.abs(fitted(clip) - combined.predict(features).forces).max() for clip in (0.0, 1e6, 1e-12)]
    assert moved[0] == moved[1] > 1e-3
    assert moved[2] < 1e-2 * moved[0]
