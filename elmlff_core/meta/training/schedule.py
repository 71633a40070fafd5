"""The learning-rate schedule of the paper (Eq. 8): linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math


# Not torch's LinearLR and CosineAnnealingLR in a row: they compute each factor from the one before, so that rounding
# depends on the history.  Here it follows from the step alone, in a resumed training too.
def warmup_cosine(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Factor on the learning rate at `step` of `n_steps`: rises to 1 over the warm-up, then falls to 0."""
    n_warmup = max(1, round(warmup_fraction * n_steps))
    if step < n_warmup:
        return (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))
