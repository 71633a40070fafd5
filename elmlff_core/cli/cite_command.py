"""`elmlff cite RUN`: what to cite for a stack, and a paragraph for the methods section."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("cite")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--bibtex", is_flag=True, help="Print the references alone: elmlff cite RUN --bibtex > references.bib")
def command(run: Path, bibtex: bool) -> None:
    """Print a paragraph on the stack in RUN, in LaTeX, and the papers of the method and its base models as BibTeX."""
    from elmlff_core.report.citation import cite

    found = cite(run)
    if not bibtex:
        click.echo(f"{found.methods}\n")
    click.echo(found.bibtex, nl=False)
    if found.missing:
        click.echo(
            f"note: no references are known for {', '.join(found.missing)}: add those of the model and of its package",
            err=True,
        )
