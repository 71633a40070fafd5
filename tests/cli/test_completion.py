"""Completion in the shell, as docs/installation.md describes it."""

from __future__ import annotations

import pytest

from tests.docs.test_site import DOCS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(elmlff, tmp_path, shell):
    assert f"_ELMLFF_COMPLETE={shell}_source elmlff" in (DOCS / "installation.md").read_text()
    script = elmlff(folder=tmp_path, _ELMLFF_COMPLETE=f"{shell}_source").stdout
    assert f"_ELMLFF_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(
    ("words", "expected"),
    [("elmlff st", "plain,stack"), ("elmlff stack --me", "plain,--meta"), ("elmlff stack --budget q", "plain,quick")],
)
def test_commands_options_and_values_are_completed(elmlff, tmp_path, words, expected):
    position = str(len(words.split()) - 1)
    done = elmlff(folder=tmp_path, _ELMLFF_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position)
    assert done.stdout.split() == [expected]
