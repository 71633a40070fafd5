"""Cases: damages, the command that meets them, and what would be a wrong result."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np

from tests.commands.running import Ending
from tests.fuzz.damages import Damage, finite
from tests.fuzz.workplace import Workplace

BAD = ("unexpected", "native crash", "hang", "silent wrong result")
OUTCOMES = ("clean error", "success", *BAD)
HISTORY = ("finished before", "trained before", "to be trained")  # lines that say what was there already
# What differs between equal runs; the summary of a distillation has its speeds in it.
VARYING = ("seconds", "costs", "sha256", "fits", "n_parameters", "versions", "speeds", "summary")
# What a damaged file must not do: `same`, change the result of a command that succeeds; `error`, let it succeed.
Oracle = Literal["any", "same", "error"]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes
    ----------
    surface : name of the surface that made it
    damages : what is changed before the command
    command : arguments of elmlff
    result : what the command computes: ``stdout``, or a file in the folder
    oracle : what would be a wrong result
    """

    surface: str
    damages: tuple[Damage, ...]
    command: tuple[str, ...]
    result: str = "stdout"
    oracle: Oracle = "any"

    def as_json(self) -> str:
        """Return the case as JSON, from which `from_json` makes it again."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Make the case that `as_json` wrote."""
        record = json.loads(text)
        damages = tuple(Damage(**damage) for damage in record.pop("damages"))
        return cls(damages=damages, **{**record, "command": tuple(record["command"])})


@dataclass(frozen=True)
class Finding:
    """How a case ended: one of `OUTCOMES`, and the end of its command."""

    case: Case
    outcome: str
    ending: Ending

    @property
    def is_bad(self) -> bool:
        """Whether it must not happen."""
        return self.outcome in BAD

    def __str__(self) -> str:
        return f"{self.outcome} after {self.ending.seconds:.1f} s\n{self.case.as_json()}\n{self.ending.stderr[-3000:]}"


class Judge:
    """Runs cases in a workplace; remembers the results of commands without damages."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self._known: dict[tuple[tuple[str, ...], str, tuple[Damage, ...]], Any] = {}

    def run(self, case: Case) -> Finding:
        """Run one case, and leave the workplace as it was."""
        try:
            for damage in case.damages:
                damage.apply(self.workplace.folder)
            ending = self.workplace.run(*case.command)
            outcome = ending.kind
            if outcome == "success" and not self._is_right(case, ending):
                outcome = "silent wrong result"
            return Finding(case, outcome, ending)
        finally:
            self.workplace.restore()

    def _is_right(self, case: Case, ending: Ending) -> bool:
        """Return whether the result of a command that succeeded may be as it is."""
        if case.oracle == "error":
            return False
        found = self._result(case, ending)
        if not finite(found):
            return False
        return case.oracle == "any" or alike(found, self._expected(case))

    def _expected(self, case: Case) -> Any:
        """Return the result without damages; what a case removes to be computed again is no damage."""
        key = (case.command, case.result, prepared(case))
        if key not in self._known:
            self.workplace.restore()
            for damage in prepared(case):
                damage.apply(self.workplace.folder)
            ending = self.workplace.run(*case.command)
            assert ending.kind == "success", ending
            self._known[key] = self._result(case, ending)
        return self._known[key]

    def _result(self, case: Case, ending: Ending) -> Any:
        if case.result == "stdout":
            try:
                return without_varying(json.loads(ending.stdout))
            except ValueError:
                return [line for line in ending.stdout.splitlines() if not any(text in line for text in HISTORY)]
        path = self.workplace.folder / case.result
        if not path.exists():  # the command had nothing to compute, as with --help
            return None
        return _structures(path) if path.suffix == ".extxyz" else without_varying(json.loads(path.read_text()))


def prepared(case: Case) -> tuple[Damage, ...]:
    """Return the damages that only make a command do its work again: they come first."""
    return tuple(damage for damage in case.damages if damage.value == "to be made again")


def alike(found: Any, expected: Any) -> bool:
    """Return whether two results are the same up to rounding.

    Where a damaged part of the cache is computed again, a calculator of ASE may start with another structure than
    before.  It then sums over the same neighbours in another order, and the last digits differ.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in found)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)
    return bool(found == expected)


def without_varying(value: Any) -> Any:
    """Leave out times and other values that differ between equal runs."""
    if isinstance(value, dict):
        return {key: without_varying(item) for key, item in value.items() if key not in VARYING}
    if isinstance(value, list):
        return [without_varying(item) for item in value]
    return value


def _structures(path: Path) -> list[Any]:
    """Return what `elmlff predict` wrote, as plain data."""
    found = []
    for atoms in ase.io.iread(path, index=":"):
        arrays = {name: np.asarray(values).tolist() for name, values in atoms.arrays.items()}
        results = {} if atoms.calc is None else {k: np.asarray(v).tolist() for k, v in atoms.calc.results.items()}
        found.append([arrays, results, atoms.info.get("energy_uncertainty")])
    return found
