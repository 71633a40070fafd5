"""How commands end: help, errors in one line, tracebacks on request."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from elmlff_core.cli import console
from elmlff_core.cli import main as command_line
from elmlff_core.contracts.progress import Progress


def test_an_unexpected_error_is_one_line(elmlff, tmp_path):
    """A folder in the place of the output file causes an error that is not an ElmlffError."""
    (tmp_path / "elmlff.toml").mkdir()
    result = elmlff("init", "--force", folder=tmp_path, check=False)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" in elmlff("init", "--force", "--debug", folder=tmp_path, check=False).stderr


def test_without_a_command_the_help_is_shown(elmlff, tmp_path):
    result = elmlff(folder=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[0].startswith("Usage: elmlff [OPTIONS] COMMAND")
    assert any(line.startswith("  stack ") for line in result.stderr.splitlines())


def test_module_and_script_are_the_same(elmlff, tmp_path):
    help_text = elmlff("--help", folder=tmp_path).stdout
    assert "new-adapter" in help_text
    version = elmlff("--version", folder=tmp_path).stdout
    code = "import importlib.metadata as m; print(m.version('elmlff'))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() in version


def test_a_silent_step_is_said_to_go_on(monkeypatch, capsys):
    """A step that reports nothing for long, such as an epoch over many structures, must not look like a standstill."""
    monkeypatch.setattr(console, "LINE_INTERVAL", 0.05)
    said = threading.Event()
    reporter = console.ConsoleReporter()
    monkeypatch.setattr(reporter, "say", lambda text: (print(text), said.set()))
    with reporter.progress("fitting egat") as progress:
        progress(Progress(4, 100, "validation 0.0712 eV/Å at epoch 3"))
        assert said.wait(60)
    assert "fitting egat: 0 s so far. validation 0.0712 eV/Å at epoch 3" in capsys.readouterr().out


def test_the_time_left_of_what_is_resumed_counts_what_is_done_now():
    assert console._seconds_left(100.0, 900, Progress(910, 1000), 120.0) == pytest.approx(180.0)
    assert console._seconds_left(100.0, 900, Progress(900, 1000), 120.0) is None


def test_a_warning_of_elmlff_is_one_line(tmp_path):
    code = (
        "import sys, warnings; from elmlff_core.cli import main; "
        "main.cli.callback = lambda debug: warnings.warn('model dp1 is crowded'); main.main(['plugins'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stderr == "note: model dp1 is crowded\n"


def test_a_full_disk_is_said_with_what_to_do(monkeypatch, capsys):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "elmlff-runs/stack")

    monkeypatch.setattr(command_line.cli, "main", full)
    with pytest.raises(SystemExit) as end:
        command_line.main(["stack"])
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "elmlff: cannot use elmlff-runs/stack: No space left on device; "
        "make space, and run the same command again to resume\n"
    )


INTERRUPTED = {
    ("stack",): "run the same command again to resume",
    ("--debug", "md", "relax"): "run the same command again to resume",
    ("relax", "stack"): "run the same command again: it starts from --structure, which",
    ("lammps", "stack", "in.lammps"): "let the input read a restart file of LAMMPS",
    ("serve", "stack"): "run the same command again: an i-PI that still runs waits for it",
    ("doctor",): "run the same command again",
    ("--help",): "run the same command again",
}


@pytest.mark.parametrize("arguments", INTERRUPTED)
def test_each_command_says_how_to_go_on(arguments):
    found = command_line._going_on(arguments)
    assert found.startswith(INTERRUPTED[arguments])
    assert ("resume" in found) == ("resume" in INTERRUPTED[arguments])


def test_only_known_commands_say_how_to_go_on():
    assert set(command_line.GOING_ON) < set(command_line.COMMANDS)


def test_bytes_that_are_no_text_are_said(elmlff, tmp_path):
    result = elmlff("stack", "--models", "\udcff", folder=tmp_path, check=False)
    assert result.returncode == 1
    assert "has bytes that are not text in UTF-8" in result.stderr
