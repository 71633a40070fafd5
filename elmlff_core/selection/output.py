"""The files of a selection, and what is said about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms

from elmlff_core.contracts.progress import Reporter
from elmlff_core.data.writers import write_deepmd, write_structures
from elmlff_core.errors import DataError
from elmlff_core.files import replacing, write_csv, write_text
from elmlff_core.selection.selection import VERDICTS, Selection, Verdict
from elmlff_core.simulation.model_deviation import HEADER, line
from elmlff_core.simulation.molecular_dynamics import DEVIATION_FILE

SELECTED_FILE, SELECTED_FOLDER, FRAMES_FILE = "selected.extxyz", "selected", "frames.csv"
COLUMNS = (
    "index", "source", "frame", "verdict", "order", "expected_error_eV_A", "upper_end_eV_A", "distance",
    "like_labelled",
)  # fmt: skip
MEANING: dict[Verdict, str] = {
    "below": "known well enough",
    "above": "too uncertain to be whole",
    "too close": "atoms too close",
    "broken": "positions or cell broken",
}


def write_selection(found: Selection, folder: Path, reporter: Reporter) -> None:
    """Write the files of a selection to `folder`; ElmlffError if that fails.

    They are ``selected.extxyz``, ``selected`` (deepmd/npy), ``model_devi.out`` of all structures, and ``frames.csv``.
    """
    frames = list(selected_frames(found))
    write_csv(folder / FRAMES_FILE, [COLUMNS, *_rows(found)])
    lines = [line(index, deviation) for index, deviation in enumerate(found.errors.deviations)]
    write_text(folder / DEVIATION_FILE, HEADER + "".join(lines))
    shutil.rmtree(folder / SELECTED_FOLDER, ignore_errors=True)
    if not frames:
        with replacing(folder / SELECTED_FILE) as partial:
            partial.touch()
        return
    write_structures(frames, folder / SELECTED_FILE)
    try:
        write_deepmd(frames, folder / SELECTED_FOLDER)
    except DataError as error:
        reporter.warn(f"no deepmd/npy folder was written: {error}")


def selected_frames(found: Selection) -> Iterator[Atoms]:
    """Yield the chosen structures in the order of the choice, without labels; ``info`` says where they come from."""
    candidates = found.candidates
    for index in found.chosen:
        atoms = candidates.structures[index]
        atoms.info |= {
            "source": candidates.sources[candidates.files[index]],
            "frame": int(candidates.frames[index]),
            "expected_error": float(found.errors.largest[index]),
        }
        yield atoms


def _rows(found: Selection) -> Iterator[list[object]]:
    candidates, order = found.candidates, {index: place for place, index in enumerate(found.chosen)}
    for index, verdict in enumerate(found.verdicts.tolist()):
        numbers = (
            found.errors.largest[index], found.window.factor * found.errors.largest[index], found.distances[index]
        )  # fmt: skip
        yield [
            index, candidates.sources[candidates.files[index]], int(candidates.frames[index]), verdict,
            order.get(index, ""), *("" if np.isnan(number) else f"{number:.6g}" for number in numbers),
            found.like[index] if found.like[index] >= 0 else "",
        ]  # fmt: skip


def say_selection(found: Selection, number: int, reporter: Reporter) -> None:
    """Say what was in, below and above the window, what near-duplicates are like, and what was chosen."""
    errors = found.errors.largest
    looked = errors[np.isfinite(errors)]
    if len(looked):
        reporter.say(
            f"expected errors: median {np.median(looked):.4g}, largest {looked.max():.4g} eV/Å, of the atom with the "
            "largest in each structure"
        )
    others = [f"{found.count(name)} {name} ({MEANING[name]})" for name in VERDICTS if name in MEANING]
    reporter.say(f"{len(found.candidates)} structures: {found.n_in_window} in the window, {', '.join(others)}")
    reporter.say(f"labelled already: {found.labelled}")
    if found.n_in_window:
        reporter.say(_duplicates(found))
    reporter.say(f"{len(found.chosen)} structures chosen of the {number} that were asked for")
    if len(found.chosen) < number:
        reporter.warn(
            "no structure in the window has more that is new: --low, or a smaller --smallest-distance, lets more in"
        )


def _duplicates(found: Selection) -> str:
    like = found.like[found.like >= 0]
    text = f"{found.count('near-duplicate')} in the window are near-duplicates: {len(like)} of labelled structures"
    if len(like):
        most, times = np.unique(like, return_counts=True)
        text += f" (most often of number {most[times.argmax()]}, {times.max()} times)"
    rest = found.count("near-duplicate") - len(like)
    return (
        f"{text}, {rest} of chosen ones. Their uncertain atoms are all nearer than {found.smallest_distance:.3g} to "
        "known ones"
    )
