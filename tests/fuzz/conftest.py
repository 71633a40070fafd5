"""One workplace with its server of commands for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.fuzz.cases import Judge
from tests.fuzz.workplace import Workplace


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """A judge of cases in a small workplace."""
    pytest.importorskip("calorine", reason="the workplace has a NEP")
    pytest.importorskip("neppo", reason="the workplace trains a NEP")
    workplace = Workplace(tmp_path_factory.mktemp("fuzz"))
    with closing(workplace.commands):
        workplace.prepare()
        yield Judge(workplace)
