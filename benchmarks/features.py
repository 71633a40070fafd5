"""Time of the features of 500 structures: batches of each adapter, compared with the ASE calculator of the backend.

The calculator evaluates frame by frame.  The aim is a third of its time, or, if that is more, the time of the backend
alone for batches made before.  15 % more are allowed for neighbour lists and conversions.

python benchmarks/features.py --base-model nep=nep.txt --base-model painn=painn.pt --data frames.extxyz
"""

from __future__ import annotations

import numpy as np
from base_models import alone, own_calculator, parse
from measuring import Comparison, medians, shown

N_STRUCTURES = 500


def main() -> None:
    """Check that both give the same forces, then time."""
    models, structures = parse(__doc__, N_STRUCTURES)
    for model in models:
        calculator = own_calculator(model)

        def frame_by_frame(calculator: object = calculator) -> list[np.ndarray]:
            found = []
            for atoms in structures:
                copy = atoms.copy()
                copy.set_constraint()
                copy.calc = calculator
                found.append(copy.get_forces())
            return found

        forces = model.force_field.predict(structures[:20]).forces
        expected = np.concatenate(frame_by_frame()[:20])
        difference = np.abs(forces - expected).max()
        assert difference < 1e-3, f"{model.name}: forces differ by {difference:.1e} eV/Å"
        floor = alone(model, structures)
        times = medians(
            {"here": lambda m=model: m.force_field.predict(structures), "loop": frame_by_frame, "floor": floor},
            repeats=3,
        )
        reach = max(times["loop"] / 3, times["floor"])
        Comparison(
            f"{model.name}, {len(structures)} structures of {len(structures[0])} atoms",
            "the backend's limit" if reach == times["floor"] else "a third of its calculator, frame by frame",
            shown(times["here"]), shown(reach), times["here"] / reach, 1.15, "at most",
            f"{times['loop'] / times['here']:.2f} times as fast as its calculator, which takes {shown(times['loop'])}; "
            f"forces differ by at most {difference:.0e} eV/Å",
        ).print()  # fmt: skip


if __name__ == "__main__":
    main()
