"""Tasks: their order, failures that do not end the others, logs, and workers that are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from elmlff_core.cli.task_table import left
from elmlff_core.contracts.progress import Progress, Reporter, TasksCallback, TaskState
from elmlff_core.errors import DataError, ElmlffError
from elmlff_core.execution.placement import Placement
from elmlff_core.execution.tasks import Task, run_tasks
from tests.conftest import REPOSITORY


@dataclass(frozen=True)
class Writes:
    """Writes a file, after reading those it needs."""

    path: Path
    needs: tuple[Path, ...] = ()

    def __call__(self, reporter: Reporter) -> None:
        with reporter.progress(f"writing {self.path.name}") as progress:
            progress(Progress(1, 2, "half"))
            print("a line of a backend")
            self.path.write_text("+".join([*(path.read_text() for path in self.needs), self.path.name]))
            progress(Progress(2, 2))


@dataclass(frozen=True)
class Fails:
    """Raises an error, or ends the process of its worker."""

    how: str

    def __call__(self, _: Reporter) -> None:
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "bug":
            raise ZeroDivisionError("nothing to divide by")
        raise DataError("there are no structures")


class Watcher(Reporter):
    """Keeps all states of all tasks."""

    def __init__(self) -> None:
        self.seen: list[list[TaskState]] = []

    @contextmanager
    def tasks(self, title: str) -> Iterator[TasksCallback]:
        def show(states: Sequence[TaskState]) -> None:
            self.seen.append(list(states))

        yield show


def chain(folder: Path) -> list[Task]:
    a, b, c = (folder / name for name in "abc")
    return [
        Task("c of both", Writes(c, (a, b)), after=("a", "b")),
        Task("b", Writes(b, (a,)), after=("a", "done long ago")),
        Task("a", Writes(a)),
    ]


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_task_waits_for_those_it_needs(tmp_path: Path, executor: str) -> None:
    watcher = Watcher()
    run_tasks(chain(tmp_path), Placement(executor, 2), tmp_path / "tasks", "all", watcher)
    assert (tmp_path / "c").read_text() == "a+a+b+c"
    assert {state.state for state in watcher.seen[-1]} == {"done"}
    assert [state.name for state in watcher.seen[-1]] == ["c of both", "b", "a"]
    (state,) = (state for state in watcher.seen[-1] if state.name == "b")
    where = state.where.rpartition(":")[2]
    assert (int(where) == os.getpid()) == (executor == "serial")
    log = (tmp_path / "tasks" / "c-of-both.log").read_text()
    assert "writing c: begins" in log
    assert ("a line of a backend" in log) == (executor == "processes")


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_failure_ends_only_what_needs_it(tmp_path: Path, executor: str) -> None:
    tasks = [
        Task("bad data", Fails("data")),
        Task("a bug", Fails("bug")),
        Task("dependent", Writes(tmp_path / "x"), after=("bad data",)),
        Task("of the dependent", Writes(tmp_path / "y"), after=("dependent",)),
        Task("other", Writes(tmp_path / "a")),
    ]
    with pytest.raises(ElmlffError) as found:
        run_tasks(tasks, Placement(executor, 2), tmp_path / "tasks", "all", Reporter())
    said = str(found.value)
    assert "bad data failed: there are no structures" in said
    assert "a bug failed: ZeroDivisionError: nothing to divide by" in said
    assert "dependent, of the dependent could not begin without them" in said
    assert f"the logs are in {tmp_path / 'tasks'}, and the same command goes on with what is left" in said
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "x").exists()
    assert "Traceback" in (tmp_path / "tasks" / "a-bug.log").read_text()


def test_a_worker_that_is_killed_is_named_and_the_rest_is_done_again(tmp_path: Path) -> None:
    tasks = [
        Task("hungry", Fails("killed")),
        Task("late", Writes(tmp_path / "a"), after=("hungry",)),
        Task("first", Writes(tmp_path / "b")),
        Task("second", Writes(tmp_path / "c"), after=("first",)),
    ]
    with pytest.raises(ElmlffError, match="hungry failed: its worker was ended, perhaps for lack of memory"):
        run_tasks(tasks, Placement("processes", 2), tmp_path / "tasks", "all", Reporter())
    run_tasks(tasks[1:], Placement("processes", 2), tmp_path / "tasks", "all", Reporter())
    assert all((tmp_path / name).exists() for name in "abc")


def test_paths_are_relative_to_the_folder_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_tasks([Task("relative", Writes(Path("a")))], Placement("processes", 1), Path("tasks"), "all", Reporter())
    assert (tmp_path / "a").exists()
    assert (tmp_path / "tasks" / "relative.log").exists()


def test_a_task_that_stopped_before_does_not_look_as_if_it_ran(tmp_path: Path) -> None:
    logs = tmp_path / "tasks"
    run_tasks([Task("a", Writes(tmp_path / "a"))], Placement("serial"), logs, "all", Reporter())
    assert (logs / "a.status").exists()
    watcher = Watcher()
    tasks = [Task("first", Slow()), Task("a", Writes(tmp_path / "a"), after=("first",))]
    run_tasks(tasks, Placement("processes", 1), logs, "all", watcher)
    (before,) = (state for state in watcher.seen[0] if state.name == "a")
    assert before.state == "waiting"


@dataclass(frozen=True)
class Slow:
    """Takes longer than one look at the tasks."""

    def __call__(self, _: Reporter) -> None:
        time.sleep(1.5)


@dataclass(frozen=True)
class TwoParts:
    """Two parts, the progress of which begins anew."""

    def __call__(self, reporter: Reporter) -> None:
        with reporter.progress("two parts") as progress:
            for done in (3,) * 10 + (1,) * 10:
                progress(Progress(done, 4))
                time.sleep(0.25)


def test_the_time_left_of_a_task_is_that_of_its_present_part(tmp_path: Path) -> None:
    watcher = Watcher()
    run_tasks([Task("a", TwoParts())], Placement("processes", 1), tmp_path / "tasks", "all", watcher)
    states = [seen[0] for seen in watcher.seen if seen[0].state == "running"]
    first, second = ([state for state in states if state.progress.done == done] for done in (3, 1))
    assert {state.part_began for state in first} == {0.0}
    assert all(1.0 < state.part_began <= state.seconds for state in second)
    shown = replace(second[-1], seconds=second[-1].part_began + 7)
    assert left(shown) == "about 21 s left"


SCRIPT = """
from pathlib import Path
from elmlff_core.contracts.progress import Reporter
from elmlff_core.execution.placement import Placement
from elmlff_core.execution.tasks import Task, run_tasks
from tests.execution.test_tasks import Writes

print("once")
run_tasks([Task("a", Writes(Path("a")))], Placement("processes", 2), Path("tasks"), "all", Reporter())
"""


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == ["once"]
    assert (tmp_path / "a").exists()
