"""How commands end: help, errors in one line, tracebacks on request."""

import errno
import os
import subprocess
import sys

import pytest

from elmlff_core.cli import main as command_line


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


def test_a_full_disk_is_said_with_what_to_do(monkeypatch, capsys):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "elmlff-runs/stack")

    monkeypatch.setattr(command_line.cli, "main", full)
    with pytest.raises(SystemExit) as end:
        command_line.main(["stack"])
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "elmlff: No space left on device: elmlff-runs/stack; make space, and run the same command again to resume\n"
    )
