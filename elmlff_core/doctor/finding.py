"""Finding: one thing that `elmlff doctor` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes
    ----------
    area : ``python``, ``plugins``, ``backends``, ``clashes``, ``threads``, ``settings`` or ``cache``
    subject : what was looked at
    level : ``ok``, ``note`` for what may be meant so, ``wrong`` for what will fail or crawl
    message : one line
    remedy : what to do, or ""
    """

    area: str
    subject: str
    level: Level
    message: str
    remedy: str = ""
