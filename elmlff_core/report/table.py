"""The results of a run: errors of bases, controls and stack on test, validation and training structures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from elmlff_core.features.features import Features
from elmlff_core.meta.energy import EnergyMix
from elmlff_core.prediction import Prediction
from elmlff_core.training.metrics import metrics

PARTS = ("test", "valid", "train")


@dataclass(frozen=True)
class Row:
    """Errors of one model.

    Attributes
    ----------
    name : of the base, control or stack
    kind : ``base``, ``control`` or ``stack``
    errors : part -> metric -> value; forces in eV/Å, energy in eV per atom
    """

    name: str
    kind: str
    errors: dict[str, dict[str, float]]

    @property
    def headline(self) -> float:
        """The paper's metric on test structures, eV/Å."""
        return self.errors["test"]["rmse_per_frame"]


def base_rows(parts: Mapping[str, Features]) -> list[Row]:
    """Each base alone, its energies aligned to the reference on training structures."""
    rows = []
    for name in parts["train"].models:
        alignment = EnergyMix.fit(parts["train"].of_models([name]))
        errors = {}
        for part, features in parts.items():
            alone = features.of_models([name])
            errors[part] = metrics(Prediction(alone.n_atoms, alone.forces[0], alignment.apply(alone)), alone)
        rows.append(Row(name, "base", errors))
    return rows


def row(name: str, kind: str, predictions: Mapping[str, Prediction], parts: Mapping[str, Features]) -> Row:
    """Errors of a prediction for each part."""
    return Row(name, kind, {part: metrics(predictions[part], features) for part, features in parts.items()})


def verdict(rows: Sequence[Row]) -> str:
    """One sentence: whether the stack beats the best base and the best control on test structures, and by how much."""
    stack = next(row for row in rows if row.kind == "stack")
    sentences = []
    for kind, title in (("base", "the best base"), ("control", "the best control")):
        rivals = [row for row in rows if row.kind == kind]
        if not rivals:
            continue
        best = min(rivals, key=lambda row: row.headline)
        change = 100 * (stack.headline / best.headline - 1)
        relation = f"{-change:.1f} % below" if change < 0 else f"{change:.1f} % above"
        sentences.append(f"{relation} {title} ({best.name}, {best.headline:.4f})")
    beats = all(row.headline > stack.headline for row in rows if row is not stack)
    opening = f"{stack.name}: test error {stack.headline:.4f} eV/Å, "
    return opening + " and ".join(sentences) + ("." if beats else ": the stack does not pay here.")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line per model and part."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "kind", "part", "metric", "value"))
        for entry in rows:
            for part, errors in entry.errors.items():
                for metric, value in errors.items():
                    writer.writerow((entry.name, entry.kind, part, metric, f"{value:.6g}"))


def as_records(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Plain data for JSON."""
    return [asdict(entry) for entry in rows]


def from_records(records: Sequence[Mapping[str, object]]) -> list[Row]:
    """The reverse of `as_records`."""
    return [Row(**record) for record in records]  # type: ignore[arg-type]
