"""The settings of a reproduction: the study's, under a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elmlff_core.errors import ConfigError
from elmlff_core.meta.options import GATOptions
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.workflows.reproduction.studies import META_MODEL, Study

FIXED = ("data.train", "data.test", "meta.name", "base_models")


def study_config(
    study: Study,
    data: Mapping[str, Any],
    path: Path | None = None,
    values: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Config:
    """Settings of a study: the paper's, under a file of the user's, `values` and ``--set`` `assignments`.

    Data, meta-model and, where `values` name none, base models are those of the study, whatever the file says: `data`
    names what of the data is here.  ConfigError as in `read_config`, and for an assignment to what is fixed.
    """
    for assignment in assignments:
        key = assignment.partition("=")[0].strip()
        if key in FIXED:
            raise ConfigError(f"a study fixes {key}: leave it out, or use `elmlff sweep` and `elmlff ablate`")
    values = values or {}
    theirs = read_config(path, values, assignments)
    config = read_config(path, values, assignments, study.settings(theirs))
    # Keys beside the name of another meta-model are options of that one.
    options = {
        key: value
        for key, value in config.meta.items()
        if theirs.meta.get("name", META_MODEL) == META_MODEL or key in (*GATOptions.model_fields, META_MODEL)
    }
    return config.model_copy(
        update={
            "data": config.data.model_copy(
                update={"train": data["train"], "test": data.get("test"), "energy_key": None, "forces_key": None}
            ),
            "meta": {**options, "name": META_MODEL},
            "base_models": tuple(values.get("base_models") or study.models),
        }
    )
