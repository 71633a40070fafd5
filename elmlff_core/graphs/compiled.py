"""Compiled networks: one function of the processor in place of hundreds of operations of PyTorch.

In a prediction of some tens of atoms most of the time passes between the operations.  `elmlff compile` has AOTInductor
of PyTorch make a library of a network, once, in which they follow each other without the interpreter.  It is the same
network, traced while it predicts; the loops over neighbours stay what they are.

A library is code.  So it is never read from the folder of a stack, which may come from somebody else, but from the
user's own cache, where it has the fingerprint of the network, of PyTorch and of the processor in its name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from elmlff_core.arrays import cache_folder
from elmlff_core.errors import ElmlffError, first_line
from elmlff_core.files import replacing, sha256_of
from elmlff_core.graphs.batch import GraphBatch
from elmlff_core.graphs.network import OUTPUTS, Network, NetworkOutputs
from elmlff_core.graphs.pairs_of_batch import BLOCK_EDGES

# The fields of a batch that may be inputs, and which of their dimensions differ between structures.
INPUTS = {
    "atomic_numbers": 0, "base_forces": 0, "edges": 1, "vectors": 0, "base_energies": None, "base_stresses": None,
    "volumes": None, "components": 0,
}  # fmt: skip
# Sizes of the graph that is traced: PyTorch takes sizes that are equal there for equal everywhere, and one for fixed.
TRACED_ATOMS, TRACED_EDGES = 101, 211
# Results in single precision differ by rounding alone, relative to the largest.
TOLERANCE = 1e-4
FOLDER_OF_INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"


class CompiledNetworks:
    """The libraries of one network in the cache, one for each kind of batch; each is loaded when it is first needed.

    Parameters
    ----------
    fingerprint : of the weights, of all from which the network is built, and of the code of what calls it
    """

    def __init__(self, fingerprint: str) -> None:
        parts = [fingerprint, source_digest(Path(__file__).parent), torch.__version__, _processor()]
        whole = hashlib.sha256("\n".join(parts).encode())
        self.folder = cache_folder() / "compiled" / whole.hexdigest()[:32]
        self._libraries: dict[str, _Library | None] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_libraries": {}}  # a copy, perhaps in another process, loads them itself

    def outputs(self, batch: GraphBatch) -> NetworkOutputs | None:
        """Return the outputs of the network for `batch`, or None if there is no library for batches of its kind."""
        if not fits_a_library(batch):
            return None
        kind = _kind(batch)
        if kind not in self._libraries:
            self._libraries[kind] = _loaded(self.folder / f"{kind}.pt2")
        if (library := self._libraries[kind]) is None:
            return None
        try:
            return library.outputs(_inputs(batch))
        except RuntimeError as error:  # no error of the network itself, which would have failed when it was compiled
            _say(self.folder / f"{kind}.pt2", "fails", error)
            self._libraries[kind] = None
            return None

    def compile(self, network: Network, batch: GraphBatch) -> None:
        """Make the library for batches of the kind of `batch`; it takes half a minute.

        ElmlffError if it cannot be made, as without a C++ compiler, if it does not give what the network gives for
        `batch`, or if the cache cannot be written.
        """
        kind = _kind(batch)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{kind}.pt2") as path:
            _compile(network, batch, path)
            with torch.no_grad():
                _check(_Library(path).outputs(_inputs(batch)), network.outputs(batch))
        self._libraries.pop(kind, None)


def fits_a_library(batch: GraphBatch) -> bool:
    """Return whether a library may be there for `batch`: for one structure on the CPU whose pairs make one block."""
    if batch.n_atoms.shape[0] != 1 or batch.vectors is None or batch.combined_forces is not None:
        return False
    enough = len(batch.atomic_numbers) > 1 and len(batch.vectors) > 1
    return enough and batch.n_atoms.device.type == "cpu" and len(batch.vectors) <= BLOCK_EDGES


class _Library:
    """A compiled network that is loaded."""

    def __init__(self, path: Path) -> None:
        # What PyTorch documents instead, `torch._inductor.aoti_load_package`, imports its compilers for seconds.
        loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
        self._run = loader.boxed_run
        self._names = loader.get_metadata()["outputs"].split()

    def outputs(self, inputs: dict[str, torch.Tensor]) -> NetworkOutputs:
        """Return what the network gives for `inputs`."""
        return NetworkOutputs(**dict(zip(self._names, self._run(list(inputs.values())), strict=True)))


def _loaded(path: Path) -> _Library | None:
    """Return the library in `path`; None if there is none, or if this machine cannot load it."""
    if not path.exists():
        return None
    try:
        return _Library(path)
    except Exception as error:  # a damaged file, or a folder for temporary files from which nothing may be run
        _say(path, "cannot be loaded", error)
        return None


def _say(path: Path, what: str, error: Exception) -> None:
    """Say that predictions go on without the library in `path`."""
    reason = first_line(error, type(error).__name__)
    warnings.warn(
        f"the compiled network in {path} {what} ({reason}): predictions go on without it; `elmlff compile` makes it "
        "anew",
        stacklevel=3,
    )


def _inputs(batch: GraphBatch) -> dict[str, torch.Tensor]:
    return {name: value for name in INPUTS if (value := getattr(batch, name)) is not None}


def _kind(batch: GraphBatch) -> str:
    """Return which inputs a batch has, in which precision: the name of a library."""
    return "-".join(f"{name}-{str(value.dtype).rpartition('.')[2]}" for name, value in _inputs(batch).items())


def _compile(network: Network, batch: GraphBatch, path: Path) -> None:
    """Trace `network` while it predicts a batch like `batch`, and compile it for any number of atoms and neighbours."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it says that there is no GPU
    # These load the compilers of PyTorch, for seconds.
    import torch._inductor
    from torch.export import Dim, export
    from torch.fx.experimental.proxy_tensor import make_fx

    example = _example(batch)
    inputs, known = _inputs(example), network.outputs(example)
    names = [name for name in OUTPUTS if getattr(known, name) is not None]

    def outputs(*tensors: torch.Tensor) -> list[torch.Tensor]:
        given = dict(zip(inputs, tensors, strict=True))
        n_atoms = torch.full((1,), given["atomic_numbers"].shape[0], dtype=torch.int64)
        found = network.outputs(GraphBatch(n_atoms=n_atoms, **given))
        return [getattr(found, name) for name in names]

    sizes = tuple(None if INPUTS[name] is None else {INPUTS[name]: Dim.DYNAMIC} for name in inputs)
    options = {"aot_inductor.metadata": {"outputs": " ".join(names)}, "cpp.threads": 1}
    with (
        torch.no_grad(), tempfile.TemporaryDirectory() as folder, _environment(FOLDER_OF_INDUCTOR, folder),
        warnings.catch_warnings(),
    ):  # fmt: skip
        warnings.simplefilter("ignore")  # of PyTorch on its own code
        # Traced first, because `export` does not follow the gradient that a conservative network takes.
        traced = make_fx(outputs, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs.values())
        exported = export(traced, tuple(inputs.values()), strict=False, dynamic_shapes=sizes)
        try:
            torch._inductor.aoti_compile_and_package(exported, package_path=str(path), inductor_configs=options)
        except Exception as error:  # of types of PyTorch that its releases change
            reason = first_line(error, type(error).__name__)
            raise ElmlffError(
                f"the network was not compiled: {reason}. It needs a C++ compiler, such as g++; the variable CXX may "
                "name one"
            ) from error


def _check(found: NetworkOutputs, expected: NetworkOutputs) -> None:
    """Raise ElmlffError if the outputs of a library differ by more than rounding."""
    for name in OUTPUTS:
        if (value := getattr(expected, name)) is None:
            continue
        difference = float((getattr(found, name) - value).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(value.abs().max())):
            raise ElmlffError(
                f"the compiled network was not kept: its {name} differs by {difference:.2g}. Report this with the "
                "versions of PyTorch and of your compiler"
            )


def _example(batch: GraphBatch) -> GraphBatch:
    """Return a graph of other size with the elements, distances and forces of `batch`; it is of no real structure."""
    assert batch.vectors is not None
    generator = torch.Generator().manual_seed(0)
    atoms, edges = (
        torch.randint(len(values), (number,), generator=generator)
        for values, number in ((batch.atomic_numbers, TRACED_ATOMS), (batch.vectors, TRACED_EDGES))
    )
    ends = torch.randint(TRACED_ATOMS, (2, TRACED_EDGES), generator=generator)
    return replace(
        batch,
        n_atoms=torch.full((1,), TRACED_ATOMS),
        atomic_numbers=batch.atomic_numbers[atoms],
        base_forces=batch.base_forces[atoms],
        edges=torch.stack([ends[0], ends[1].sort().values]),
        vectors=batch.vectors[edges],
        components=None if batch.components is None else batch.components[atoms],
    )


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set the environment variable `name` within the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@cache
def source_digest(folder: Path) -> str:
    """Return the SHA-256 of the Python files in a folder: a library belongs to the code that was traced."""
    return " ".join(sha256_of(path) for path in sorted(folder.glob("*.py")))


@cache
def _processor() -> str:
    """Return what tells processors apart whose code differs: a library has the instructions of the one at hand."""
    found = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    path = Path("/proc/cpuinfo")
    if path.exists():
        lines = path.read_text().splitlines()
        found += [line for line in lines if line.startswith(("flags", "Features"))][:1]
    return "\n".join(found)
