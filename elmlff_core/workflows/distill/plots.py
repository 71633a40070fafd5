"""The plot of a distillation: errors over the time of a step."""

from __future__ import annotations

from elmlff_core.distillation.comparison import MADE, TEST
from elmlff_core.report.figures import BLUE, GREY, ORANGE, Plot, as_svg, new_figure
from elmlff_core.report.plots import plain_numbers
from elmlff_core.workflows.distill.results import DistillResults

COLOURS = {"base model": GREY, "stack": BLUE, "student": ORANGE, "control": ORANGE}


def speed_plot(results: DistillResults) -> Plot:
    """Plot the force error of each model against the time of a step of molecular dynamics.

    The control, which is the same model as the student, is an empty circle at the student's time.
    """
    seconds = {one.name: one.seconds for one in results.speeds}
    of_student = next(seconds[model.name] for model in results.errors if model.kind == "student")
    split = TEST if TEST in results.splits else MADE
    points = [
        (model.name, model.kind, 1000 * seconds.get(model.name, of_student), model.errors[split]["rmse_per_frame"])
        for model in results.errors
        if split in model.errors
    ]
    figure = new_figure(6, 4)
    axes = figure.subplots()
    slowest = max(time for _, _, time, _ in points)
    for name, kind, time, error in points:
        colour = COLOURS[kind]
        axes.plot(time, error, "o", color=colour, markerfacecolor="none" if kind == "control" else colour)
        # The control is where the student is, if both err alike, and the slowest has no room beside it.
        place, across, along = ((-6, 0), "right", "center") if kind == "control" else ((6, 0), "left", "center")
        if time == slowest:
            place, across, along = (0, 6), "center", "bottom"
        axes.annotate(name, (time, error), place, fontsize=8, textcoords="offset points", ha=across, va=along)
    axes.set(xscale="log", yscale="log", xlabel="a step of molecular dynamics (ms)", ylabel="RMSE per frame (eV/Å)")
    axes.margins(x=0.25, y=0.15)
    plain_numbers(axes.xaxis, axes.yaxis)
    return Plot(as_svg(figure), ("model", "kind", "ms a step", "RMSE per frame (eV/Å)"), points)
