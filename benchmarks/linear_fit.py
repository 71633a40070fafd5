"""Time of the closed-form fit of `linear`, 3,000 structures of 54 atoms and 8 models, compared with NumPy's lstsq."""

from __future__ import annotations

import tracemalloc

import numpy as np
from measuring import Comparison, medians, shown
from structures import random_features, slabs

from elmlff_core.features.linear_combination import LinearCombination


def main() -> None:
    """Check that both give the same weights, then measure time and memory."""
    features = random_features(slabs(1) * 3_000, 8)

    def reference() -> np.ndarray:
        base = features.forces.reshape(8, -1)
        return np.linalg.lstsq(base.T, features.reference_forces.ravel(), rcond=None)[0]

    np.testing.assert_allclose(LinearCombination.fit(features).weights[0], reference(), rtol=1e-6)
    times = medians({"here": lambda: LinearCombination.fit(features), "numpy": reference})
    Comparison(
        "linear fit, 3,000 x 54 atoms x 8 models", "numpy.linalg.lstsq", shown(times["here"]), shown(times["numpy"]),
        times["here"] / times["numpy"], 1.0, "at most", "same weights to 1e-6",
    ).print()  # fmt: skip
    tracemalloc.start()
    LinearCombination.fit(features)
    peak = tracemalloc.get_traced_memory()[1]
    Comparison(
        "its peak of memory", "the features", f"{peak / 1e6:.0f} MB", f"{features.forces.nbytes / 1e6:.0f} MB",
        peak / features.forces.nbytes, 2.0, "at most",
    ).print()  # fmt: skip


if __name__ == "__main__":
    main()
