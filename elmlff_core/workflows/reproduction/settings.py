"""Settings of a reproduction: those of the study, overridden by those of the user."""

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
    """Return the settings of the paper, overridden by a file of the user, `values` and ``--set`` `assignments`.

    Data and meta-model are always those of the study, and also the base models if `values` name none.  `data` has the
    names of the available splits.  Raises ConfigError like `read_config`, and for an assignment to a fixed key.
    """
    for assignment in assignments:
        key = assignment.partition("=")[0].strip()
        if key in FIXED:
            raise ConfigError(f"a study fixes {key}: leave it out, or use `elmlff sweep` and `elmlff ablate`")
    values = values or {}
    theirs = read_config(path, values, assignments)
    config = read_config(path, values, assignments, study.settings(theirs))
    # If the user's file names another meta-model, the keys beside its name are options of that meta-model.
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
