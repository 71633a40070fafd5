"""`elmlff trust FOLDER`: allow what the base models of a stack run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("trust")
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Allow the base models of the stack in FOLDER to run their code on this machine, from now on.

    The permission is for the adapter, options, interpreter and the bytes of the checkpoint of each base model: if one
    of them changes, the stack is refused again.  The command prints what each base model runs.
    """
    from elmlff_core.base_models.trust import allow, code_of, store_path
    from elmlff_core.stack.stack import load_stack

    stack = load_stack(folder, trust=True)  # loads only the meta-model, no base model
    for model in stack.base_models:
        click.echo(f"{model.name}: adapter {model.plugin.name}, {' and '.join(code_of(model)) or 'runs no code'}")
    allow(stack.base_models)
    click.echo(f"allowed from now on, in {store_path()}")
