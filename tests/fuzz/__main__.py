"""``make fuzz``: cases at all surfaces for a given time, a table of how they ended, and a folder of those that failed.

A stored case is repeated by ``python -m tests.fuzz --repeat FOLDER/NAME.json``.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import hypothesis

from tests.commands.running import Commands
from tests.fuzz.cases import OUTCOMES, Case, Finding, Judge
from tests.fuzz.surfaces import SURFACES, Cases
from tests.fuzz.workplace import Workplace

ROUND = 20  # cases at one surface before the next has its turn


def main() -> int:
    """Return 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="[default: drawn, and printed]")
    parser.add_argument("--surface", choices=SURFACES, help="[default: all]")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder of the cases that failed")
    parser.add_argument("--small", action="store_true", help="leave out models of SchNetPack and DeePMD-kit")
    parser.add_argument("--workplace", type=Path, help="keep the artefacts in this folder, and use them again")
    parser.add_argument("--repeat", type=Path, nargs="*", help="run stored cases instead")
    given = parser.parse_args()
    root = given.workplace or Path(tempfile.mkdtemp(prefix="elmlff-fuzz-"))
    try:
        with closing(Commands(root / "logs", more=not given.small)) as commands:
            workplace = Workplace(root, commands, more=not given.small)
            workplace.prepare()
            judge = Judge(workplace)
            if given.repeat:
                return repeat(judge, given.repeat)
            return explore(judge, given)
    finally:
        if given.workplace is None:
            shutil.rmtree(root)


def repeat(judge: Judge, paths: list[Path]) -> int:
    """Run stored cases and print how they end."""
    findings = [judge.run(Case.from_json(path.read_text())) for path in paths]
    for finding in findings:
        print(finding, flush=True)
    return int(any(finding.is_bad for finding in findings))


def explore(judge: Judge, given: argparse.Namespace) -> int:
    """Run cases until the time is over; print the table."""
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}, {given.minutes:g} minutes", flush=True)
    names = [given.surface] if given.surface else list(SURFACES)
    strategies = {name: SURFACES[name](judge.workplace) for name in names}
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    deadline, number = time.monotonic() + 60 * given.minutes, 0
    while time.monotonic() < deadline:
        for name, cases in strategies.items():
            number += 1
            for finding in drawn(judge, cases, seed + number, deadline):
                counts[name][finding.outcome] += 1
                if finding.is_bad:
                    store(finding, given.failures)
        if number % (10 * len(names)) == 0:
            print(table(counts), flush=True)
    print(table(counts), flush=True)
    failed = sum(count for surface in counts.values() for outcome, count in surface.items() if outcome in OUTCOMES[2:])
    print(f"{failed} failed" + (f": see {given.failures}" if failed else ""))
    return int(failed > 0)


def drawn(judge: Judge, cases: Cases, seed: int, deadline: float) -> list[Finding]:
    """Run a round of cases."""
    findings: list[Finding] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=ROUND, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(cases)
    def body(case: Case) -> None:
        if time.monotonic() < deadline:
            findings.append(judge.run(case))

    body()
    return findings


def store(finding: Finding, folder: Path) -> None:
    """Write a case that failed, and what its command printed, and print one line."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.json")))
    name = f"{number:03d}-{finding.outcome}-{finding.case.surface}".replace(" ", "-")
    (folder / f"{name}.json").write_text(finding.case.as_json())
    (folder / f"{name}.txt").write_text(f"{finding}\n{finding.ending.stdout}", errors="backslashreplace")
    last = finding.ending.stderr.strip().splitlines()[-1:] or [""]
    print(f"{name}: {last[0][:300]}".encode(errors="backslashreplace").decode(), flush=True)


def table(counts: dict[str, Counter[str]]) -> str:
    """Return the table of all surfaces."""
    lines = ["".join(f"{title:>21}" for title in ("surface", "cases", *OUTCOMES))]
    for name, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        numbers = (found.total(), *(found[outcome] for outcome in OUTCOMES))
        lines.append(f"{name:>21}" + "".join(f"{number:>21}" for number in numbers))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
