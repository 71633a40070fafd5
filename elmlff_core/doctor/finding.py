"""Finding: the result of one check of `elmlff doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    area : ``python``, ``plugins``, ``backends``, ``clashes``, ``threads``, ``settings`` or ``cache``
    subject : what was checked
    level : ``ok``, ``note`` for what may be intended, ``wrong`` for what will fail or be very slow
    message : the finding in one line
    remedy : what to do, or ""
    """

    area: str
    subject: str
    level: Level
    message: str
    remedy: str = ""
