"""The learning-rate schedule of the paper (Eq. 8): linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math


# LinearLR and CosineAnnealingLR of torch are not used: they compute each factor from the previous one, so rounding
# depends on the history.  Here it depends only on the step, also in a resumed training.
def warmup_cosine(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the factor on the learning rate at `step` of `n_steps`: it rises to 1 in the warm-up, then falls to 0."""
    n_warmup = max(1, round(warmup_fraction * n_steps))
    if step < n_warmup:
        return (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))
