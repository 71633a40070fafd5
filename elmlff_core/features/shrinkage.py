"""How far the weights of each element are shrunk towards common ones, by cross-validation over structures.

With two elements and a thousand structures each element has enough atoms for weights of its own.  With eighty elements
in the same structures, some have ten atoms, and three weights from ten atoms that disagree are worse than common ones.
"""

from __future__ import annotations

import numpy as np

from elmlff_core.contracts.features import Features
from elmlff_core.features.linear_combination import LinearCombination
from elmlff_core.features.metrics import mean_rmse_per_frame

N_FOLDS = 5
TRIED = (0.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 1e6)  # atoms; the last one makes all weights equal
SMALLEST_GAIN = 0.01  # a smaller relative gain is chance, and the plain fit is kept
MOST_STRUCTURES = 2000


def validated_shrinkage(train: Features) -> float:
    """Return the shrinkage with the lowest error in cross-validation, or 0 if it gains too little.

    The error is the force RMSE per frame.  With one element, or fewer than ten structures, it is 0.
    """
    if len(train.elements) < 2 or len(train) < 2 * N_FOLDS or not train.models:
        return 0.0
    order = np.random.default_rng(0).permutation(len(train))[:MOST_STRUCTURES]
    errors = np.zeros(len(TRIED))
    for fold in range(N_FOLDS):
        rest = train.subset(np.sort(np.delete(order, np.s_[fold::N_FOLDS])))
        held_out = train.of_known_elements(rest, order[fold::N_FOLDS])
        if len(held_out):
            tested = train.subset(np.sort(held_out))
            for place, shrinkage in enumerate(TRIED):
                found = LinearCombination.fit(rest, shrinkage=shrinkage).apply(tested)
                errors[place] += len(held_out) * mean_rmse_per_frame(found, tested)
    best = int(np.argmin(errors))
    return TRIED[best] if errors[best] < (1 - SMALLEST_GAIN) * errors[0] else 0.0
