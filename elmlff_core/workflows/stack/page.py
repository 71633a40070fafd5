"""The page of a stack run: the summary, errors, and everything that says how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from elmlff_core.evaluation.baselines import BASELINES
from elmlff_core.evaluation.diagnostics import Diagnostics
from elmlff_core.evaluation.errors_in_detail import DetailedErrors
from elmlff_core.evaluation.evaluation import Evaluation
from elmlff_core.evaluation.model_errors import SHOWN_SPLITS, ModelErrors
from elmlff_core.evaluation.split_quality import SplitQuality
from elmlff_core.evaluation.summary import with_seed_std
from elmlff_core.features.metrics import SPLIT_TITLES
from elmlff_core.files import write_json
from elmlff_core.report.page import Block, Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance, versions
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.uncertainty.quality import UncertaintyQuality
from elmlff_core.workflows.stack.results import StackResults, diagnostics_record

DIAGNOSTICS_FILE = "diagnostics.json"
REPORT_FILE = "report.html"
PICTURES = {
    "parity.png": "Predicted against reference force components on test structures, and errors.",
    "learning_curve.png": "Training of the run's stack.",
}
N_WORST_OF_OTHERS = 3
METRICS = {"rmse_per_frame": "RMSE per frame", "rmse": "RMSE", "mae": "MAE"}
KINDS = {
    "committee": "how far the base models disagree on an atom's force",
    "learnt": "a standard deviation that the meta-model learnt with the forces",
    "constant": "a constant for each element, as there is only one base model",
}


def write_report(results: StackResults, run: RunFolder) -> None:
    """Write the pictures, ``diagnostics.json`` and ``report.html``; ElmlffError where they cannot be written."""
    draw(results.evaluation, run)
    write_json(run.path / DIAGNOSTICS_FILE, diagnostics_record(results) | {"versions": versions()}, indent=1)
    drawn = {caption: run.path / name for name, caption in PICTURES.items() if (run.path / name).exists()}
    pictures = {caption: path.read_bytes() for caption, path in drawn.items()}
    settings = (run.path / CONFIG_FILE).read_text(encoding="utf-8")
    counts = results.prepared.counts
    subtitle = (
        f"{results.evaluation.features['train'].source}: {counts['train']} training, {counts['valid']} validation and "
        f"{counts['test']} test structures. Folder {run.path}."
    )
    write_page(stack_page(results, subtitle, pictures, settings), run.path / REPORT_FILE)


def draw(evaluation: Evaluation, run: RunFolder) -> None:
    """Parity of forces on test structures, and the learning curve of the run's stack."""
    from elmlff_core.report.plots import learning_curve, parity  # matplotlib, which no other command needs

    errors, test = evaluation.errors, evaluation.features["test"]
    best = min((row for row in errors if row.kind == "base model"), key=lambda row: row.headline)
    others = [row for row in errors if row.kind == "stack" and not row.chosen]
    linear = [row for row in errors if row.name == BASELINES["linear"]]
    shown = [best, *linear, *others, evaluation.stack]
    panels = {row.name: evaluation.predictions[row.name]["test"].forces for row in shown}
    parity(test.reference_forces, panels, test.n_atoms, run.path / "parity.png")
    if (curve := evaluation.chosen.learning_curve) is not None:
        levels = {row.name: row.errors["valid"]["rmse_per_frame"] for row in (best, *linear)}
        learning_curve(curve, levels, run.path / "learning_curve.png")


def stack_page(results: StackResults, subtitle: str, pictures: Mapping[str, bytes], settings: str) -> Page:
    """The page of a stack run.

    Parameters
    ----------
    results : of the run
    subtitle : of the page
    pictures : caption -> PNG, of parity and learning curve
    settings : of the run, as TOML
    """
    found, errors = results.diagnostics, results.evaluation.errors
    stack = results.evaluation.stack.name
    split = found.split.statement(found.split_method)
    opening = [Text(results.summary, key=True), *(Text(note) for note in results.notes)]
    sections = [
        Section("Summary", opening),
        Section("Errors", [error_table(errors), *_energy_table(errors)]),
        Section("Pictures", [Picture(png, caption, caption) for caption, png in pictures.items()]),
        Section("Training against test", [_in_sample_table(found)]),
        Section("Test against training structures", [Text(split, key=found.split.is_bad), *_split_table(found.split)]),
        Section("Noise of the labels", _label_blocks(found)),
        Section("Where the errors are", list(_detail_blocks(found.errors, stack))),
        Section("Uncertainty", list(_uncertainty_blocks(results))),
        *provenance(settings),
    ]
    title = f"{stack} of {', '.join(results.evaluation.features['test'].models)}"
    return Page(title, subtitle, [section for section in sections if section.blocks])


def error_table(rows: Sequence[ModelErrors]) -> Table:
    """Force errors of every model: all metrics on test structures, the paper's on the other splits.

    Where a meta-model was fitted with several seeds, the mean and the standard deviation over them.
    """
    others = [split for split in SHOWN_SPLITS[1:] if all(split in row.errors for row in rows)]
    columns = [(SHOWN_SPLITS[0], metric) for metric in METRICS] + [(split, "rmse_per_frame") for split in others]
    head = ["model", "kind", *(f"{SPLIT_TITLES[split]}\n{METRICS[metric]}" for split, metric in columns)]
    timed = any(row.seconds is not None for row in rows)
    if timed:
        head += ["minutes", "parameters"]
    body = []
    for row in rows:
        cells = [row.name, row.kind, *(with_seed_std(row, split, metric) for split, metric in columns)]
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


def _energy_table(rows: Sequence[ModelErrors]) -> list[Block]:
    metric = "energy_rmse_per_atom"
    with_energy = [row for row in rows if metric in row.errors["test"]]
    if not with_energy:
        return []
    parts = [split for split in SHOWN_SPLITS if all(metric in row.errors.get(split, {}) for row in with_energy)]
    body = [[row.name, *(f"{1000 * row.errors[split][metric]:.3f}" for split in parts)] for row in with_energy]
    head = ["model", *(SPLIT_TITLES[split] for split in parts)]
    return [Table(head, body, "RMSE of energies in meV per atom, of base models after alignment to the reference.")]


def _in_sample_table(found: Diagnostics) -> Table:
    body = [
        [gap.name, f"{gap.train:.4f}", f"{gap.test:.4f}", "" if gap.ratio is None else f"{gap.ratio:.2f}"]
        for gap in found.in_sample
    ]
    caption = (
        "RMSE per frame of each base model in eV/Å, on training structures as the meta-model saw its predictions. "
        "Far above 1, the meta-model learnt from better features than it meets."
    )
    return Table(("base model", "training", "test", "test / training"), body, caption)


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
    for split, noise in found.labels.items():
        torque = "not applicable" if noise.net_torque is None else f"{noise.net_torque:.2g}"
        values = (noise.reference_force, noise.net_force, noise.error_floor)
        body.append([SPLIT_TITLES[split], str(noise.n_structures), *(f"{value:.2g}" for value in values), torque])
    head = ("structures", "number", "force", "net force", "least error", "net torque")
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
    heads = [f"{force_bin.lower:.2f} – {force_bin.upper:.2f}\n{force_bin.error.n_atoms:,} atoms" for force_bin in bins]
    body = [[entry.name, *(f"{force_bin.error.rmse:.4f}" for force_bin in entry.bins)] for entry in errors]
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


def _uncertainty_blocks(results: StackResults) -> Iterator[Block]:
    from elmlff_core.report.plots import as_png, calibration  # matplotlib, which no other command needs

    if results.uncertainty is None:
        return
    yield Text(
        f"The standard deviation of each force comes from {KINDS[results.uncertainty.kind]}, to the power of "
        f"{results.uncertainty.force.exponent:g} and scaled by element on {results.uncertainty.force.n_structures} "
        "validation structures (power 1: proportional; 0: it tells nothing). Conformal intervals hold the stated split "
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


def _percent(share: float | None) -> str:
    return "too few structures" if share is None else f"{100 * share:.1f} %"
