"""Clipping of gradients: each part by its own usual norm, and the same after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from elmlff_core.contracts.progress import Progress, ProgressCallback
from elmlff_core.contracts.protocols import FitRequest
from elmlff_core.fits.meta_models import make_meta
from elmlff_core.meta.egat import EGATNetwork
from elmlff_core.meta.options import EGATOptions
from elmlff_core.meta.training.clipping import Clipping
from elmlff_core.plugins.registry import registry
from elmlff_core.settings.config import TrainingConfig
from elmlff_core.testing.meta_model import example_features

SMALL = {"width": 8, "layers": 1, "heads": 2}


class Example:
    """A network with gradients of given norms, and the parameters of its two parts."""

    def __init__(self) -> None:
        self.network = EGATNetwork(EGATOptions(**SMALL), 2, torch.tensor([1, 6]), 4.0)
        assert self.network.variance is not None
        self.apart = list(self.network.variance.parameters())
        numbers = set(map(id, self.apart))
        self.others = [one for one in self.network.parameters() if id(one) not in numbers]
        self.clipping = Clipping(self.network, 10.0)

    def set(self, of_variance: float, of_others: float) -> None:
        for part, size in ((self.apart, of_variance), (self.others, of_others)):
            n = sum(one.numel() for one in part)
            for one in part:
                one.grad = torch.full_like(one, size / n**0.5)

    def clipped(self, of_variance: float, of_others: float) -> tuple[float, float]:
        """Return the norms of gradients that had these norms before."""
        self.set(of_variance, of_others)
        self.clipping.clip()
        return norm(self.apart), norm(self.others)

    def gradients(self) -> list[torch.Tensor]:
        return [one.grad.clone() for one in self.network.parameters() if one.grad is not None]


def norm(parameters: list[nn.Parameter]) -> float:
    return float(nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None]))


def test_gradients_of_the_usual_size_are_not_changed():
    example = Example()
    for size in (3.0, 1.0, 9.0, 25.0):
        example.set(10 * size, size)
        before = example.gradients()
        example.clipping.clip()
        assert all(torch.equal(one, other) for one, other in zip(before, example.gradients(), strict=True))


def test_a_large_gradient_of_one_part_leaves_the_other_part_alone():
    example = Example()
    for _ in range(100):
        example.clipped(5.0, 1.0)
    assert example.clipped(1e9, 2.0) == pytest.approx((50.0, 2.0), rel=1e-3)
    assert example.clipped(6.0, 1e9) == pytest.approx((6.0, 10.0), rel=0.02)


def test_what_is_usual_follows_the_last_steps():
    example = Example()
    for _ in range(100):
        example.clipped(5.0, 1.0)
    for _ in range(500):
        example.clipped(5.0, 50.0)
    assert example.clipped(5.0, 400.0) == pytest.approx((5.0, 400.0), rel=1e-3)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e30])
def test_of_a_gradient_without_a_finite_norm_no_step_is_made(wrong: float):
    example = Example()
    example.set(2.0, 5.0)
    assert example.others[0].grad is not None
    example.others[0].grad[..., 0] = wrong
    example.clipping.clip()
    assert all(one.grad is None for one in example.others)
    assert norm(example.apart) == pytest.approx(2.0, rel=1e-5)
    assert example.clipped(2.0, 7.0) == pytest.approx((2.0, 7.0), rel=1e-5)


@pytest.mark.parametrize("name", ["egat", "conservative", "egat-ace", "conservative-ace"])
def test_equivariant_meta_models_clip_by_default(name: str):
    assert registry().meta_model(name).training["gradient_clip"] == 10.0


def test_that_of_the_paper_does_not_clip():
    assert TrainingConfig().with_defaults(registry().meta_model("gat").training).gradient_clip == 0.0


def fitted(folder: Path, clip: float, progress: ProgressCallback = lambda _: None) -> np.ndarray:
    features, meta = example_features(12), make_meta("egat", SMALL)
    training = TrainingConfig(epochs=4, batch_size=4, device="cpu", loss="norm", learning_rate=1e-2, gradient_clip=clip)
    meta.fit(FitRequest(features, features, training, folder, 0, progress))
    return meta.predict(features).forces


def test_a_training_clips(tmp_path: Path):
    """Where no gradient is above the limit, clipping changes nothing, and where many are, the result."""
    without, far, near = (fitted(tmp_path / str(clip), clip) for clip in (0.0, 1e6, 0.5))
    assert np.array_equal(far, without)
    assert not np.allclose(near, without, rtol=0, atol=1e-3)


def test_a_resumed_training_knows_what_was_usual(tmp_path: Path):
    def interrupt(step: Progress) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "cut", 0.5, interrupt)
    assert (tmp_path / "cut" / "last.ckpt").exists()
    assert np.array_equal(fitted(tmp_path / "cut", 0.5), fitted(tmp_path / "whole", 0.5))
