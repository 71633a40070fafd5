"""Cases drawn with a fixed seed at each surface: every one ends as asked, or in a clean error."""

from __future__ import annotations

import hypothesis
import pytest

from tests.fuzz.cases import Case, Judge
from tests.fuzz.damages import Damage
from tests.fuzz.surfaces import SURFACES
from tests.fuzz.workplace import EVALUATE

EXAMPLES = {
    "data files": 20, "settings": 8, "run folders": 15, "checkpoints": 10, "feature cache": 10, "LAMMPS inputs": 15,
    "command lines": 20,
}  # fmt: skip


@pytest.mark.parametrize("surface", SURFACES)
def test_nothing_ends_in_a_riddle(surface: str, judge: Judge) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES[surface], derandomize=True, database=None, deadline=None,
        phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(SURFACES[surface](judge.workplace))
    def body(case: Case) -> None:
        finding = judge.run(case)
        assert not finding.is_bad, str(finding)

    body()


def test_endings_are_told_apart(judge: Judge) -> None:
    """The judge itself: a result, an error, and one label of another structure where no change is allowed."""

    def outcome(*damages: Damage) -> str:
        return judge.run(Case("judge", damages, EVALUATE, "stdout", "same")).outcome

    assert outcome() == "success"
    assert outcome(Damage("linear/stack.json", "cut", 0.5)) == "clean error"
    contents = (judge.workplace.pristine / "few.extxyz").read_text()
    changed = contents.replace("REF_energy=-41", "REF_energy=-40", 1)
    assert changed != contents
    assert outcome(Damage("few.extxyz", "text", 0.0, changed)) == "silent wrong result"


@pytest.mark.parametrize(("calculator", "kind"), [("crash", "native crash"), ("hang", "hang")])
def test_a_crash_and_a_hang_end_only_their_command(calculator: str, kind: str, judge: Judge) -> None:
    settings = {"adapter": '"ase"', "options.calculator": f'"tests.fuzz.broken_calculators:{calculator}"'}
    given = [part for key, value in settings.items() for part in ("--set", f"models.bad.{key}={value}")]
    ending = judge.workplace.run("stack", "--output", "new", "--models", "bad", *given, limit=5.0)
    judge.workplace.restore()
    assert ending.kind == kind, ending
    assert judge.workplace.run("models", "--json").kind == "success"


def test_a_case_is_stored_and_made_again() -> None:
    case = Case("judge", (Damage("a", "splice", 0.25, [3, "00ff"]), Damage("b", "text", 0.0, "\udcff")), ("models",))
    assert Case.from_json(case.as_json()) == case
