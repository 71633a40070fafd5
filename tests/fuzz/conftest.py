"""One workplace for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.commands.running import session_commands
from tests.fuzz.cases import Judge
from tests.fuzz.workplace import Workplace


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge of cases in a small workplace."""
    pytest.importorskip("calorine", reason="the workplace has a NEP")
    pytest.importorskip("neppo", reason="the workplace trains a NEP")
    workplace = Workplace(tmp_path_factory.mktemp("fuzz"), session_commands())
    workplace.prepare()
    return Judge(workplace)
