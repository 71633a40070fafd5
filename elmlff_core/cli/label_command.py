"""`elmlff label FRAMES --calculator module:callable`: energies and forces of structures by an ASE calculator."""

from __future__ import annotations

from pathlib import Path

import click

from elmlff_core.cli.options import options, placement_from, placement_options
from elmlff_core.errors import ConfigError

SOME_FAILED = 3  # exit code where some structures have no labels


@click.command("label")
@click.argument("frames", required=False, type=click.Path())
@click.option("--calculator", help="What returns a calculator of ASE: module:callable, such as tblite.ase:TBLite.")
@click.option(
    "--options", "assignments", multiple=True, metavar="KEY=VALUE",
    help="Argument of the callable, such as method=GFN2-xTB; several times for several.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("labelled.extxyz"), show_default=True,
    help="File; a name with another ending is a deepmd/npy folder.",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), help="Structures in each task.  [default: so that 64 tasks arise]")
@click.option("--retry-failed", is_flag=True, help="Try structures again that failed before.")
@click.option(
    "--write-inputs", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Only write the input files of the calculator, to run its program elsewhere.",
)  # fmt: skip
@click.option(
    "--read-results", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Read what a program has computed in the folders that --write-inputs wrote.",
)  # fmt: skip
@options(placement_options)
def command(
    frames: str | None, calculator: str | None, assignments: tuple[str, ...], output: Path, batch: int | None,
    retry_failed: bool, write_inputs: Path | None, read_results: Path | None, executor: str | None,
    workers: int | None,
) -> None:  # fmt: skip
    """Label the structures in FRAMES with energies, forces and stresses by any calculator of ASE.

    The callable is run here and by all workers.  Run the same command again to go on after an interruption: only the
    rest is computed.  Structures that fail are written to a file of their own with the reason, and the exit code is 3.
    """
    from elmlff_core.cli.console import ConsoleReporter
    from elmlff_core.data.readers import read_structures
    from elmlff_core.labelling import elsewhere
    from elmlff_core.labelling.labelling import label
    from elmlff_core.labelling.output import check_output, say_labelling, write_labelling
    from elmlff_core.labelling.settings import LabelSettings
    from elmlff_core.settings.reading import assigned

    reporter = ConsoleReporter()
    if read_results is not None:
        if frames or calculator or write_inputs:
            raise ConfigError("--read-results takes no FRAMES, --calculator or --write-inputs")
        check_output(output)
        found = elsewhere.read_results(read_results, reporter)
    else:
        if frames is None or calculator is None:
            raise ConfigError("give FRAMES and --calculator, or --read-results")
        settings = LabelSettings(calculator=calculator, options=assigned(assignments, "--options"))
        if write_inputs is not None:
            structures = read_structures(frames)
            elsewhere.write_inputs(structures, settings, write_inputs, reporter)
            reporter.say(f"inputs of {len(structures)} structures: {write_inputs}")
            return
        check_output(output)
        placement, folder = placement_from(executor, workers), output.with_name(f"{output.stem}-work")
        found = label(read_structures(frames), settings, folder, placement, batch, retry_failed, reporter)
    write_labelling(found, output)
    say_labelling(found, output, reporter)
    if found.failed:
        raise click.exceptions.Exit(SOME_FAILED)
