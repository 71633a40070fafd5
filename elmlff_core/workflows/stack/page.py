"""Output files of a stack run: one page, figures, the errors as CSV, and diagnostics and results as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from elmlff_core.evaluation.diagnostics import Diagnostics
from elmlff_core.evaluation.equal_energies import equal_energies
from elmlff_core.evaluation.errors_in_detail import DetailedErrors
from elmlff_core.evaluation.model_errors import ModelErrors
from elmlff_core.evaluation.split_quality import SplitQuality
from elmlff_core.features.metrics import SPLIT_TITLES
from elmlff_core.files import write_json
from elmlff_core.report.error_tables import energy_stress_table, error_table
from elmlff_core.report.page import Block, Page, Picture, Section, Table, Text, write_page
from elmlff_core.report.provenance import provenance, versions
from elmlff_core.settings.run_folder import CONFIG_FILE, RunFolder
from elmlff_core.uncertainty.quality import UncertaintyQuality
from elmlff_core.workflows.stack.figures import (
    TestStructures,
    learning_blocks,
    parity_pictures,
    residual_picture,
)
from elmlff_core.workflows.stack.generations import generation_blocks
from elmlff_core.workflows.stack.results import StackResults, diagnostics_record, write_metrics

DIAGNOSTICS_FILE = "diagnostics.json"
REPORT_FILE = "report.html"
N_WORST_OF_OTHERS = 3
KINDS = {
    "committee": "the committee spread, how far the base models disagree on the force of an atom,",
    "learnt": "a standard deviation that the meta-model learned together with the forces,",
    "seeds": "the disagreement of the fits whose mean it is, with what they may have learnt of their errors,",
    "constant": "a constant for each element, because there is only one base model,",
}


def write_results(results: StackResults, run: RunFolder) -> None:
    """Write ``diagnostics.json``, ``report.html`` with its figures, ``metrics.csv`` and, at last, ``metrics.json``.

    Raises ElmlffError if a file cannot be written.
    """
    write_json(run.path / DIAGNOSTICS_FILE, diagnostics_record(results) | {"versions": versions()}, indent=1)
    settings = (run.path / CONFIG_FILE).read_text(encoding="utf-8")
    counts = results.prepared.counts
    subtitle = (
        f"{results.evaluation.features['train'].source}: {counts['train']} training, {counts['valid']} validation and "
        f"{counts['test']} test structures. Folder {run.path}."
    )
    write_page(stack_page(results, subtitle, settings), run.path / REPORT_FILE)
    write_metrics(results, run)


def stack_page(results: StackResults, subtitle: str, settings: str) -> Page:
    """Return the page of a stack run.

    Parameters
    ----------
    results : results of the run
    subtitle : subtitle of the page
    settings : settings of the run, as TOML
    """
    found, errors = results.diagnostics, results.evaluation.errors
    stack = results.evaluation.stack.name
    test = TestStructures(results.evaluation, results.prepared.splits.test_index)
    split = found.split.statement(found.split_method)
    opening = [Text(results.summary, key=True), *(Text(note) for note in results.notes)]
    sections = [
        Section("Summary", opening),
        Section("Errors", list(_error_blocks(errors))),
        Section("Parity", list(parity_pictures(test))),
        Section("Generations", list(generation_blocks(results.generations))),
        Section("Learning", list(learning_blocks(results.evaluation, results.learning_curves))),
        Section("Training and test errors", [_in_sample_table(found)]),
        Section("Test and training structures", [Text(split, key=found.split.is_bad), *_split_table(found.split)]),
        Section("Noise of the labels", _label_blocks(found)),
        Section("Errors in detail", list(_detail_blocks(found.errors, stack, test))),
        Section("Uncertainty", list(_uncertainty_blocks(results))),
        *provenance(settings),
    ]
    title = f"{stack} of {', '.join(results.evaluation.features['test'].models)}"
    return Page(title, subtitle, [section for section in sections if section.blocks])


def _error_blocks(errors: Sequence[ModelErrors]) -> Iterator[Block]:
    yield error_table(errors)
    if (table := energy_stress_table(errors)) is not None:
        yield table
    if note := equal_energies(errors):
        yield Text(note)


def _in_sample_table(found: Diagnostics) -> Table:
    body = [
        [gap.name, f"{gap.train:.4f}", f"{gap.test:.4f}", "" if gap.ratio is None else f"{gap.ratio:.2f}"]
        for gap in found.in_sample
    ]
    caption = (
        "RMSE per frame of each base model in eV/Å. The training error is that of the features from which the "
        "meta-model learned. If the ratio is far above 1, these features are much better than those on unseen "
        "structures."
    )
    return Table(("base model", "training", "test", "test / training"), body, caption)


def _split_table(split: SplitQuality) -> list[Block]:
    if not split.test_to_train:
        return []
    levels = list(split.test_to_train)
    named = {"test structure to nearest training structure": split.test_to_train}
    if split.train_to_train:
        named["training structure to nearest other training structure"] = split.train_to_train
    body = [[name, *(f"{quantiles[level]:.4f}" for level in levels)] for name, quantiles in named.items()]
    scales = {"consecutive training structures": split.consecutive, "random training structures": split.random_pairs}
    typical = [f"{name} {value:.4f} Å" for name, value in scales.items() if value is not None]
    caption = "Quantiles of the RMSD of positions in Å, after removing translation and, for free molecules, rotation."
    if typical:
        caption += f" Medians for comparison: {', '.join(typical)}."
    return [Table(["distance", *(f"{100 * float(level):.0f} %" for level in levels)], body, caption)]


def _label_blocks(found: Diagnostics) -> list[Block]:
    body = []
    for split, noise in found.labels.items():
        torque = "not applicable" if noise.net_torque is None else f"{noise.net_torque:.2g}"
        values = (noise.reference_force, noise.net_force, noise.error_floor)
        body.append([SPLIT_TITLES[split], str(noise.n_structures), *(f"{value:.2g}" for value in values), torque])
    head = ("structures", "number", "force", "net force", "lowest error", "net torque")
    caption = (
        "RMS of components: forces in eV/Å, torque about the centre in eV. The lowest error is that of any model whose "
        "forces sum to zero. Torques are those of free molecules only."
    )
    return [Table(head, body, caption)]


def _detail_blocks(errors: Sequence[DetailedErrors], stack: str, test: TestStructures) -> Iterator[Block]:
    from elmlff_core.report.plots import errors_by_force  # imports matplotlib, which takes time

    key_rows = [place for place, entry in enumerate(errors) if entry.name == stack]
    elements = sorted({symbol for entry in errors for symbol in entry.elements})
    body = [[entry.name, *(f"{entry.elements[symbol].rmse:.4f}" for symbol in elements)] for entry in errors]
    counts = [f"{symbol}\n{errors[0].elements[symbol].n_atoms:,} atoms" for symbol in elements]
    yield Table(["model", *counts], body, "RMSE of force components on test structures by element, eV/Å.", 1, key_rows)
    yield residual_picture(test)
    bins = errors[0].bins
    heads = [f"{force_bin.lower:.2f} – {force_bin.upper:.2f}\n{force_bin.error.n_atoms:,} atoms" for force_bin in bins]
    body = [[entry.name, *(f"{force_bin.error.rmse:.4f}" for force_bin in entry.bins)] for entry in errors]
    caption = "RMSE of force components on test structures by magnitude of the reference force, eV/Å."
    yield Table(["model", *heads], body, caption, 1, key_rows)
    caption = "Errors on test structures by magnitude of the reference force."
    yield Picture("errors_by_force", errors_by_force(errors, stack), caption)
    yield _worst_table(errors, stack)


def _worst_table(errors: Sequence[DetailedErrors], stack: str) -> Table:
    body = []
    for entry in sorted(errors, key=lambda entry: entry.name != stack):
        for frame in entry.worst[: None if entry.name == stack else N_WORST_OF_OTHERS]:
            atom = f"{frame.worst_atom} ({frame.worst_error:.3f})"
            body.append([entry.name, str(frame.index), frame.formula, f"{frame.rmse:.4f}", atom])
    source = errors[0].worst[0].source
    origin = f" of {source}" if source else ""
    caption = f"Structures{origin} with the largest errors, eV/Å. Structures and atoms are numbered from 0."
    return Table(("model", "structure", "formula", "RMSE", "worst atom (its error)"), body, caption)


def _uncertainty_blocks(results: StackResults) -> Iterator[Block]:
    from elmlff_core.report.plots import calibration  # imports matplotlib, which takes time

    if results.uncertainty is None:
        return
    yield Text(
        f"The standard deviation of each force is calculated from {KINDS[results.uncertainty.kind]} to the power of "
        f"{results.uncertainty.force.exponent:g}, with a factor for each element. Power and factors were calibrated on "
        f"{results.uncertainty.force.n_structures} validation structures; a power of 0 means that the raw uncertainty "
        "has no information about the error. Conformal intervals contain the stated fraction of the errors on average "
        "over new structures of the same distribution, not for each structure or atom, and not far from the data."
    )
    yield _quality_table(results.qualities)
    yield _coverage_table(results.qualities)
    for name, unit in (("forces", "eV/Å"), ("energies", "eV")):
        if name not in results.qualities:
            continue
        caption = f"Uncertainty of {name} on test structures."
        plot = calibration(results.qualities[name], unit)
        yield Picture(f"uncertainty_{name}", plot, caption)


def _quality_table(qualities: Mapping[str, UncertaintyQuality]) -> Table:
    body = []
    for name, quality in qualities.items():
        rank = "" if quality.spearman is None else f"{quality.spearman:.2f}"
        body.append([name, str(quality.n), rank, f"{quality.rms_predicted:.4g}", f"{quality.rms_observed:.4g}"])
    caption = (
        "Spearman's rank correlation of the predicted standard deviation and the absolute error; predicted and "
        "observed RMS error, forces in eV/Å, energies in eV."
    )
    return Table(("on test structures", "number", "rank correlation", "RMS predicted", "RMS observed"), body, caption)


def _coverage_table(qualities: Mapping[str, UncertaintyQuality]) -> Table:
    body = [
        [name, f"{100 * entry.stated:.0f} %", _percent(entry.conformal), _percent(entry.normal)]
        for name, quality in qualities.items()
        for entry in quality.coverage
    ]
    head = ("errors of", "stated", "inside conformal interval", "inside normal interval")
    return Table(
        head, body, "Coverage on test structures. The normal interval assumes that errors are normally distributed."
    )


def _percent(fraction: float | None) -> str:
    return "too few structures" if fraction is None else f"{100 * fraction:.1f} %"
