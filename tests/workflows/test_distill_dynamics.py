"""Structures from molecular dynamics: frames that are not correlated, and simulations that end where they must."""

from __future__ import annotations

import numpy as np
import pytest

from elmlff_core.contracts.progress import Reporter
from elmlff_core.distillation.made import Source
from elmlff_core.distillation.settings import DistillationSettings
from elmlff_core.simulation.settings import DynamicsSettings
from elmlff_core.stack.place import StackPlace
from elmlff_core.workflows.distill.dynamics import Simulation, simulations, uncorrelated_spacing
from tests.stack.copper import copper, morse_stack


def autoregressive(n_frames: int, factor: float) -> np.ndarray:
    """Return forces whose correlation is ``factor**lag``: (n_frames, 200, 3)."""
    rng = np.random.default_rng(0)
    found = np.empty((n_frames, 200, 3))
    found[0] = rng.normal(size=found.shape[1:])
    for frame in range(1, n_frames):
        found[frame] = factor * found[frame - 1] + np.sqrt(1 - factor**2) * rng.normal(size=found.shape[1:])
    return found


@pytest.mark.parametrize(("factor", "expected"), [(0.0, 1), (0.5, 2), (0.8, 5), (0.9, 10)])
def test_frames_are_apart_where_their_correlation_is_below_one_over_e(factor, expected):
    # 0.8**4 = 0.41 and 0.8**5 = 0.33; 0.9**9 = 0.39 and 0.9**10 = 0.35; 1/e = 0.37.
    assert uncorrelated_spacing(autoregressive(400, factor)) == pytest.approx(expected, abs=1 if factor > 0.8 else 0)


def test_forces_that_do_not_change_are_no_error():
    assert uncorrelated_spacing(np.ones((10, 2, 3))) == 1


def test_a_vibration_is_not_taken_for_independent_where_it_crosses_zero():
    phase = np.arange(40) * np.pi / 2  # the correlation is 0, -1, 0, 1, ...
    forces = np.stack([np.cos(phase)] * 3, axis=1)[:, None]
    assert uncorrelated_spacing(forces) > 4


def test_a_simulation_ends_where_the_stack_is_not_sure(tmp_path):
    stack = morse_stack(tmp_path / "fit")
    stack.save(tmp_path / "stack")
    assert stack.uncertainty is not None
    settings = DynamicsSettings(temperature=300, timestep=2.0, steps=12, write_every=3, observe_every=3)
    usual = float(stack.predict([copper(0)]).forces_std.max())
    for name, bound, whole in (("sure", 100 * usual, True), ("unsure", 0.3 * usual, False)):
        simulation = Simulation(StackPlace(tmp_path / "stack"), copper(0), settings, tmp_path / name, bound)
        assert not simulation.ended
        simulation(Reporter())
        assert simulation.ended
        assert bool(simulation.stopped) is not whole
        frames = simulation.frames(2)
        assert len(frames) == 2 if whole else len(frames) < 2
        assert not any(np.allclose(atoms.positions, copper(0).positions) for atoms in frames)


def test_what_is_wanted_is_shared_among_the_starts(tmp_path):
    source, settings = Source("dynamics", 300.0, 5, "hot"), DistillationSettings(starts=2, spacing=4)
    found = list(simulations(source, [copper(0), copper(1)], settings, StackPlace(tmp_path), tmp_path, None))
    assert [n_wanted for _, _, n_wanted in found] == [3, 2]
    assert [simulation.settings.steps for _, simulation, _ in found] == [2 * 3 * 4, 2 * 2 * 4]
    assert len({task.name for task, _, _ in found}) == len({work.settings.seed for _, work, _ in found}) == 2
