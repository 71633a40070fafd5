"""A plan on the screen: one line for each long step, and how long all take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from elmlff_core.cli.console import standard_console
from elmlff_core.cli.tables import print_in_parts
from elmlff_core.cli.task_table import duration

if TYPE_CHECKING:
    from elmlff_core.workflows.plan import Plan

MOST_ROWS = 60  # a sweep of many base models has hundreds of fits


def print_plan(plan: Plan) -> None:
    """Print the steps that are to be done and those that are, and the time on one worker and on all."""
    console = standard_console()
    table = Table(title="what would be done", title_justify="left")
    for title in ("step", "state", "time", "memory"):
        table.add_column(title, justify="right" if title in ("time", "memory") else "left")
    for step in plan.steps[:MOST_ROWS]:
        seconds = "" if step.done else "not known" if step.seconds is None else duration(step.seconds)
        memory = "" if step.done or step.memory is None else f"{step.memory / 1e9:.1f} GB"
        table.add_row(step.name, "done" if step.done else "to do", seconds, memory)
    if len(plan.steps) > MOST_ROWS:
        table.add_row(f"and {len(plan.steps) - MOST_ROWS} more", "", "", "")
    print_in_parts(console, table, 2)
    for line in lines(plan):
        console.print(line, markup=False)


def lines(plan: Plan) -> list[str]:
    """Return what the plan says of all steps together."""
    if not plan.left:
        return ["everything that takes long is done"]
    found = [f"{len(plan.left)} of {len(plan.steps)} steps are to be done"]
    if len(plan.unknown) < len(plan.left):
        total = f"about {duration(plan.seconds(1))} one after the other"
        if plan.n_workers > 1:
            total += f", {duration(plan.seconds(plan.n_workers))} with {plan.n_workers} workers"
        found.append(f"{total}, by the rates that were measured here")
    if plan.unknown:
        found.append(
            f"without {len(plan.unknown)} steps of which no rate is known yet: the first of its kind measures it"
        )
    return found
