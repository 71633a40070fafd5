"""The beginning of a selection: settings as the user gave them, checked, and what it depends on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from elmlff_core.contracts.dataset import fingerprint_of
from elmlff_core.files import json_text, sha256_of
from elmlff_core.selection.candidates import Candidates
from elmlff_core.selection.labelled import Labelled
from elmlff_core.selection.settings import SelectionSettings
from elmlff_core.settings.reading import from_options
from elmlff_core.stack.stack import STACK_FILE


def checked_settings(values: dict[str, Any]) -> SelectionSettings:
    """Return the settings from `values`; ConfigError names what is wrong."""
    return from_options(SelectionSettings, values)


def key_of(stack: Path, candidates: Candidates, labelled: Labelled, settings: SelectionSettings) -> str:
    """Return the digest of all that a selection depends on."""
    parts = [
        settings.model_dump(mode="json"), candidates.sources, sha256_of(stack.expanduser() / STACK_FILE),
        fingerprint_of(candidates.structures), fingerprint_of(labelled.structures),
    ]  # fmt: skip
    return hashlib.sha256(json_text(parts).encode()).hexdigest()
