"""Generations: what a run keeps for a later one, and the errors of the runs that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from elmlff_core.data.earlier import SPLITS_FILE, EarlierSplits
from elmlff_core.evaluation.evaluation import Evaluation
from elmlff_core.evaluation.generations import Generation
from elmlff_core.files import read_record, sha256_of, write_record
from elmlff_core.report.page import Block, Picture, Table
from elmlff_core.settings.config import Config
from elmlff_core.settings.inheritance import REMEDY, given_settings
from elmlff_core.settings.run_folder import GENERATION_FILE, METRICS_FILE, RunFolder
from elmlff_core.workflows.inputs import Inputs
from elmlff_core.workflows.stack.results import Metrics


def keep_for_later(config: Config, inputs: Inputs, run: RunFolder) -> None:
    """Write what a later generation needs to the folder of a run, unless it is there.

    Parameters
    ----------
    config : the settings as they were given
    inputs : inputs of the run
    run : its folder
    """
    path = run.path / GENERATION_FILE
    if path.exists():
        return
    splits = inputs.splits
    structures = (splits.train.structures, splits.valid.structures, splits.test.structures)
    EarlierSplits.of(*structures).save(run.path / SPLITS_FILE)
    named = config.model_copy(update={"base_models": inputs.config.base_models})
    record = {"settings": given_settings(named), "splits_sha256": sha256_of(run.path / SPLITS_FILE)}
    write_record(path, record, indent=1)


def generations_until(inputs: Inputs, evaluation: Evaluation, run: RunFolder) -> tuple[list[Generation], list[str]]:
    """Return this run behind those that it goes on from, and a note if their errors cannot be compared with its own.

    Without an earlier run there is this one alone.
    """
    splits = inputs.splits
    own = Generation.of(run.path, len(splits.train_index), len(splits.valid_index), evaluation.errors)
    if (name := inputs.config.data.earlier_run) is None:
        return [own], []
    folder = Path(name).expanduser()
    if not EarlierSplits.load(folder).same_test(splits.test.structures):
        return [own], [
            f"the test structures are not those of {folder}, so that errors cannot be compared: the table of "
            "generations begins with this run"
        ]
    return [*generations_in(folder), own], []


def generations_in(folder: Path) -> list[Generation]:
    """Return the generations that end with the finished run in `folder`; ElmlffError if it cannot be read."""
    found = read_record(folder / METRICS_FILE, Metrics, REMEDY)
    if known := found.get("generations"):
        return known
    n_train, n_valid = (len(found["splits"][split]) for split in ("train", "valid"))
    return [Generation.of(folder, n_train, n_valid, found["errors"])]  # of an earlier elmlff


def generation_table(generations: Sequence[Generation]) -> Table:
    """Return a table with a row for each generation."""
    names = list(dict.fromkeys(name for one in generations for name in one.base_models))
    head = ("run", "stack", "training\nstructures", *names, "linear\ncombination", "stack")
    body = []
    for one in generations:
        errors = (*(one.base_models.get(name) for name in names), one.linear, one.stack)
        cells = ("–" if error is None else f"{error:.4f}" for error in errors)
        body.append([one.run, one.title, str(one.n_train), *cells])
    caption = "RMSE per frame of forces on the test structures, which are the same for all generations, in eV/Å."
    return Table(head, body, caption, text_columns=2, key_rows=[len(body) - 1])


def generation_blocks(generations: Sequence[Generation]) -> Iterator[Block]:
    """Yield the table and a plot, if there are several generations."""
    if len(generations) < 2:
        return
    from elmlff_core.report.plots import generations_plot  # imports matplotlib, which takes time

    yield generation_table(generations)
    caption = "Force errors on test structures over the generations of the stack."
    yield Picture("generations", generations_plot(generations), caption)
