"""`elmlff`: the group of commands, how errors end, and what all commands share.

Commands are imported when called: `elmlff --help` must not wait for torch.
"""

from __future__ import annotations

import importlib
import signal
import sys
import warnings

import click

from elmlff_core.errors import ElmlffError

# One module per command, its one-line help here so that listing imports none of them.
COMMANDS = {
    "init": "Write a commented elmlff.toml.",
    "stack": "Stack base models into one force field: train, predict, fit, evaluate.",
    "sweep": "Find out what every subset of the base models is worth.",
    "ablate": "Find out what the parts of the paper's network are worth.",
    "reproduce": "Redo the paper's study of methane or methanol on Cu(100).",
    "train": "Train one base model.",
    "evaluate": "Errors of a stack on labelled structures.",
    "predict": "Forces and energies of structures by a stack.",
    "trust": "Allow the base models of a stack to run their code on this machine.",
    "data": "List published datasets and get them.",
    "models": "List named models and presets, and whether they are trained.",
    "plugins": "List adapters and meta-models, and whether they work here.",
    "doctor": "Say what is wrong with this installation.",
    "new-adapter": "Write the package of a new adapter, to be filled in.",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is called."""

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
    """Run the command line: errors in one line and exit code 1, tracebacks with ``--debug``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if not debug:  # advice to the authors of libraries and backends is no news to their users
        warnings.filterwarnings("ignore", module=r"(?!elmlff_|__main__$)")
    signal.signal(signal.SIGTERM, _terminate)
    # Anywhere on the line, as users type it.
    arguments = ["--debug"] * debug + [argument for argument in arguments if argument != "--debug"]
    try:
        # click returns the code of a command that raised Exit, and else what the command returned: None.
        if code := cli.main(args=arguments, prog_name="elmlff", standalone_mode=False):
            sys.exit(code)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:  # click turns the one into the other
        if debug:
            raise
        if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
            _fail("ended by SIGTERM, as a queue does at its time limit; the same command resumes", 128 + signal.SIGTERM)
        _fail("interrupted; the same command resumes", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help itself, in lines
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if debug:
            raise
        _fail(error.format_message())
    except ElmlffError as error:
        if debug:
            raise
        _fail(str(error))
    except Exception as error:  # a full disk, or a fault of elmlff or a backend: one line all the same
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; the same command with --debug shows where")


def _fail(message: str, code: int = 1) -> None:
    click.echo(f"elmlff: {' '.join(message.split())}", err=True)
    sys.exit(code)
