"""The class by which i-PI itself runs a stack: ``i-pi-py_driver -m custom`` and ``<ffdirect>``; it needs i-PI."""

from __future__ import annotations

from typing import Any

import numpy as np

from elmlff_core.ipi.evaluation import Answer, Evaluation
from elmlff_core.simulation.beginning import start_structure
from elmlff_core.stack.stack import load_stack

try:
    from ipi.pes.dummy import Dummy_driver
except ImportError as error:
    raise ImportError('this class needs i-PI: pip install "elmlff[ipi]"; `elmlff serve` does without') from error

__DRIVER_NAME__ = "elmlff"
__DRIVER_CLASS__ = "StackDriver"

Reply = tuple[float, np.ndarray, np.ndarray, str]


class StackDriver(Dummy_driver):
    """A stack as a potential of i-PI, with the extras of `Answer`.

    Parameters
    ----------
    stack : folder of the stack.  If it comes from a stranger, allow its code with ``elmlff trust`` before
    structure : file with the elements, as for ``elmlff serve``
    """

    def __init__(self, stack: str, structure: str, *arguments: Any, **options: Any) -> None:
        self.evaluation = Evaluation(load_stack(stack), start_structure(structure), structure)
        super().__init__(*arguments, **options)

    def compute(self, cell: Any, pos: Any) -> Reply | list[Reply]:
        """Return potential, forces, virial and extras of a structure, or of each structure of two lists."""
        if isinstance(cell, list):
            return [_reply(answer) for answer in self.evaluation(cell, pos)]
        return _reply(self.evaluation([cell], [pos])[0])


def _reply(answer: Answer) -> Reply:
    return answer.potential, answer.forces, answer.virial, answer.extras
