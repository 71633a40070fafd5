"""Features of 500 structures: each adapter's batches against the backend's own ASE calculator, frame by frame.

python benchmarks/features.py --base nep=nep.txt --base painn=painn.pt --data frames.extxyz
"""

from __future__ import annotations

import numpy as np
from bases import own_calculator, parse
from measuring import Row, medians, shown

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
        times = medians({"here": lambda m=model: m.force_field.predict(structures), "loop": frame_by_frame}, repeats=3)
        Row(
            f"{model.name}, {len(structures)} structures of {len(structures[0])} atoms",
            "its own ASE calculator, frame by frame", shown(times["here"]), shown(times["loop"]),
            times["loop"] / times["here"], 3.0, "at least", f"forces differ by at most {difference:.0e} eV/Å",
        ).print()  # fmt: skip


if __name__ == "__main__":
    main()
