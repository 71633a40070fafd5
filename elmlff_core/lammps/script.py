"""Input files of LAMMPS, executed command by command.

LAMMPS can execute a file by itself, but then nothing can be done between two commands.  The stack must be coupled
after the box has been made and before the first fix, again after ``clear``, and nothing may be executed after an
error.  So the commands that choose what comes next (``include``, ``jump``, ``label``, ``next``, ``if``, ``quit``) are
followed here, with LAMMPS' own variables and conditions, and LAMMPS executes all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elmlff_core.errors import ElmlffError
from elmlff_core.lammps.library import message_of

BRANCH = "elmlff_branch"
# Quoted text keeps its spaces; triple quotes may hold the others, and line breaks.
WORD = re.compile(r'"""(?P<triple>.*?)"""|"(?P<double>[^"]*)"|\'(?P<single>[^\']*)\'|(?P<plain>[^\s"\']\S*)', re.DOTALL)
QUOTED_OR_COMMENT = re.compile(r'""".*?"""|"[^"]*"|\'[^\']*\'|#.*', re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command of an input file, without comment, and the number of its first line."""

    line: int
    text: str


class _Quit(Exception):
    """The command ``quit``, with its exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


class Script:
    """An input file under way.

    Parameters
    ----------
    lmp : LAMMPS
    before, after : called with the words of each command that LAMMPS is about to execute, or has executed; the first is
        its name
    """

    def __init__(
        self, lmp: Any, before: Callable[[Sequence[str]], None], after: Callable[[Sequence[str]], None]
    ) -> None:
        self.lmp, self.before, self.after = lmp, before, after
        self.skips_jump = False  # an exhausted variable of `next` cancels the next `jump`
        self.files: list[_OpenFile] = []

    def run(self, path: Path) -> int:
        """Execute the file and return the exit code that ``quit`` names, otherwise 0.

        Raises ElmlffError if there is no such file, or with the line if LAMMPS refuses a command.
        """
        try:
            self._run_file(path)
        except _Quit as end:
            return end.code
        return 0

    def _run_file(self, path: Path) -> None:
        self.files.append(_OpenFile(path))
        try:
            while (command := self.files[-1].next()) is not None:
                self._located(command)
        finally:
            self.files.pop()

    def _located(self, command: Command) -> None:
        """Execute a command; an error of LAMMPS gets the line."""
        path = self.files[-1].path
        try:
            self._execute(command.text)
        except (ElmlffError, _Quit):
            raise
        except Exception as error:  # LAMMPS raises no narrower class
            raise ElmlffError(f"line {command.line} of {path}: {message_of(error)}") from error

    def _execute(self, text: str) -> None:
        name = words_of(text)[0]
        if "$" in name or name in FLOW:
            text = self.lmp.expand(text)
            name = words_of(text)[0]
        if name in FLOW:
            FLOW[name](self, words_of(text)[1:])
            return
        self.before(words_of(text))
        self.lmp.command(text)
        self.after(words_of(text))

    def _include(self, words: Sequence[str]) -> None:
        _expect(words, "include FILE")
        self._run_file(Path(words[0]))

    def _label(self, words: Sequence[str]) -> None:
        """Do nothing: a label is only where `jump` goes."""

    def _jump(self, words: Sequence[str]) -> None:
        _expect(words, "jump FILE LABEL")
        if self.skips_jump:
            self.skips_jump = False
            return
        if words[0] != "SELF":
            self.files[-1] = _OpenFile(Path(words[0]))
        self.files[-1].go_to(words[1] if len(words) > 1 else None)

    def _next(self, words: Sequence[str]) -> None:
        _expect(words, "next VARIABLE")
        self.lmp.command(f"next {' '.join(words)}")
        if not self.lmp.has_id("variable", words[0]):  # LAMMPS deletes a variable that has no further value
            self.skips_jump = True

    def _if(self, words: Sequence[str]) -> None:
        """Let LAMMPS find the branch, and execute its commands here."""
        branches = _branches(words)
        condition = " elif ".join(
            f"{_quoted(test)}{' then' * (not index)} {_quoted(f'variable {BRANCH} string {index}')}"
            for index, (test, _) in enumerate(branches)
            if test is not None
        )
        last = len(branches) - 1 if branches[-1][0] is None else len(branches)
        self.lmp.command(f"if {condition} else {_quoted(f'variable {BRANCH} string {last}')}")
        chosen = int(self.lmp.extract_variable(BRANCH))
        self.lmp.command(f"variable {BRANCH} delete")
        for text in branches[chosen][1] if chosen < len(branches) else ():
            self._execute(text)

    def _quit(self, words: Sequence[str]) -> None:
        raise _Quit(int(words[0]) if words else 0)


FLOW: dict[str, Callable[[Script, Sequence[str]], None]] = {
    "include": Script._include, "label": Script._label, "jump": Script._jump, "next": Script._next, "if": Script._if,
    "quit": Script._quit,
}  # fmt: skip


class _OpenFile:
    """An input file with the position of the next command."""

    def __init__(self, path: Path) -> None:
        self.path, self.commands, self.position = path, read_commands(path), 0

    def next(self) -> Command | None:
        if self.position == len(self.commands):
            return None
        self.position += 1
        return self.commands[self.position - 1]

    def go_to(self, label: str | None) -> None:
        """Go to a label, searched from the beginning, or to the beginning."""
        for index, command in enumerate(self.commands):
            if label is None or words_of(command.text)[:2] == ["label", label]:
                self.position = index
                return
        raise ValueError(f"{self.path} has no label '{label}'")


def read_commands(path: Path) -> list[Command]:
    """Return the commands of an input file: lines that end in & or that have an open triple quote go on in the next.

    Raises ElmlffError if it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ElmlffError(f"cannot read the input file {path}: {error}") from error
    commands, text, first = [], "", 1
    for number, line in enumerate(lines, start=1):
        text += line
        stripped = text.rstrip()
        if stripped.endswith("&"):
            text = stripped[:-1]
        elif text.count('"""') % 2:
            text += "\n"
        else:
            commands.append(Command(first, without_comment(text)))
            text, first = "", number + 1
    commands.append(Command(first, without_comment(text)))
    return [command for command in commands if command.text]


def without_comment(text: str) -> str:
    """Return a command without its comment."""
    return QUOTED_OR_COMMENT.sub(lambda found: "" if found[0].startswith("#") else found[0], text).strip()


def words_of(text: str) -> list[str]:
    """Return the words of a command, quoted ones without their quotes."""
    return [str(next(part for part in found.groups() if part is not None)) for found in WORD.finditer(text)]


def _branches(words: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """Return the branches of ``if``: condition, None for ``else``, and commands."""
    if len(words) < 3 or words[1] != "then":
        raise ValueError("`if` must be like: if CONDITION then COMMAND")
    branches: list[tuple[str | None, list[str]]] = [(words[0], [])]
    rest = iter(words[2:])
    for word in rest:
        if word == "elif":
            branches.append((next(rest, ""), []))
        elif word == "else":
            branches.append((None, []))
        else:
            branches[-1][1].append(word)
    return branches


def _quoted(text: str) -> str:
    quote = next((quote for quote in ('"', "'") if quote not in text), '"""')
    return f"{quote}{text}{quote}"


def _expect(words: Sequence[str], usage: str) -> None:
    if not words:
        raise ValueError(f"`{usage.split()[0]}` must be like: {usage}")
