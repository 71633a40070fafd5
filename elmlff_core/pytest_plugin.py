"""The conformance kit as pytest fixtures, for tests of adapters and meta-models.

pytest loads this file in every run where elmlff is installed, so it imports nothing of elmlff before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from elmlff_core.testing import Report


@pytest.fixture
def check_force_field(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`elmlff_core.testing.check_force_field`; pytest shows its report with a failed test, and with ``-rP``."""
    from elmlff_core.testing import check_force_field

    return _reporting(check_force_field, request)


@pytest.fixture
def check_meta_model(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`elmlff_core.testing.check_meta_model`; pytest shows its report with a failed test, and with ``-rP``."""
    from elmlff_core.testing import check_meta_model

    return _reporting(check_meta_model, request)


def _reporting(check: Callable[..., Report], request: pytest.FixtureRequest) -> Callable[..., Report]:
    def checked(*arguments: Any, raise_on_failure: bool = True, **options: Any) -> Report:
        report = check(*arguments, raise_on_failure=False, **options)
        request.node.add_report_section("call", "elmlff conformance", str(report))
        if raise_on_failure:
            report.raise_for_failures()
        return report

    return checked
