"""Results of an ablation: errors of each variant over seeds, as plain data and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from elmlff_core.evaluation.model_errors import SHOWN_SPLITS
from elmlff_core.fits.tasks import FitResult
from elmlff_core.workflows.ablation.variants import Variant

FORMAT_VERSION = 1


@dataclass(frozen=True)
class VariantErrors:
    """Errors of one variant.

    Attributes
    ----------
    name, title : name and title of the variant
    errors : split -> force RMSE per frame (Eq. 7), eV/Å, the mean over seeds
    seed_std : split -> standard deviation over seeds (n - 1), eV/Å, None for one seed
    per_seed : split -> the error for each seed, eV/Å
    n_parameters : number of trainable parameters
    seconds : time of one fit, the mean over seeds
    """

    name: str
    title: str
    errors: dict[str, float]
    seed_std: dict[str, float | None]
    per_seed: dict[str, list[float]]
    n_parameters: int | None
    seconds: float

    @classmethod
    def of(cls, variant: Variant, results: Sequence[FitResult]) -> VariantErrors:
        """Compute the errors from the results for all seeds."""
        per_seed = {split: [result.errors[split] for result in results] for split in SHOWN_SPLITS}
        several = len(results) > 1
        return cls(
            variant.name,
            variant.title,
            {split: float(np.mean(values)) for split, values in per_seed.items()},
            {split: float(np.std(values, ddof=1)) if several else None for split, values in per_seed.items()},
            per_seed,
            results[0].n_parameters,
            float(np.mean([result.seconds for result in results])),
        )

    def shown(self, split: str) -> str:
        """Format an error with its standard deviation over seeds."""
        std = self.seed_std[split]
        return f"{self.errors[split]:.4f}" + ("" if std is None else f" ±{std:.4f}")


@dataclass(frozen=True)
class Ablation:
    """Results of an ablation.

    Attributes
    ----------
    base_models : names of the base models
    variants : errors of the variants, the whole network first
    notes : notes for the reader
    """

    base_models: tuple[str, ...]
    variants: list[VariantErrors]
    notes: list[str] = field(default_factory=list)

    @property
    def n_seeds(self) -> int:
        """Number of seeds of each variant."""
        return len(self.variants[0].per_seed["test"])

    @property
    def summary(self) -> str:
        """The variant with the lowest validation error, compared with the whole network."""
        full, best = self.variants[0], min(self.variants, key=lambda variant: variant.errors["valid"])
        if best is full:
            return f"The whole network is best on validation: {full.shown('valid')} eV/Å (test {full.shown('test')})."
        text = (
            f"'{best.title}' is best on validation: {best.shown('valid')} eV/Å (test {best.shown('test')}); "
            f"the whole network has {full.shown('valid')} (test {full.shown('test')})"
        )
        std = max(full.seed_std["valid"] or 0.0, best.seed_std["valid"] or 0.0)
        within = full.errors["valid"] - best.errors["valid"] <= std
        return text + (", a difference not larger than the standard deviation over seeds." if within else ".")

    def as_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "units": "eV/Å, RMSE per frame",
            "base_models": list(self.base_models),
            "summary": self.summary,
            "notes": list(self.notes),
            "variants": [asdict(variant) for variant in self.variants],
        }
