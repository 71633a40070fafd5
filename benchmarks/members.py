"""How the error of a mean falls with the number of its fits, and where it ends.

The squared error of the mean of n fits with different seeds is what their errors have in common, plus an n-th of what
each has for itself.  Both follow from pairs of fits, so that four seeds tell what eight would bring, and what no number
of them can mend::

    elmlff stack --models chgnet,7net-0 --meta egat,conservative --seeds 4 --average \\
        --data mlearn-si --test mlearn-si/test --output run
    python benchmarks/members.py run

The table has the force RMSE per frame on test structures, eV/Å, with one, two, four and eight fits of each kind, and
with any number; as roots of mean squares over seeds, which are a little larger than means of roots.  Where a stack is a
mean of several kinds, such as egat and conservative, their weights stay those that validation structures gave.  Nothing
is trained here; base models are evaluated only where their features are not cached.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from finished import runs_of_command_line, stacks_and_features

from elmlff_core.contracts.features import Features, in_blocks
from elmlff_core.contracts.protocols import MetaModel
from elmlff_core.meta.average import FitAverage
from elmlff_core.meta.mixture import Mixture

COUNTS = (1, 2, 4, 8)

Kind = tuple[float, np.ndarray]  # weight, and the force errors of its fits: (n_fits, n_rows, 3), eV/Å


def kinds(meta: MetaModel, features: Features, weight: float = 1.0) -> Iterator[Kind]:
    """Yield the kinds of fits of which `meta` is the mean, those with a weight."""
    if isinstance(meta, Mixture):
        for share, part in zip(meta.weights, meta.members, strict=True):
            if share:
                yield from kinds(part, features, weight * share)
    elif isinstance(meta, FitAverage):
        yield weight * (1 - meta.geometry_share), errors_of(meta.members, features)
        if meta.geometry_share:
            yield weight * meta.geometry_share, errors_of(meta.on_geometry, features.of_models(()))
    else:
        yield weight, errors_of([meta], features)


def errors_of(metas: list[MetaModel], features: Features) -> np.ndarray:
    """Return the force errors of fits: (n_fits, n_rows, 3), eV/Å."""
    return np.stack([in_blocks(features, meta.predict).forces - features.reference_forces for meta in metas])


def in_common_and_own(found: list[Kind], features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return mean squared errors of each structure, (eV/Å)²: what fits have in common, and what each has for itself."""
    common, own = (np.zeros(len(features.n_atoms)) for _ in range(2))

    def per_frame(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        sums = np.add.reduceat((left * right).mean(axis=1), features.offsets[:-1])
        return np.asarray(sums / features.n_atoms)

    for (weight, mine), (other, theirs) in itertools.combinations(found, 2):
        common += 2 * weight * other * per_frame(mine.mean(axis=0), theirs.mean(axis=0))
    for weight, mine in found:
        n = len(mine)
        each = np.mean([per_frame(one, one) for one in mine], axis=0)
        shared = (n * per_frame(mine.mean(axis=0), mine.mean(axis=0)) - each) / (n - 1)
        common += weight**2 * shared
        own += weight**2 * (each - shared)
    return common, own


def main() -> None:
    """Print the table of the runs of the command line."""
    runs = runs_of_command_line(__doc__, "folders of runs with --seeds and --average")
    print(f"| run | stack | {' | '.join(map(str, COUNTS))} | any number |")
    print(f"| --- | --- |{' --- |' * (len(COUNTS) + 1)}")
    for run in runs:
        stacks, features = stacks_and_features(run)
        for name, stack in stacks.items():
            found = list(kinds(stack.meta, features["test"]))
            if min(len(errors) for _, errors in found) < 2:
                continue
            common, own = in_common_and_own(found, features["test"])
            cells = [np.sqrt(np.maximum(common + own / n, 0)).mean() for n in (*COUNTS, np.inf)]
            print(f"| {run.name} | {name} | {' | '.join(f'{cell:.4f}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
