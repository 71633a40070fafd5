"""`elmlff compile`: compile the network of a stack for this machine, and compare its predictions with those before."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.contracts.progress import Progress, Reporter
from elmlff_core.contracts.protocols import Compiles
from elmlff_core.errors import ElmlffError
from elmlff_core.meta.mean import WeightedMean
from elmlff_core.stack.stack import Stack

REPEATS, REPEATS_OF_BASE_MODELS = 20, 3  # of which some take seconds


@dataclass(frozen=True)
class Compilation:
    """What a compiled network gives.

    Attributes
    ----------
    before, after, base_models : seconds of a prediction of the meta-model before and after, and of the base models
    difference : the largest difference of a force component, eV/Å
    """

    before: float
    after: float
    base_models: float
    difference: float


def compile_stack(stack: Stack, atoms: Atoms, reporter: Reporter) -> Compilation:
    """Compile the network of a loaded stack for this machine.

    The base models are to give the same quantities as for `atoms`; the number of atoms does not matter.  From then on
    every process of this user that loads the stack on the CPU predicts with it.

    Raises
    ------
    ElmlffError
        The meta-model has no network, the structure does not fit, there is no compiler, or the compiled network does
        not predict the same.
    """
    meta = stack.meta
    members = meta.all_members if isinstance(meta, WeightedMean) else [meta]
    if not isinstance(meta, Compiles) or not any(isinstance(member, Compiles) for member in members):
        raise ElmlffError(f"'{stack.meta_name}' has no network that can be compiled")
    features = stack.features([atoms])
    meta.leave_compiled()

    def predict() -> Prediction:
        return meta.predict(replace(features))  # others each time: an average keeps what it predicted for the last ones

    expected, before = _timed(predict)
    _, base_models = _timed(lambda: stack.features([atoms]), REPEATS_OF_BASE_MODELS)
    with reporter.progress(f"compiling {stack.meta_name}") as progress:
        meta.compile(features)
        progress(Progress(1, 1))
    found, after = _timed(predict)
    return Compilation(before, after, base_models, float(np.abs(found.forces - expected.forces).max()))


def _timed[Result](call: Callable[[], Result], repeats: int = REPEATS) -> tuple[Result, float]:
    """Return what `call` gives, and the median of its times; the first call, which loads, does not count."""
    result, seconds = call(), []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return result, statistics.median(seconds)
