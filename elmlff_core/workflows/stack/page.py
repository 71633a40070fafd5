"""The page of a stack run: verdict, errors, and everything that says how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from elmlff_core.evaluation.diagnostics import Diagnostics
from elmlff_core.evaluation.errors_in_detail import DetailedErrors
from elmlff_core.evaluation.model_errors import PARTS, Row
from elmlff_core.evaluation.split_quality import SplitQuality
from elmlff_core.evaluation.summary import with_spread
from elmlff_core.report.page import Block, Listing, Page, Picture, Section, Table, Text
from elmlff_core.uncertainty.quality import UncertaintyQuality
from elmlff_core.uncertainty.uncertainty import Uncertainty

N_WORST_OF_OTHERS = 3
METRICS = {"rmse_per_frame": "RMSE per frame", "rmse": "RMSE", "mae": "MAE"}
PART_TITLES = {"test": "test", "valid": "validation", "train": "training"}
KINDS = {
    "committee": "how far the bases disagree on an atom's force",
    "learnt": "a standard deviation that the meta-model learnt with the forces",
    "constant": "a constant for each element, as there is only one base",
}


@dataclass(frozen=True)
class RunResults:
    """What the page of a run is made of.

    Attributes
    ----------
    title, subtitle : of the page
    verdict : whether the stack pays
    notes : what a reader should know of the table
    rows : errors of bases, controls and stacks
    diagnostics : what the table does not say
    pictures : caption -> PNG, of parity and learning curve
    uncertainty : of the run's stack, or None
    qualities : ``forces`` and ``energies`` -> how good it is on test structures
    settings : as TOML
    versions : package -> version
    """

    title: str
    subtitle: str
    verdict: str
    notes: Sequence[str]
    rows: Sequence[Row]
    diagnostics: Diagnostics
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    qualities: Mapping[str, UncertaintyQuality] = field(default_factory=dict)
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def run_page(results: RunResults) -> Page:
    """The page of a stack run."""
    found, stack = results.diagnostics, _stack_name(results.rows)
    split = found.split.statement(found.split_method)
    opening = [Text(results.verdict, key=True), *(Text(note) for note in results.notes)]
    sections = [
        Section("Verdict", opening),
        Section("Errors", [error_table(results.rows), *_energy_table(results.rows)]),
        Section("Pictures", [Picture(png, caption, caption) for caption, png in results.pictures.items()]),
        Section("Training against test", [_in_sample_table(found)]),
        Section("Test against training structures", [Text(split, key=found.split.is_bad), *_split_table(found.split)]),
        Section("Noise of the labels", _label_blocks(found)),
        Section("Where the errors are", list(_detail_blocks(found.errors, stack))),
        Section("Uncertainty", list(_uncertainty_blocks(results))),
        Section("Settings", [Listing(results.settings)]),
        Section("Versions", [Table(("package", "version"), list(results.versions.items()), text_columns=2)]),
    ]
    return Page(results.title, results.subtitle, [section for section in sections if section.blocks])


def error_table(rows: Sequence[Row]) -> Table:
    """Force errors of every row: all metrics on test structures, the paper's on the other parts.

    Where a meta-model was fitted with several seeds, the mean and the spread over them.
    """
    others = [part for part in PARTS[1:] if all(part in row.errors for row in rows)]
    columns = [(PARTS[0], metric) for metric in METRICS] + [(part, "rmse_per_frame") for part in others]
    head = ["model", "kind", *(f"{PART_TITLES[part]}\n{METRICS[metric]}" for part, metric in columns)]
    timed = any(row.seconds is not None for row in rows)
    if timed:
        head += ["minutes", "parameters"]
    body = []
    for row in rows:
        cells = [row.name, row.kind, *(with_spread(row, part, metric) for part, metric in columns)]
        if timed:
            cells.append("" if row.seconds is None else f"{row.seconds / 60:.1f}")
            cells.append("" if row.n_parameters is None else f"{row.n_parameters:,}")
        body.append(cells)
    caption = "Force errors in eV/Å. Per frame: the RMSE of each structure, averaged over structures."
    n_seeds = max((len(row.per_seed) for row in rows), default=0)
    if n_seeds > 1:
        caption += f" ± is the standard deviation over {n_seeds} seeds."
    chosen = [place for place, row in enumerate(rows) if row.chosen]
    return Table(head, body, caption, text_columns=2, key_rows=chosen)


def _energy_table(rows: Sequence[Row]) -> list[Block]:
    metric = "energy_rmse_per_atom"
    with_energy = [row for row in rows if metric in row.errors["test"]]
    if not with_energy:
        return []
    parts = [part for part in PARTS if all(metric in row.errors.get(part, {}) for row in with_energy)]
    body = [[row.name, *(f"{1000 * row.errors[part][metric]:.3f}" for part in parts)] for row in with_energy]
    head = ["model", *(PART_TITLES[part] for part in parts)]
    return [Table(head, body, "RMSE of energies in meV per atom, of bases after alignment to the reference.")]


def _in_sample_table(found: Diagnostics) -> Table:
    body = [
        [gap.name, f"{gap.train:.4f}", f"{gap.test:.4f}", "" if gap.ratio is None else f"{gap.ratio:.2f}"]
        for gap in found.in_sample
    ]
    caption = (
        "RMSE per frame of each base in eV/Å, on training structures as the meta-model saw its predictions. Far above "
        "1, the meta-model learnt from better features than it meets."
    )
    return Table(("base", "training", "test", "test / training"), body, caption)


def _split_table(split: SplitQuality) -> list[Block]:
    if not split.test_to_train:
        return []
    levels = list(split.test_to_train)
    named = {"test structure to nearest training structure": split.test_to_train}
    if split.train_to_train:
        named["training structure to nearest other"] = split.train_to_train
    body = [[name, *(f"{quantiles[level]:.4f}" for level in levels)] for name, quantiles in named.items()]
    scales = {"consecutive training structures": split.consecutive, "random training structures": split.random_pairs}
    typical = [f"{name} {value:.4f} Å" for name, value in scales.items() if value is not None]
    caption = "RMSD of positions in Å, without translation (and rotation, of free molecules): quantiles."
    if typical:
        caption += f" For comparison, medians: {', '.join(typical)}."
    return [Table(["distance", *(f"{100 * float(level):.0f} %" for level in levels)], body, caption)]


def _label_blocks(found: Diagnostics) -> list[Block]:
    body = []
    for part, noise in found.labels.items():
        torque = "not applicable" if noise.net_torque is None else f"{noise.net_torque:.2g}"
        values = (noise.reference_force, noise.net_force, noise.error_floor)
        body.append([PART_TITLES[part], str(noise.n_structures), *(f"{value:.2g}" for value in values), torque])
    head = ("part", "structures", "force", "net force", "least error", "net torque")
    caption = (
        "RMS of components: forces in eV/Å, torque about the centre in eV. Least error: of any model whose forces sum "
        "to zero. Torque: of free molecules alone."
    )
    return [Table(head, body, caption)]


def _detail_blocks(errors: Sequence[DetailedErrors], stack: str) -> Iterator[Block]:
    from elmlff_core.report.plots import as_png, errors_by_force  # matplotlib, which no other command needs

    key_rows = [place for place, entry in enumerate(errors) if entry.name == stack]
    elements = sorted({symbol for entry in errors for symbol in entry.elements})
    body = [[entry.name, *(f"{entry.elements[symbol].rmse:.4f}" for symbol in elements)] for entry in errors]
    counts = [f"{symbol}\n{errors[0].elements[symbol].n_atoms:,} atoms" for symbol in elements]
    yield Table(["model", *counts], body, "RMSE of force components on test structures by element, eV/Å.", 1, key_rows)
    bins = errors[0].bins
    heads = [f"{part.lower:.2f} – {part.upper:.2f}\n{part.error.n_atoms:,} atoms" for part in bins]
    body = [[entry.name, *(f"{part.error.rmse:.4f}" for part in entry.bins)] for entry in errors]
    caption = "The same by magnitude of the reference force in eV/Å."
    yield Table(["model", *heads], body, caption, 1, key_rows)
    caption = "Errors by magnitude of the reference force, test structures."
    yield Picture(as_png(errors_by_force(errors, stack)), caption, caption)
    yield _worst_table(errors, stack)


def _worst_table(errors: Sequence[DetailedErrors], stack: str) -> Table:
    body = []
    for entry in sorted(errors, key=lambda entry: entry.name != stack):
        for frame in entry.worst[: None if entry.name == stack else N_WORST_OF_OTHERS]:
            atom = f"{frame.worst_atom} ({frame.worst_error:.3f})"
            body.append([entry.name, str(frame.index), frame.formula, f"{frame.rmse:.4f}", atom])
    source = errors[0].worst[0].source
    caption = f"Structures{f' of {source}' if source else ''} with the largest errors, eV/Å; numbers count from 0."
    return Table(("model", "structure", "formula", "RMSE", "worst atom (its error)"), body, caption)


def _uncertainty_blocks(results: RunResults) -> Iterator[Block]:
    from elmlff_core.report.plots import as_png, calibration  # matplotlib, which no other command needs

    if results.uncertainty is None:
        return
    yield Text(
        f"The standard deviation of each force comes from {KINDS[results.uncertainty.kind]}, to the power of "
        f"{results.uncertainty.force.exponent:g} and scaled by element on {results.uncertainty.force.n_structures} "
        "validation structures (power 1: proportional; 0: it tells nothing). Conformal intervals hold the stated part "
        "of the errors on average over new structures of the same distribution as these, not for each structure or "
        "atom, and not far from the data."
    )
    yield _quality_table(results.qualities)
    yield _coverage_table(results.qualities)
    for name, quality in results.qualities.items():
        caption = f"Uncertainty of {name} on test structures."
        yield Picture(as_png(calibration(quality, "eV/Å" if name == "forces" else "eV")), caption, caption)


def _quality_table(qualities: Mapping[str, UncertaintyQuality]) -> Table:
    body = []
    for name, quality in qualities.items():
        rank = "" if quality.spearman is None else f"{quality.spearman:.2f}"
        body.append([name, str(quality.n), rank, f"{quality.rms_predicted:.4g}", f"{quality.rms_observed:.4g}"])
    caption = (
        "Spearman's rank correlation of predicted standard deviation and size of the error; predicted and found RMS, "
        "forces in eV/Å, energies in eV."
    )
    return Table(("on test structures", "number", "rank correlation", "RMS predicted", "RMS observed"), body, caption)


def _coverage_table(qualities: Mapping[str, UncertaintyQuality]) -> Table:
    body = [
        [name, f"{100 * entry.stated:.0f} %", _percent(entry.conformal), _percent(entry.normal)]
        for name, quality in qualities.items()
        for entry in quality.coverage
    ]
    head = ("errors of", "stated", "inside conformal interval", "inside normal interval")
    return Table(head, body, "Coverage on test structures. Normal: as if errors followed a normal distribution.")


def _percent(part: float | None) -> str:
    return "too few structures" if part is None else f"{100 * part:.1f} %"


def _stack_name(rows: Sequence[Row]) -> str:
    return next((row.name for row in rows if row.chosen), "")
