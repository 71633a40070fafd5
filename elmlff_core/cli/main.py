"""`elmlff`: the group of commands, and how errors are reported.

A command is imported when it is called, so that `elmlff --help` does not wait for torch.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence

import click

from elmlff_core.errors import ElmlffError

# One module per command.  The one-line helps are here, so that listing the commands imports none of them.
COMMANDS = {
    "init": "Write a commented elmlff.toml.",
    "stack": "Stack base models into one force field: train, predict, fit, evaluate.",
    "plan": "Show what a stack would train, predict and fit, and how long it takes.",
    "sweep": "Compare all subsets of the base models.",
    "ablate": "Compare the paper's network with versions that lack residuals or layers.",
    "reproduce": "Repeat the paper's study of methane or methanol on Cu(100).",
    "train": "Train one base model.",
    "evaluate": "Compute the errors of a stack on labelled structures.",
    "predict": "Predict forces and energies of structures with a stack.",
    "distill": "Train one fast model on what a stack predicts.",
    "md": "Run molecular dynamics with a stack.",
    "relax": "Relax a structure with a stack.",
    "compile": "Compile the network of a stack for this machine: small structures are faster.",
    "lammps": "Run an input file of LAMMPS with a stack.",
    "serve": "Give forces to i-PI with a stack.",
    "select": "Choose which structures of trajectories to label next.",
    "label": "Label structures by any ASE calculator.",
    "cite": "Print what to cite for a stack, and a paragraph for the methods section.",
    "trust": "Allow the base models of a stack to run their code on this machine.",
    "data": "List and download published datasets.",
    "models": "List named models and presets, and whether they are trained.",
    "env": "Make the environments in which universal force fields run.",
    "plugins": "List adapters and meta-models, and whether they can be used.",
    "schema": "Print the JSON schema of elmlff.toml, for editors.",
    "doctor": "Check this installation for problems.",
    "new-adapter": "Write a template package for a new adapter.",
}

AGAIN = "run the same command again"
# How to go on after an interruption or a full disk, where the same command is not all that there is to say.
RESUMED = (
    "stack", "sweep", "ablate", "reproduce", "train", "evaluate", "predict", "distill", "md", "select", "label", "data",
)  # fmt: skip
GOING_ON = {
    **dict.fromkeys(RESUMED, f"{AGAIN} to resume"),
    "relax": f"{AGAIN}: it starts from --structure, which may be the last frame of a --trajectory",
    "lammps": (
        "let the input read a restart file of LAMMPS (its commands restart and read_restart): the same command starts "
        "from the beginning. What was written up to now stays"
    ),
    "serve": f"{AGAIN}: an i-PI that still runs waits for it",
}


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"elmlff_core.cli.{cmd_name.replace('-', '_')}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from elmlff_core.errors import did_you_mean

            raise click.ClickException(f"no command is called '{args[0]}'{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="elmlff")
def cli(debug: bool) -> None:
    """Stack several machine-learned force fields into one better one."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is under way ends as by Ctrl-C, so that it can be resumed."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one line and exit code 1, with ``--debug`` a traceback.

    Of several processes that torchrun or srun has started, the first one does; the others take part in its trainings.
    """
    from elmlff_core.execution.launch import take

    if (launch := take()) is None:
        _run(arguments)
        return
    from elmlff_core.meta.training.launched import met, take_part  # imports torch

    if launch.rank:
        take_part(launch)
        return
    with met(launch):
        _run(arguments)


def _run(arguments: list[str] | None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if not debug:  # these warnings are for the authors of libraries and backends, not for users
        warnings.filterwarnings("ignore", module=r"(?!elmlff_|__main__$)")
        warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)
    # Users type --debug anywhere on the line.
    arguments = ["--debug"] * debug + [argument for argument in arguments if argument != "--debug"]
    try:
        # click returns the exit code of a command that raised Exit, and otherwise the command's return value, None.
        if code := cli.main(args=arguments, prog_name="elmlff", standalone_mode=False):
            sys.exit(code)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:  # click turns the one into the other
        if debug:
            raise
        if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
            _fail(f"ended by SIGTERM; {_going_on(arguments)}", 128 + signal.SIGTERM)
        _fail(f"interrupted; {_going_on(arguments)}", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # prints the help with its line breaks
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if debug:
            raise
        _fail(error.format_message())
    except ElmlffError as error:
        if debug:
            raise
        _fail(str(error))
    except UnicodeEncodeError as error:  # Python keeps such bytes of an argument as characters that no file can hold
        if debug:
            raise
        _fail(f"{error.object!a} has bytes that are not text in UTF-8: write it with other characters")
    except OSError as error:
        if debug:
            raise
        _fail(_refused_by_the_system(error, arguments))
    except Exception as error:  # a bug in elmlff or a backend: still one line
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; run the command with --debug to see where")


def _going_on(arguments: Sequence[str]) -> str:
    """Return how to go on after the command in `arguments` was interrupted; before its name there are only flags."""
    return GOING_ON.get(next((word for word in arguments if not word.startswith("-")), ""), AGAIN)


def _refused_by_the_system(error: OSError, arguments: Sequence[str]) -> str:
    """Return the message for an error of the system, such as a full disk."""
    what = error.strerror or str(error)
    if error.filename is not None:
        what = f"cannot use {os.fsdecode(error.filename)}: {what}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{what}; make space, and {_going_on(arguments)}"
    return f"{what}; check its name, its permissions and the space on the disk (--debug shows where)"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"note: {message}", err=True)


def _fail(message: str, code: int = 1) -> None:
    click.echo(f"elmlff: {' '.join(message.split())}", err=True)
    sys.exit(code)
